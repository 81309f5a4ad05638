import { existsSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { PGlite, messages, protocol } from "@electric-sql/pglite";
import type { Backend, Field, Row, Statement, StatementResult, Work } from "./backend.ts";
import { DatabaseFailure, toDatabaseFailure } from "./errors.ts";
import { TaskQueue } from "./queue.ts";
import { parseCommandTag, runWork } from "./transaction.ts";

const { serialize } = protocol;

export type EmbeddedOptions = {
  /** Data folder; in memory when absent. */
  folder?: string;
  /** Image from `dump()` to start from (in memory only): ten times faster than migrating an empty database. */
  image?: Blob;
};

/** Postgres in WebAssembly. It has one connection, so requests run one at a time, first in, first out. */
export class EmbeddedBackend implements Backend {
  readonly #database: PGlite;
  readonly #queue = new TaskQueue();

  private constructor(database: PGlite) {
    this.#database = database;
  }

  static async open(options: EmbeddedOptions = {}): Promise<EmbeddedBackend> {
    const { folder, image } = options;
    if (folder !== undefined) await prepareFolder(folder);
    const database = new PGlite({
      ...(folder === undefined ? {} : { dataDir: folder }),
      ...(image === undefined ? {} : { loadDataDir: image }),
    });
    await database.waitReady;
    const backend = new EmbeddedBackend(database);
    await backend.#execute({ query: "SET TIME ZONE 'UTC'", params: [] });
    if (folder !== undefined) await writeFile(readyMarker(folder), "");
    return backend;
  }

  run(work: Work, signal?: AbortSignal): Promise<StatementResult[]> {
    return this.#queue.run(async () => {
      try {
        return await runWork({ execute: (statement) => this.#execute(statement) }, work, signal);
      } catch (error) {
        throw toDatabaseFailure(error);
      } finally {
        // Otherwise a lone BEGIN would include every later request in its transaction.
        if (this.#inTransaction) await this.#execute({ query: "ROLLBACK", params: [] });
      }
    }, signal);
  }

  /** Returns the data folder as an uncompressed tar, for `image`. */
  dump(): Promise<Blob> {
    return this.#queue.run(() => this.#database.dumpDataDir("none"));
  }

  async close(): Promise<void> {
    await this.#queue.close();
    if (!this.#database.closed) await this.#database.close();
  }

  #inTransaction = false;

  async #execute(statement: Statement): Promise<StatementResult> {
    // The wire protocol instead of PGlite's query(): text in, text out, as Neon's proxy exchanges it with Postgres.
    const request = Buffer.concat([
      serialize.parse({ text: statement.query }),
      serialize.bind({ values: [...statement.params] }),
      serialize.describe({ type: "P" }),
      serialize.execute({}),
      serialize.sync(),
    ]);
    const response = await this.#database.execProtocol(request, { throwOnError: false });

    let fields: Field[] = [];
    let tag = "";
    let failure: DatabaseFailure | null = null;
    const rows: Row[] = [];
    for (const message of response.messages) {
      if (message instanceof messages.DatabaseError) failure ??= toDatabaseFailure(message);
      else if (message instanceof messages.RowDescriptionMessage) fields = message.fields.map(toField);
      else if (message instanceof messages.DataRowMessage) rows.push(message.fields);
      else if (message instanceof messages.CommandCompleteMessage) tag = message.text;
      else if (message instanceof messages.ReadyForQueryMessage) this.#inTransaction = message.status !== "I";
    }
    if (failure !== null) throw failure;
    return { ...parseCommandTag(tag), fields, rows };
  }
}

function toField({ name, dataTypeID, tableID, columnID, dataTypeSize, dataTypeModifier }: Field): Field {
  return { name, dataTypeID, tableID, columnID, dataTypeSize, dataTypeModifier };
}

const readyMarker = (folder: string) => `${folder}.ready`;

/** Deletes the folder of a first start that was killed: Postgres refuses it for ever, and it holds no data yet. */
async function prepareFolder(folder: string): Promise<void> {
  await mkdir(dirname(folder), { recursive: true });
  if (existsSync(folder) && !existsSync(readyMarker(folder))) await rm(folder, { recursive: true });
}
