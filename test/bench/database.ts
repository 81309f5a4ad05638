import { startDatabase } from "../support/database.ts";

// The database in its own process: a Postgres server where the machine has one. Prints its endpoint, then answers queries
// sent beside the endpoint, one at a time.

export type Question = { sql: string; params?: (string | null)[] } | "requests";

const database = await startDatabase({ seeded: true, concurrent: true });
process.send?.({ endpoint: database.endpoint, isPostgres: database.isConcurrent });

let queue = Promise.resolve();
process.on("message", (question: Question) => {
  queue = queue.then(async () => {
    process.send?.(
      question === "requests" ? database.requests.length : await database.query(question.sql, question.params),
    );
  });
});
process.on("disconnect", () => void database.close().then(() => process.exit(0)));
