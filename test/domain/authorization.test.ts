import { describe, expect, it } from "vitest";
import { AppError } from "../../src/domain/errors.ts";
import { ACTIONS } from "../../src/domain/principal.ts";
import type { Action, Principal } from "../../src/domain/principal.ts";
import { authorize } from "../../src/domain/authorization.ts";

const key = (brandId: string, scopes: string[] = []): Principal => ({ kind: "brand", brandId, keyId: "k", scopes });
const person = (brandId: string, userId: string): Principal => ({ kind: "user", brandId, userId });
const anns = { type: "conversation", id: "c", brandId: "acme", userId: "ann" };
const acmes = { type: "broadcast", id: "b", brandId: "acme" };

const verdict = (principal: Principal, action: Action, resource: Parameters<typeof authorize>[2]): unknown => {
  try {
    authorize(principal, action, resource);
    return "let through";
  } catch (error) {
    return error instanceof AppError ? [error.code, error.message] : error;
  }
};
const FOREIGN = ["FORBIDDEN", "You do not have permission to access this conversation"];

describe("who may do what", () => {
  it.each(ACTIONS)("nobody without a credential: %s", (action) => {
    expect(verdict({ kind: "anonymous" }, action, anns)).toEqual(["UNAUTHORIZED", "A credential is required"]);
  });

  it.each(ACTIONS)("a brand's server everything that is its brand's, and nothing that is not: %s", (action) => {
    expect(verdict(key("acme"), action, anns)).toBe("let through");
    expect(verdict(key("globex"), action, anns)).toEqual(["RESOURCE_NOT_FOUND", "No such conversation"]);
  });

  it.each(ACTIONS)("a key with scopes what they say, and nothing else: %s", (action) => {
    expect(verdict(key("acme", [action]), action, anns)).toBe("let through");
    const others = ACTIONS.filter((other) => other !== action);
    expect(verdict(key("acme", others), action, anns)).toEqual(["FORBIDDEN", `The API key has no scope ${action}`]);
    expect(verdict(key("globex", others), action, anns)).toEqual(["RESOURCE_NOT_FOUND", "No such conversation"]);
  });

  it.each(["messages:write", "conversations:read", "conversations:write", "conversations:delete"] as const)(
    "a person what is theirs, not another's, and not another brand's: %s",
    (action) => {
      expect(verdict(person("acme", "ann"), action, anns)).toBe("let through");
      expect(verdict(person("acme", "bob"), action, anns)).toEqual(FOREIGN);
      expect(verdict(person("globex", "ann"), action, anns)).toEqual(["RESOURCE_NOT_FOUND", "No such conversation"]);
    },
  );

  it.each(["broadcasts:read", "broadcasts:write"] as const)(
    "a person nothing that is the brand's alone: %s",
    (action) => {
      expect(verdict(person("acme", "ann"), action, acmes)).toEqual([
        "FORBIDDEN",
        "You do not have permission to access this broadcast",
      ]);
    },
  );
});
