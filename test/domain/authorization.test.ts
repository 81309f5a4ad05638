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
  it.each(ACTIONS)("a request without a credential may do nothing: %s", (action) => {
    expect(verdict({ kind: "anonymous" }, action, anns)).toEqual(["UNAUTHORIZED", "A credential is required"]);
  });

  it.each(ACTIONS)("a brand's server may do everything with its own brand's data: %s", (action) => {
    expect(verdict(key("acme"), action, anns)).toBe("let through");
    expect(verdict(key("globex"), action, anns)).toEqual(["RESOURCE_NOT_FOUND", "No such conversation"]);
  });

  it.each(ACTIONS)("a scoped key may do exactly what its scopes say: %s", (action) => {
    expect(verdict(key("acme", [action]), action, anns)).toBe("let through");
    const others = ACTIONS.filter((other) => other !== action);
    expect(verdict(key("acme", others), action, anns)).toEqual(["FORBIDDEN", `The API key has no scope ${action}`]);
    expect(verdict(key("globex", others), action, anns)).toEqual(["RESOURCE_NOT_FOUND", "No such conversation"]);
  });

  it.each(["messages:write", "conversations:read", "conversations:write", "conversations:delete"] as const)(
    "a user may reach their own data, and no other user's or brand's: %s",
    (action) => {
      expect(verdict(person("acme", "ann"), action, anns)).toBe("let through");
      expect(verdict(person("acme", "bob"), action, anns)).toEqual(FOREIGN);
      expect(verdict(person("globex", "ann"), action, anns)).toEqual(["RESOURCE_NOT_FOUND", "No such conversation"]);
    },
  );

  it.each(["broadcasts:read", "broadcasts:write"] as const)(
    "a user may not do what only the brand may: %s",
    (action) => {
      expect(verdict(person("acme", "ann"), action, acmes)).toEqual([
        "FORBIDDEN",
        "You do not have permission to access this broadcast",
      ]);
    },
  );
});
