import { parseArgs } from "node:util";
import { parseConfig } from "../src/config.ts";
import { connect } from "../src/db/client.ts";
import { DEVELOPMENT_DEFAULTS } from "./dev/configuration.ts";
import { createKey, revokeKey } from "../src/services/api-key.ts";

const USAGE = `usage: npm run key -- --brand <id> [--name <name>] [--scopes <scope,scope>] [--days <until it expires>]
       npm run key -- --revoke <key id>
Needs DATABASE_URL, or NEON_ENDPOINT (printed by npm run dev), and the API_KEY_PEPPER of the service.`;

const DAY_MS = 86_400_000;
/** A local endpoint ignores the connection string. */
const ANY_DATABASE = "postgresql://parley:parley@localhost/parley";

// Creates an API key and prints it once, or revokes one.
try {
  console.log(await run(process.argv.slice(2), process.env));
} catch (error) {
  console.error(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
  process.exitCode = 1;
}

async function run(args: string[], env: NodeJS.ProcessEnv): Promise<string> {
  const { values } = parseArgs({
    args,
    options: {
      brand: { type: "string" },
      name: { type: "string", default: "API key" },
      scopes: { type: "string", default: "" },
      days: { type: "string" },
      revoke: { type: "string" },
    },
  });
  const days = values.days === undefined ? null : Number(values.days);
  if (days !== null && !(days > 0)) throw new Error("--days must be a positive number");
  if (!env["DATABASE_URL"] && !env["NEON_ENDPOINT"]) throw new Error("DATABASE_URL or NEON_ENDPOINT must be set");

  const config = parseConfig({
    ...DEVELOPMENT_DEFAULTS,
    ENVIRONMENT: "development",
    DATABASE_URL: env["DATABASE_URL"] || ANY_DATABASE,
    NEON_ENDPOINT: env["NEON_ENDPOINT"],
    API_KEY_PEPPER: env["API_KEY_PEPPER"],
  });
  const db = connect({ databaseUrl: config.databaseUrl, endpoint: config.neonEndpoint, deadlineMs: 10_000 });
  if (values.revoke !== undefined) {
    await revokeKey({ db }, values.revoke);
    return `revoked  ${values.revoke}; it is refused everywhere within 60 seconds`;
  }
  if (!values.brand) throw new Error("--brand or --revoke is required");
  const { key, keyId } = await createKey(
    { db, config },
    {
      brandId: values.brand,
      name: values.name,
      scopes: values.scopes.split(",").flatMap((scope) => scope.trim() || []),
      expiresAt: days === null ? null : Date.now() + days * DAY_MS,
    },
  );
  console.error(`key id  ${keyId}   (npm run key -- --revoke ${keyId})\nThe key is shown once:`);
  return key;
}
