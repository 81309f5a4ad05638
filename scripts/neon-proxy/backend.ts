/** One statement as the wire carries it: every parameter is Postgres text, or null. */
export interface Statement {
  readonly query: string;
  readonly params: readonly (string | null)[];
}

export type IsolationLevel = "ReadUncommitted" | "ReadCommitted" | "RepeatableRead" | "Serializable";

export interface TransactionMode {
  readonly isolationLevel?: IsolationLevel;
  readonly readOnly?: boolean;
  readonly deferrable?: boolean;
}

/** What one request asks for. Without a transaction it is one autocommitted statement; with one, all or nothing. */
export type Work =
  | { readonly statement: Statement }
  | { readonly statements: readonly Statement[]; readonly transaction: TransactionMode };

export interface Field {
  readonly name: string;
  readonly dataTypeID: number;
  readonly tableID: number;
  readonly columnID: number;
  readonly dataTypeSize: number;
  readonly dataTypeModifier: number;
}

export type Row = readonly (string | null)[];

export interface StatementResult {
  readonly command: string;
  /** null where the command counts no rows (`CREATE TABLE`). */
  readonly rowCount: number | null;
  readonly fields: readonly Field[];
  readonly rows: readonly Row[];
}

/** A Postgres that runs one request at a time to its end. Whatever goes wrong is thrown as a `DatabaseFailure`. */
export interface Backend {
  /** Runs the work; the signal says that nobody waits for the answer any more. */
  run(work: Work, signal?: AbortSignal): Promise<readonly StatementResult[]>;
  /** Ends what runs, refuses what waits, and closes the database. A second call does nothing. */
  close(): Promise<void>;
}

/** One autocommitted statement over any backend. */
export async function query(backend: Backend, sql: string, params: Statement["params"] = []): Promise<StatementResult> {
  const [result] = await backend.run({ statement: { query: sql, params } });
  if (result === undefined) throw new Error("the backend answered a statement without a result");
  return result;
}
