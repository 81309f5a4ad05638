import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** A numbered migration of drizzle-kit with its down migration. */
export type Migration = {
  /** `0000_tables`: the file name without `.sql`. */
  name: string;
  up: string[];
  /** null without a file `NNNN_name.down.sql`. */
  down: string[] | null;
};

const BREAKPOINT = "--> statement-breakpoint";

/** Reads a migrations folder in the order of drizzle-kit's journal. Throws when journal and files disagree. */
export function readMigrations(folder: string): Migration[] {
  const journal = JSON.parse(readFileSync(join(folder, "meta", "_journal.json"), "utf8")) as {
    entries: { idx: number; tag: string }[];
  };
  const names = journal.entries.toSorted((a, b) => a.idx - b.idx).map(({ tag }) => tag);
  const stray = readdirSync(folder).filter((file) => {
    return /^\d{4}_.*\.sql$/.test(file) && !names.includes(file.replace(/(\.down)?\.sql$/, ""));
  });
  if (stray.length > 0) throw new Error(`not in ${folder}/meta/_journal.json: ${stray.join(", ")}`);

  return names.map((name) => {
    const down = join(folder, `${name}.down.sql`);
    return { name, up: statementsOf(join(folder, `${name}.sql`)), down: existsSync(down) ? statementsOf(down) : null };
  });
}

function statementsOf(file: string): string[] {
  return readFileSync(file, "utf8")
    .split(BREAKPOINT)
    .map((statement) => statement.trim())
    .filter((statement) => statement !== "");
}
