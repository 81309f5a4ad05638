import { startDatabase } from "../support/database.ts";

// A process of its own with the database: a real Postgres where this machine has one. It tells where its endpoint is, then
// answers questions put to it beside the endpoint, one after the other.

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
