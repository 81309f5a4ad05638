import { onDeployedDatabase } from "./database/deployed.ts";
import { migrate } from "./database/migrate.ts";

// npm run db:migrate
await onDeployedDatabase(async (backend) => {
  const applied = await migrate(backend);
  console.log(applied.length === 0 ? "nothing to migrate" : `migrated  ${applied.join(", ")}`);
});
