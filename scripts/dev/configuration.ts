import { resolve } from "node:path";

/** Every name the Worker reads its configuration from, except the two this process decides (see `workerVariables`). */
const WORKER_NAMES = [
  "ENVIRONMENT",
  "AUTH_MODE",
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

/** Published in the README, worth nothing elsewhere: the Worker accepts them only when ENVIRONMENT is development. */
export const DEVELOPMENT_DEFAULTS = {
  JWT_SECRET: "parley-development-secret-not-for-production",
  JWT_ISSUER: "parley",
  JWT_AUDIENCE: "parley",
  WHATSAPP_APP_SECRET: "parley-dev-app-secret",
  WHATSAPP_VERIFY_TOKEN: "parley-dev-verify",
} as const;

/** The HTTP driver wants a connection string; the endpoint it talks to has one database and reads none of it. */
const EMBEDDED_DATABASE_URL = "postgresql://parley:parley@localhost/parley";

export interface DevSettings {
  readonly port: number;
  /** 0 takes any free port. */
  readonly databasePort: number;
  /** Absolute; holds the database, the objects' state and nothing else of value. */
  readonly stateDir: string;
  /** null starts the embedded Postgres. */
  readonly databaseUrl: string | null;
}

type Variables = Readonly<Record<string, string | undefined>>;

/** What `npm run dev` itself is told by the environment. Throws one line when a port is none. */
export function readSettings(env: Variables): DevSettings {
  return {
    port: portOf("PORT", env["PORT"], 8787),
    databasePort: portOf("DB_PORT", env["DB_PORT"], 0),
    stateDir: resolve(env["STATE_DIR"] || ".parley"),
    databaseUrl: env["DATABASE_URL"]?.trim() || null,
  };
}

/**
 * What the Worker gets: every name that is set, also to the empty string, which is a value of its own (an empty
 * ENVIRONMENT is production). Only development gets secrets nobody has set.
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
    // Named when something stands between: a proxy that is watched, or that fails on purpose.
    NEON_ENDPOINT: env["NEON_ENDPOINT"]?.trim() || endpointUrl,
  };
}

function portOf(name: string, value: string | undefined, fallback: number): number {
  if (value === undefined || value.trim() === "") return fallback;
  const port = Number(value);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new Error(`${name} must be a port number, not ${JSON.stringify(value)}`);
}
