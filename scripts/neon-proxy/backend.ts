/** One statement as sent over the wire: every parameter is Postgres text or null. */
export type Statement = {
  query: string;
  params: (string | null)[];
};

export type IsolationLevel = "ReadUncommitted" | "ReadCommitted" | "RepeatableRead" | "Serializable";

export type TransactionMode = {
  isolationLevel?: IsolationLevel;
  readOnly?: boolean;
  deferrable?: boolean;
};

/** The work of one request: one autocommitted statement, or several in one transaction. */
export type Work = { statement: Statement } | { statements: Statement[]; transaction: TransactionMode };

export type Field = {
  name: string;
  dataTypeID: number;
  tableID: number;
  columnID: number;
  dataTypeSize: number;
  dataTypeModifier: number;
};

export type Row = readonly (string | null)[];

export type StatementResult = {
  command: string;
  /** null for commands that count no rows (`CREATE TABLE`). */
  rowCount: number | null;
  fields: Field[];
  rows: Row[];
};

/** A Postgres that runs whole requests. Every failure is thrown as a `DatabaseFailure`. */
export type Backend = {
  /** Runs the work; the signal aborts when the client has disconnected. */
  run(work: Work, signal?: AbortSignal): Promise<StatementResult[]>;
  /** Finishes the running request, refuses queued ones and closes the database. Idempotent. */
  close(): Promise<void>;
};

/** Runs one autocommitted statement. */
export async function query(backend: Backend, sql: string, params: Statement["params"] = []): Promise<StatementResult> {
  const [result] = await backend.run({ statement: { query: sql, params } });
  if (result === undefined) throw new Error("the backend answered a statement without a result");
  return result;
}
