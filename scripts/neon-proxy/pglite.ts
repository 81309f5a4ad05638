import { existsSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { PGlite, messages, protocol } from "@electric-sql/pglite";
import type { Backend, Field, Row, Statement, StatementResult, Work } from "./backend.ts";
import { DatabaseFailure, failureOf } from "./errors.ts";
import { FairQueue } from "./queue.ts";
import { parseCommandTag, perform } from "./transaction.ts";

const { serialize } = protocol;

export interface EmbeddedOptions {
  /** Where the data lives; without it, in memory. */
  readonly folder?: string;
  /** Start from what `dump()` gave (in memory only): a tenth of the time of an empty database with migrations. */
  readonly image?: Blob;
}

/** Postgres in WebAssembly. It has one connection, so one request runs at a time, in the order of arrival. */
export class EmbeddedBackend implements Backend {
  readonly #database: PGlite;
  readonly #queue = new FairQueue();

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
    if (folder !== undefined) await writeFile(readyMark(folder), "");
    return backend;
  }

  run(work: Work, signal?: AbortSignal): Promise<StatementResult[]> {
    return this.#queue.run(async () => {
      try {
        return await perform({ execute: (statement) => this.#execute(statement) }, work, signal);
      } catch (error) {
        throw failureOf(error);
      } finally {
        // A lone BEGIN would otherwise take every later request into its transaction.
        if (this.#inTransaction) await this.#execute({ query: "ROLLBACK", params: [] });
      }
    }, signal);
  }

  /** The whole data folder as an uncompressed tar, for `image`. */
  dump(): Promise<Blob> {
    return this.#queue.run(() => this.#database.dumpDataDir("none"));
  }

  async close(): Promise<void> {
    await this.#queue.close();
    if (!this.#database.closed) await this.#database.close();
  }

  #inTransaction = false;

  async #execute(statement: Statement): Promise<StatementResult> {
    // The wire protocol instead of PGlite's query(): text in, text out, exactly what Neon's proxy exchanges with Postgres.
    const request = Buffer.concat([
      serialize.parse({ text: statement.query }),
      serialize.bind({ values: [...statement.params] }),
      serialize.describe({ type: "P" }),
      serialize.execute({}),
      serialize.sync(),
    ]);
    const answer = await this.#database.execProtocol(request, { throwOnError: false });

    let fields: readonly Field[] = [];
    let tag = "";
    let failure: DatabaseFailure | null = null;
    const rows: Row[] = [];
    for (const message of answer.messages) {
      if (message instanceof messages.DatabaseError) failure ??= failureOf(message);
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

const readyMark = (folder: string) => `${folder}.ready`;

/** A first start that was killed leaves a half-made folder, which Postgres refuses for ever. Nothing was stored in it yet. */
async function prepareFolder(folder: string): Promise<void> {
  await mkdir(dirname(folder), { recursive: true });
  if (existsSync(folder) && !existsSync(readyMark(folder))) await rm(folder, { recursive: true });
}
