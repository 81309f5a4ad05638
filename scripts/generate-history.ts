import { parseArgs } from "node:util";
import { sql } from "drizzle-orm";
import { connect, execute } from "../src/db/client.ts";
import { createAddresses } from "../src/domain/address.ts";
import { DEVELOPMENT_ADDRESS_KEY } from "../src/config.ts";
import { DEMO_INSTANCES } from "./database/demo.ts";

const USAGE = `usage: node scripts/generate-history.ts [--messages 1000000]
Writes one long demo conversation to the database at DATABASE_URL or NEON_ENDPOINT.`;

const CHUNK = 50_000;
/** A chunk takes several seconds when Postgres runs in WebAssembly. */
const DEADLINE_MS = 300_000;
/** A local endpoint ignores the connection string. */
const ANY_DATABASE = "postgresql://parley:parley@localhost/parley";

// Writes one conversation of one message per second until now, and prints its ids.
try {
  await generate(process.argv.slice(2), process.env);
} catch (error) {
  console.error(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
  process.exitCode = 1;
}

async function generate(args: string[], env: NodeJS.ProcessEnv): Promise<void> {
  const { values } = parseArgs({ args, options: { messages: { type: "string", default: "1000000" } } });
  const count = Number(values.messages);
  if (!Number.isSafeInteger(count) || count < 1) throw new Error("--messages must be a whole number");
  const endpoint = env["NEON_ENDPOINT"] || null;
  if (!env["DATABASE_URL"] && endpoint === null) throw new Error("DATABASE_URL or NEON_ENDPOINT must be set");

  const db = connect({ databaseUrl: env["DATABASE_URL"] || ANY_DATABASE, endpoint, deadlineMs: DEADLINE_MS });
  const [instance] = DEMO_INSTANCES;
  const addresses = createAddresses(env["ADDRESS_KEY"] || DEVELOPMENT_ADDRESS_KEY);
  const address = addresses.started(instance.id, crypto.randomUUID());
  const sessionId = addresses.firstSessionId(address);
  const [user] = await execute(
    db,
    sql`insert into users (brand_id, tier) values (${instance.brandId}, 'standard') returning id`,
  );
  await execute(
    db,
    sql`insert into sessions (id, brand_id, instance_id, user_id, channel, address, started_at)
      values (${sessionId}, ${instance.brandId}, ${instance.id}, ${user?.id}, 'voice', ${address},
        now() - ${count}::int * interval '1 second')`,
  );
  for (let from = 1; from <= count; from += CHUNK) {
    const to = Math.min(from + CHUNK - 1, count);
    await execute(
      db,
      sql`insert into messages (brand_id, session_id, instance_id, user_id, role, content, seq, metadata_json, created_at)
        select s.brand_id, s.id, s.instance_id, case n % 2 when 1 then s.user_id end,
          case n % 2 when 1 then 'user' else 'assistant' end,
          'Message ' || n || ' of a long conversation, about as long as people make them: ' || md5(n::text),
          n * 1000, '{"source": "generated"}', s.started_at + n * interval '1 second'
        from sessions s, generate_series(${from}::bigint, ${to}::bigint) n where s.id = ${sessionId}`,
    );
    console.error(`${to} of ${count}`);
  }
  await execute(db, sql`analyze messages`);
  console.log(
    JSON.stringify({ session_id: sessionId, user_id: user?.id, brand_id: instance.brandId, messages: count }),
  );
}
