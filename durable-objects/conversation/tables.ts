/** The object's own tables, statement by statement in the order they came to be. */
export const MIGRATIONS: readonly string[] = [
  // `position` is the order of admission, never reused: AUTOINCREMENT.
  `CREATE TABLE turns (
     position INTEGER PRIMARY KEY AUTOINCREMENT,
     scope TEXT NOT NULL,
     request_id TEXT NOT NULL,
     turn_id TEXT NOT NULL,
     session_id TEXT NOT NULL,
     state TEXT NOT NULL,
     fence INTEGER NOT NULL,
     fingerprint TEXT NOT NULL,
     admitted_at INTEGER NOT NULL,
     lease_until INTEGER,
     expires_at INTEGER,
     work TEXT,
     answer TEXT,
     UNIQUE (scope, request_id)
   )`,
  `CREATE INDEX turns_waiting ON turns (position) WHERE state IN ('queued', 'running')`,
  // Entries stay for a while after they are confirmed: they are what the model gets as history.
  `CREATE TABLE entries (
     position INTEGER PRIMARY KEY AUTOINCREMENT,
     session_id TEXT NOT NULL,
     entry TEXT NOT NULL,
     confirmed INTEGER NOT NULL DEFAULT 0
   )`,
  `CREATE INDEX entries_waiting ON entries (position) WHERE confirmed = 0`,
  // Ids of messages that were no turn, so that one that comes twice is kept once.
  `CREATE TABLE recorded (message_id TEXT PRIMARY KEY, recorded_at INTEGER NOT NULL)`,
  `CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)`,
];
