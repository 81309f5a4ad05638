import { z } from "zod";

/** A text value; an empty one counts as missing. */
const optional = z
  .string()
  .optional()
  .transform((value) => (value === undefined || value.trim() === "" ? null : value.trim()));
const url = optional.pipe(z.url({ protocol: /^https?$/ }).nullable());
const number = (fallback: number, schema = z.number().positive()) =>
  optional.transform((value) => (value === null ? fallback : Number(value))).pipe(schema);
const limit = (fallback: number) => number(fallback, z.number().int().nonnegative());

/** All configuration names with their defaults. Their meaning: README, "Configuration". */
const Environment = z.object({
  ENVIRONMENT: optional.pipe(
    z
      .enum(["development", "staging", "production"])
      .nullable()
      .transform((value) => value ?? "production"),
  ),
  DATABASE_URL: z.string("is required").min(1, "is required"),
  NEON_ENDPOINT: url,
  AUTH_MODE: optional.pipe(z.enum(["required", "optional"]).nullable()),
  JWT_SECRET: optional.pipe(z.string().min(32, "must have at least 32 characters").nullable()),
  JWT_JWKS_URL: url,
  JWT_ISSUER: optional.transform((value) => value ?? "parley"),
  JWT_AUDIENCE: optional.transform((value) => value ?? "parley"),
  ADDRESS_KEY: optional.pipe(z.string().min(32, "must have at least 32 characters").nullable()),
  API_KEY_PEPPER: optional.pipe(z.string().min(32, "must have at least 32 characters").nullable()),
  ORCHESTRATOR_URL: url,
  ORCHESTRATOR_TOKEN: optional,
  ORCHESTRATOR_TIMEOUT_MS: number(30_000),
  SESSION_TIMEOUT_MINUTES: number(60),
  LOCK_EXPIRY_SECONDS: number(300),
  IDEMPOTENCY_TTL_MINUTES: number(1440),
  INSTANCE_CACHE_SECONDS: number(60, z.number().nonnegative()),
  RATE_LIMIT_USER_PER_MINUTE: limit(60),
  RATE_LIMIT_INSTANCE_PER_MINUTE: limit(6000),
  /** Several secrets separated by commas during rotation. */
  WHATSAPP_APP_SECRET: optional.transform((value) => value?.split(",").flatMap((secret) => secret.trim() || []) ?? []),
  WHATSAPP_VERIFY_TOKEN: optional,
  WHATSAPP_ACCESS_TOKEN: optional,
  WHATSAPP_API_BASE: url.transform((value) => value?.replace(/\/+$/, "") ?? null),
  WHATSAPP_API_VERSION: optional.transform((value) => value ?? "v26.0"),
  LOG_LEVEL: optional.pipe(
    z
      .enum(["debug", "info", "warn", "error"])
      .nullable()
      .transform((value) => value ?? "info"),
  ),
  LOG_FORMAT: optional.pipe(
    z
      .enum(["json", "text"])
      .nullable()
      .transform((value) => value ?? "json"),
  ),
});

/** Published in the README, so refused outside development. */
export const DEVELOPMENT_JWT_SECRET = "parley-development-secret-not-for-production";
export const DEVELOPMENT_ADDRESS_KEY = "parley-development-address-key-not-for-production";
const DEVELOPMENT_SECRETS = {
  JWT_SECRET: DEVELOPMENT_JWT_SECRET,
  ADDRESS_KEY: DEVELOPMENT_ADDRESS_KEY,
  WHATSAPP_APP_SECRET: "parley-dev-app-secret",
  WHATSAPP_VERIFY_TOKEN: "parley-dev-verify",
} as const;

function refuseDevelopmentSecrets(env: z.output<typeof Environment>, context: z.RefinementCtx): void {
  if (env.ENVIRONMENT === "development") return;
  for (const name of ["JWT_SECRET", "ADDRESS_KEY", "WHATSAPP_APP_SECRET", "WHATSAPP_VERIFY_TOKEN"] as const) {
    if (![env[name]].flat().includes(DEVELOPMENT_SECRETS[name])) continue;
    context.addIssue({ code: "custom", path: [name], message: "is the development secret" });
  }
}

function requireAddressKey(env: z.output<typeof Environment>, context: z.RefinementCtx): void {
  if (env.ENVIRONMENT === "development" || env.ADDRESS_KEY !== null) return;
  context.addIssue({ code: "custom", path: ["ADDRESS_KEY"], message: "is required" });
}

const ConfigSchema = Environment.superRefine(refuseDevelopmentSecrets)
  .superRefine(requireAddressKey)
  .transform((env) => ({
    environment: env.ENVIRONMENT,
    databaseUrl: env.DATABASE_URL,
    neonEndpoint: env.NEON_ENDPOINT,
    authMode: env.AUTH_MODE ?? (env.ENVIRONMENT === "development" ? "optional" : "required"),
    jwtSecret: env.JWT_SECRET,
    jwksUrl: env.JWT_JWKS_URL,
    jwtIssuer: env.JWT_ISSUER,
    jwtAudience: env.JWT_AUDIENCE,
    addressKey: env.ADDRESS_KEY ?? DEVELOPMENT_ADDRESS_KEY,
    apiKeyPepper: env.API_KEY_PEPPER,
    orchestratorUrl: env.ORCHESTRATOR_URL,
    orchestratorToken: env.ORCHESTRATOR_TOKEN,
    orchestratorTimeoutMs: env.ORCHESTRATOR_TIMEOUT_MS,
    sessionTimeoutMinutes: env.SESSION_TIMEOUT_MINUTES,
    lockExpirySeconds: env.LOCK_EXPIRY_SECONDS,
    idempotencyTtlMinutes: env.IDEMPOTENCY_TTL_MINUTES,
    instanceCacheSeconds: env.INSTANCE_CACHE_SECONDS,
    rateLimitUserPerMinute: env.RATE_LIMIT_USER_PER_MINUTE,
    rateLimitInstancePerMinute: env.RATE_LIMIT_INSTANCE_PER_MINUTE,
    whatsappAppSecrets: env.WHATSAPP_APP_SECRET,
    whatsappVerifyToken: env.WHATSAPP_VERIFY_TOKEN,
    whatsappAccessToken: env.WHATSAPP_ACCESS_TOKEN,
    /** null for Meta's own API. */
    whatsappApiBase: env.WHATSAPP_API_BASE,
    whatsappApiVersion: env.WHATSAPP_API_VERSION,
    logLevel: env.LOG_LEVEL,
    logFormat: env.LOG_FORMAT,
  }));

export type Config = z.output<typeof ConfigSchema>;

/** The configuration is invalid; the message has one line per fault. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** Parses the whole configuration. Throws a `ConfigError` that names every fault and holds no value. */
export function parseConfig(env: Record<string, unknown>): Config {
  const result = ConfigSchema.safeParse(env);
  if (result.success) return result.data;
  throw new ConfigError(result.error.issues.map((issue) => `${issue.path.join(".")} ${issue.message}`).join("\n"));
}
