import { describe, expect, it } from "vitest";
import { readSettings, workerVariables } from "../../../scripts/dev/configuration.ts";

const endpoint = "http://127.0.0.1:1/sql";

describe("what npm run dev hands to the Worker", () => {
  it("npm run dev sets development with its published secrets by default", () => {
    expect(workerVariables({}, endpoint)).toMatchObject({
      ENVIRONMENT: "development",
      JWT_SECRET: "parley-development-secret-not-for-production",
      WHATSAPP_VERIFY_TOKEN: "parley-dev-verify",
      NEON_ENDPOINT: endpoint,
      DATABASE_URL: expect.stringContaining("postgresql://"),
    });
  });

  it("npm run dev passes an empty ENVIRONMENT on as production without a secret", () => {
    const variables = workerVariables({ ENVIRONMENT: "" }, endpoint);
    expect(variables["ENVIRONMENT"]).toBe("");
    expect(variables).not.toHaveProperty("JWT_SECRET");
  });

  it("npm run dev passes set variables on, also empty ones, and nothing else of the shell", () => {
    const variables = workerVariables({ JWT_SECRET: "", LLM_API_KEY: "k", HOME: "/home/x" }, endpoint);
    expect(variables).toMatchObject({ JWT_SECRET: "", LLM_API_KEY: "k" });
    expect(variables).not.toHaveProperty("HOME");
  });

  it("npm run dev passes on another database endpoint", () => {
    const elsewhere = "http://127.0.0.1:2/sql";
    expect(workerVariables({ NEON_ENDPOINT: elsewhere }, endpoint)).toMatchObject({ NEON_ENDPOINT: elsewhere });
  });

  it("npm run dev refuses an invalid port", () => {
    expect(readSettings({})).toMatchObject({ port: 8787, databasePort: 0, databaseUrl: null });
    expect(() => readSettings({ PORT: "http" })).toThrow("PORT must be a port number");
  });
});
