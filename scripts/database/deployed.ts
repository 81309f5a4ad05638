import { PostgresBackend } from "../neon-proxy/postgres.ts";

/** Runs a command against the Postgres of DATABASE_URL and ends the process with 1 and one clear line when it fails. */
export async function onDeployedDatabase(command: (backend: PostgresBackend) => Promise<void>): Promise<void> {
  const connectionString = process.env["DATABASE_URL"]?.trim();
  if (!connectionString) {
    console.error("DATABASE_URL is not set: give the connection string of the Postgres to work on");
    process.exitCode = 1;
    return;
  }
  const backend = new PostgresBackend({ connectionString, keep: 0 });
  try {
    await command(backend);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  } finally {
    await backend.close();
  }
}
