import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { jwtVerify } from "jose";
import { describe, expect, it } from "vitest";

const TOKEN = join(import.meta.dirname, "../../scripts/token.ts");
const bytes = (secret: string) => new TextEncoder().encode(secret);
const run = (args: string[], env: Record<string, string> = {}) =>
  promisify(execFile)(process.execPath, [TOKEN, ...args], { env: { ...process.env, ...env } });

const USER = "01a203c1-5b09-7963-9685-2aef74277b10";
const BRAND = "00000000-0000-4000-8000-000000000001";

describe("npm run token", () => {
  it("npm run token prints a token that the development secret verifies, and nothing else", async () => {
    const { stdout } = await run(["--user", USER, "--brand", BRAND, "--ttl-minutes", "5"]);
    expect(stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    const { payload } = await jwtVerify(stdout.trim(), bytes("parley-development-secret-not-for-production"), {
      issuer: "parley",
      audience: "parley",
      algorithms: ["HS256"],
    });
    expect(payload).toMatchObject({ sub: USER, brand_id: BRAND });
    expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(300);
  });

  it("npm run token takes secret, issuer and audience from the environment", async () => {
    const secret = "another-secret-of-at-least-32-characters";
    const { stdout } = await run(["--user", USER, "--brand", BRAND], {
      JWT_SECRET: secret,
      JWT_ISSUER: "i",
      JWT_AUDIENCE: "a",
    });
    await expect(jwtVerify(stdout.trim(), bytes(secret), { issuer: "i", audience: "a" })).resolves.toBeDefined();
  });

  it.each([[["--user", USER]], [["--user", USER, "--brand", BRAND, "--ttl-minutes", "soon"]], [["--nonsense"]]])(
    "npm run token explains its use when called with %j",
    async (args) => {
      await expect(run(args)).rejects.toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("usage:") });
    },
  );

  it.each([
    ["--user", ["--user", "ann", "--brand", BRAND]],
    ["--brand", ["--user", USER, "--brand", "acme"]],
  ])("npm run token refuses an id that no service accepts: %s", async (option, args) => {
    await expect(run(args)).rejects.toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringMatching(new RegExp(`^${option} must be a UUID\\n`)),
    });
  });
});
