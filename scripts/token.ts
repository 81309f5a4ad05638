import { parseArgs } from "node:util";
import { SignJWT } from "jose";
import { Uuid } from "../src/domain/ids.ts";
import { DEVELOPMENT_DEFAULTS } from "./dev/configuration.ts";

const USAGE = "usage: npm run token -- --user <id> --brand <id> [--ttl-minutes 60]";

// Prints only a development JWT, for use as $(npm run --silent token -- ...).
try {
  console.log(await developmentToken(process.argv.slice(2), process.env));
} catch (error) {
  console.error(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
  process.exitCode = 1;
}

function developmentToken(args: string[], env: NodeJS.ProcessEnv): Promise<string> {
  const { values } = parseArgs({
    args,
    options: {
      user: { type: "string" },
      brand: { type: "string" },
      "ttl-minutes": { type: "string", default: "60" },
    },
  });
  const minutes = Number(values["ttl-minutes"]);
  if (!values.user || !values.brand) throw new Error("--user and --brand are required");
  for (const option of ["user", "brand"] as const) {
    if (!Uuid.safeParse(values[option]).success) throw new Error(`--${option} must be a UUID`);
  }
  if (!Number.isFinite(minutes) || minutes <= 0) throw new Error("--ttl-minutes must be a positive number");

  const issuedAt = Math.floor(Date.now() / 1000);
  return new SignJWT({ brand_id: values.brand })
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .setSubject(values.user)
    .setIssuer(env["JWT_ISSUER"] || DEVELOPMENT_DEFAULTS.JWT_ISSUER)
    .setAudience(env["JWT_AUDIENCE"] || DEVELOPMENT_DEFAULTS.JWT_AUDIENCE)
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + Math.round(minutes * 60))
    .sign(new TextEncoder().encode(env["JWT_SECRET"] || DEVELOPMENT_DEFAULTS.JWT_SECRET));
}
