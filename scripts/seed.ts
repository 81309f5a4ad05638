import { onDeployedDatabase } from "./database/deployed.ts";
import { seed } from "./database/seed.ts";

// npm run db:seed
await onDeployedDatabase(async (backend) => {
  await seed(backend);
  console.log("seeded  the demo brands Acme and Globex");
});
