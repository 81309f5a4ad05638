import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { jwtVerify } from "jose";
import { describe, expect, it } from "vitest";

const TOKEN = join(import.meta.dirname, "../../scripts/token.ts");
const bytes = (secret: string) => new TextEncoder().encode(secret);
const run = (args: string[], env: Record<string, string> = {}) =>
  promisify(execFile)(process.execPath, [TOKEN, ...args], { env: { ...process.env, ...env } });

describe("npm run token", () => {
  it("prints a token the development secret verifies, and nothing else", async () => {
    const { stdout } = await run(["--user", "u-1", "--brand", "b-1", "--ttl-minutes", "5"]);
    expect(stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    const { payload } = await jwtVerify(stdout.trim(), bytes("parley-development-secret-not-for-production"), {
      issuer: "parley",
      audience: "parley",
      algorithms: ["HS256"],
    });
    expect(payload).toMatchObject({ sub: "u-1", brand_id: "b-1" });
    expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(300);
  });

  it("takes secret, issuer and audience from the environment", async () => {
    const secret = "another-secret-of-at-least-32-characters";
    const { stdout } = await run(["--user", "u", "--brand", "b"], {
      JWT_SECRET: secret,
      JWT_ISSUER: "i",
      JWT_AUDIENCE: "a",
    });
    await expect(jwtVerify(stdout.trim(), bytes(secret), { issuer: "i", audience: "a" })).resolves.toBeDefined();
  });

  it.each([[["--user", "u"]], [["--user", "u", "--brand", "b", "--ttl-minutes", "soon"]], [["--nonsense"]]])(
    "explains itself when called with %j",
    async (args) => {
      await expect(run(args)).rejects.toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("usage:") });
    },
  );
});
