/** The part of Durable Object storage that conversations use, small enough for a test to provide it with plain SQLite. */
export type Storage = {
  sql: {
    exec<Row extends Record<string, SqlValue>>(query: string, ...bindings: SqlValue[]): { toArray(): Row[] };
  };
  transactionSync<T>(closure: () => T): T;
};

export type SqlValue = string | number | null | ArrayBuffer;
