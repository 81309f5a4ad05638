/** The part of an object's storage its parts are written against: small enough that a test can stand on plain SQLite. */
export type Storage = {
  sql: {
    exec<Row extends Record<string, SqlValue>>(query: string, ...bindings: SqlValue[]): { toArray(): Row[] };
  };
  transactionSync<T>(closure: () => T): T;
};

export type SqlValue = string | number | null | ArrayBuffer;
