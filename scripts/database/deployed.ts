import { PostgresBackend } from "../neon-proxy/postgres.ts";

/** Runs a command against the Postgres of DATABASE_URL. A failure prints one line and exits with 1. */
export async function onDeployedDatabase(command: (backend: PostgresBackend) => Promise<void>): Promise<void> {
  const connectionString = process.env["DATABASE_URL"]?.trim();
  if (!connectionString) {
    console.error("DATABASE_URL is not set: it must be the connection string of the Postgres server");
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
