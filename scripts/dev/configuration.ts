import { resolve } from "node:path";

/** Names of the Worker's configuration, except the two that this process sets (see `workerVariables`). */
const WORKER_NAMES = [
  "ENVIRONMENT",
  "AUTH_MODE",
  "ADDRESS_KEY",
  "JWT_SECRET",
  "JWT_JWKS_URL",
  "JWT_ISSUER",
  "JWT_AUDIENCE",
  "API_KEY_PEPPER",
  "ORCHESTRATOR_URL",
  "ORCHESTRATOR_TOKEN",
  "ORCHESTRATOR_TIMEOUT_MS",
  "LLM_BASE_URL",
  "LLM_API_KEY",
  "SESSION_TIMEOUT_MINUTES",
  "LOCK_EXPIRY_SECONDS",
  "IDEMPOTENCY_TTL_MINUTES",
  "INSTANCE_CACHE_SECONDS",
  "RATE_LIMIT_USER_PER_MINUTE",
  "RATE_LIMIT_INSTANCE_PER_MINUTE",
  "WHATSAPP_APP_SECRET",
  "WHATSAPP_VERIFY_TOKEN",
  "WHATSAPP_ACCESS_TOKEN",
  "WHATSAPP_API_BASE",
  "WHATSAPP_API_VERSION",
  "LANGFUSE_BASE_URL",
  "LANGFUSE_PUBLIC_KEY",
  "LANGFUSE_SECRET_KEY",
  "OTEL_EXPORTER_OTLP_ENDPOINT",
  "OTEL_EXPORTER_OTLP_HEADERS",
  "DAILY_API_KEY",
  "DAILY_API_BASE",
  "DEEPGRAM_API_KEY",
  "DEEPGRAM_API_BASE",
  "ELEVENLABS_API_KEY",
  "ELEVENLABS_API_BASE",
  "LOG_LEVEL",
  "LOG_FORMAT",
] as const;

/** Published in the README; the Worker accepts them only when ENVIRONMENT is development. */
export const DEVELOPMENT_DEFAULTS = {
  JWT_SECRET: "parley-development-secret-not-for-production",
  JWT_ISSUER: "parley",
  JWT_AUDIENCE: "parley",
  WHATSAPP_APP_SECRET: "parley-dev-app-secret",
  WHATSAPP_VERIFY_TOKEN: "parley-dev-verify",
} as const;

/** The HTTP driver requires a connection string; the local endpoint ignores it. */
const EMBEDDED_DATABASE_URL = "postgresql://parley:parley@localhost/parley";

export type DevSettings = {
  port: number;
  /** 0 takes any free port. */
  databasePort: number;
  /** Absolute path; holds the database and the objects' state. */
  stateDir: string;
  /** null starts the embedded Postgres. */
  databaseUrl: string | null;
};

type Variables = Record<string, string | undefined>;

/** Reads the settings of `npm run dev` itself. Throws when a port is invalid. */
export function readSettings(env: Variables): DevSettings {
  return {
    port: portOf("PORT", env["PORT"], 8787),
    databasePort: portOf("DB_PORT", env["DB_PORT"], 0),
    stateDir: resolve(env["STATE_DIR"] || ".parley"),
    databaseUrl: env["DATABASE_URL"]?.trim() || null,
  };
}

/**
 * Returns the Worker's variables: every name that is set, even to the empty string (an empty ENVIRONMENT is
 * production). Defaults for missing secrets are added in development only.
 */
export function workerVariables(env: Variables, endpointUrl: string): Record<string, string> {
  const variables: Record<string, string> = { ENVIRONMENT: "development" };
  for (const name of WORKER_NAMES) {
    const value = env[name];
    if (value !== undefined) variables[name] = value;
  }
  return {
    ...(variables["ENVIRONMENT"] === "development" ? DEVELOPMENT_DEFAULTS : {}),
    ...variables,
    DATABASE_URL: env["DATABASE_URL"]?.trim() || EMBEDDED_DATABASE_URL,
    // Set when a proxy stands in between: one that counts requests or injects faults.
    NEON_ENDPOINT: env["NEON_ENDPOINT"]?.trim() || endpointUrl,
  };
}

function portOf(name: string, value: string | undefined, fallback: number): number {
  if (value === undefined || value.trim() === "") return fallback;
  const port = Number(value);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new Error(`${name} must be a port number, not ${JSON.stringify(value)}`);
}
