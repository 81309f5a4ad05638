import { onDeployedDatabase } from "./database/deployed.ts";
import { rollback } from "./database/migrate.ts";

// npm run db:rollback [-- n]
const count = Number(process.argv[2] ?? "1");
if (Number.isInteger(count) && count > 0) {
  await onDeployedDatabase(async (backend) => {
    const undone = await rollback(backend, count);
    console.log(undone.length === 0 ? "nothing to roll back" : `rolled back  ${undone.join(", ")}`);
  });
} else {
  console.error("usage: npm run db:rollback [-- <how many>]");
  process.exitCode = 1;
}
