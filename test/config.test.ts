import { describe, expect, it, vi } from "vitest";
import { ConfigError, DEVELOPMENT_ADDRESS_KEY, DEVELOPMENT_JWT_SECRET, parseConfig } from "../src/config.ts";
import { createTestApp } from "./support/contract.ts";
import { startDatabase } from "./support/database.ts";
import { INSTANCE } from "./support/demo.ts";

const DATABASE_URL = "postgresql://user:pass@host/db";
const ADDRESS_KEY = "an-address-key-that-only-tests-have";
const parse = (env: Record<string, unknown> = {}) => parseConfig({ DATABASE_URL, ADDRESS_KEY, ...env });

/** What is said of a configuration that is not usable. */
function faultsOf(env: Record<string, unknown>): string {
  try {
    parseConfig(env);
    return "";
  } catch (error) {
    return (error as ConfigError).message;
  }
}

describe("an environment that nobody has named", () => {
  it.each([
    ["is not set", {}],
    ["is empty", { ENVIRONMENT: "" }],
    ["is blank", { ENVIRONMENT: "  " }],
  ])("the environment counts as production when ENVIRONMENT %s", (_title, env) => {
    expect(parse(env)).toMatchObject({ environment: "production", authMode: "required" });
  });

  it("an unnamed environment has no mock orchestrator [I4.2]", async () => {
    const database = await startDatabase({ seeded: true });
    vi.spyOn(console, "log").mockImplementation(() => undefined);
    // The bindings of a deploy on which somebody has forgotten ENVIRONMENT and ORCHESTRATOR_URL.
    const env = {
      DATABASE_URL,
      ADDRESS_KEY,
      NEON_ENDPOINT: database.endpoint,
      AUTH_MODE: "optional",
    } as unknown as Env;
    const response = await createTestApp().request(
      "/api/messages",
      {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ instance_id: INSTANCE.chat, request_id: "r", content: "Hello" }),
      },
      env,
    );
    vi.restoreAllMocks();
    await database.close();
    expect([response.status, await response.json()]).toMatchObject([502, { error: { code: "ORCHESTRATION_ERROR" } }]);
  });
});

describe("what is left out", () => {
  it("every setting that is left out has the default of the README", () => {
    expect(parse()).toMatchObject({
      jwtSecret: null,
      jwtIssuer: "parley",
      jwtAudience: "parley",
      orchestratorUrl: null,
      orchestratorTimeoutMs: 30_000,
      sessionTimeoutMinutes: 60,
      lockExpirySeconds: 300,
      idempotencyTtlMinutes: 1440,
      instanceCacheSeconds: 60,
      rateLimitUserPerMinute: 60,
      logLevel: "info",
    });
  });

  it("an empty setting counts as left out", () => {
    expect(parse({ ORCHESTRATOR_URL: "", JWT_SECRET: " ", SESSION_TIMEOUT_MINUTES: "" })).toEqual(parse());
  });

  it("a development machine needs no API key", () => {
    expect(parse({ ENVIRONMENT: "development" }).authMode).toBe("optional");
    expect(parse({ ENVIRONMENT: "development", AUTH_MODE: "required" }).authMode).toBe("required");
  });
});

describe("what is wrong", () => {
  it.each([
    ["DATABASE_URL", undefined],
    ["DATABASE_URL", ""],
    ["ENVIRONMENT", "prod"],
    ["AUTH_MODE", "off"],
    ["NEON_ENDPOINT", "localhost:5432"],
    ["ORCHESTRATOR_URL", "file:///etc/passwd"],
    ["ORCHESTRATOR_TIMEOUT_MS", "30s"],
    ["ORCHESTRATOR_TIMEOUT_MS", "0"],
    ["SESSION_TIMEOUT_MINUTES", "-1"],
    ["RATE_LIMIT_USER_PER_MINUTE", "1.5"],
    ["JWT_SECRET", "x".repeat(31)],
    ["ADDRESS_KEY", undefined],
    ["ADDRESS_KEY", "x".repeat(31)],
    ["LOG_LEVEL", "loud"],
  ])("the setting %s = %j is reported on a line of its own", (name, value) => {
    expect(() => parse({ [name]: value })).toThrow(new RegExp(`^${name} [^\n]+$`));
    expect(() => parse({ [name]: value })).toThrow(ConfigError);
  });

  it("all invalid settings are reported at once, one line each, without their values", () => {
    const faults = faultsOf({ ENVIRONMENT: "prod", JWT_SECRET: "shhh-this-is-short", LOG_LEVEL: "loud" });
    expect(faults.split("\n").map((line) => line.split(" ")[0])).toEqual([
      "ENVIRONMENT",
      "DATABASE_URL",
      "JWT_SECRET",
      "LOG_LEVEL",
    ]);
    expect(faults).not.toMatch(/shhh|"prod"|loud/);
  });

  it.each([
    ["JWT_SECRET", DEVELOPMENT_JWT_SECRET],
    ["ADDRESS_KEY", DEVELOPMENT_ADDRESS_KEY],
    ["WHATSAPP_APP_SECRET", "parley-dev-app-secret"],
    ["WHATSAPP_APP_SECRET", "a-secret-of-our-own, parley-dev-app-secret"],
    ["WHATSAPP_VERIFY_TOKEN", "parley-dev-verify"],
  ])("the development value of %s is refused outside development", (name, value) => {
    expect(() => parse({ [name]: value })).toThrow(new RegExp(`^${name} `));
    expect(() => parse({ ENVIRONMENT: "development", [name]: value })).not.toThrow();
  });
});

describe("WhatsApp", () => {
  it("WHATSAPP_APP_SECRET takes several secrets or none", () => {
    expect(parse({ WHATSAPP_APP_SECRET: "new, old ,," }).whatsappAppSecrets).toEqual(["new", "old"]);
    expect(parse({ WHATSAPP_APP_SECRET: " " }).whatsappAppSecrets).toEqual([]);
  });

  it("WHATSAPP_API_BASE defaults to Meta's API and drops a trailing slash", () => {
    expect(parse({})).toMatchObject({ whatsappApiBase: null, whatsappApiVersion: "v26.0", whatsappAccessToken: null });
    expect(parse({ WHATSAPP_API_BASE: "http://127.0.0.1:9/graph//" }).whatsappApiBase).toBe("http://127.0.0.1:9/graph");
  });
});
