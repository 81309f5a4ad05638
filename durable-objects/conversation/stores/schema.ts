/** Migrations of the object's tables, oldest first. Append only. */
export const MIGRATIONS: readonly string[] = [
  // No secondary index: every page a commit touches is billed and written. `position` is the order of admission and is
  // never reused, hence AUTOINCREMENT.
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
     inbound TEXT,
     work TEXT,
     answer TEXT,
     UNIQUE (scope, request_id)
   )`,
  // Entries outlive their confirmation because the model's history is read from them. Notices belong to no session and have
  // session ''; one confirmation covers both. Postgres orders by `position`, so it is never reused.
  `CREATE TABLE entries (
     position INTEGER PRIMARY KEY AUTOINCREMENT,
     session_id TEXT NOT NULL,
     entry TEXT NOT NULL
   )`,
  // Client ids of recorded messages, for deduplication.
  `CREATE TABLE recorded (message_id TEXT PRIMARY KEY, recorded_at INTEGER NOT NULL) WITHOUT ROWID`,
  // Parts of outbound channel messages. `request` and `template` are deleted when no attempt can follow.
  `CREATE TABLE deliveries (
     position INTEGER PRIMARY KEY AUTOINCREMENT,
     message_id TEXT NOT NULL,
     part INTEGER NOT NULL,
     brand_id TEXT NOT NULL,
     phone_number_id TEXT NOT NULL,
     state TEXT NOT NULL,
     request TEXT,
     template TEXT,
     attempts INTEGER NOT NULL DEFAULT 0,
     due_at INTEGER NOT NULL,
     channel_message_id TEXT,
     error TEXT,
     announced TEXT,
     expires_at INTEGER NOT NULL,
     UNIQUE (message_id, part)
   )`,
  `CREATE INDEX deliveries_waiting ON deliveries (position) WHERE state IN ('queued', 'sending')`,
  `CREATE INDEX deliveries_channel ON deliveries (channel_message_id) WHERE channel_message_id IS NOT NULL`,
  `CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID`,
  `ALTER TABLE facts RENAME TO state`,
  `UPDATE state SET name = CASE name WHEN 'movedTo' THEN 'forwardsTo' ELSE 'lastSessionNumber' END
   WHERE name IN ('movedTo', 'lastNumber')`,
  // `template_text` is the template as text; `sent_template` names it once it was sent instead of the message.
  `ALTER TABLE deliveries ADD COLUMN template_text TEXT`,
  `ALTER TABLE deliveries ADD COLUMN sent_template TEXT`,
  `ALTER TABLE deliveries ADD COLUMN channel TEXT NOT NULL DEFAULT 'whatsapp'`,
  // Webhook messages that waited while this version was deployed are of the one channel there was.
  `UPDATE turns SET inbound = json_set(inbound, '$.message.channel', 'whatsapp') WHERE inbound IS NOT NULL`,
  `UPDATE turns SET work = json_set(work, '$.origin.channel', 'whatsapp')
   WHERE json_type(work, '$.origin') = 'object'`,
  // Hash of role and content, so that an id that comes with other words is told from a repetition.
  `ALTER TABLE recorded ADD COLUMN fingerprint TEXT`,
  // Edits and revocations by the channel's ids. `edit` is null for a revocation.
  `CREATE TABLE amendments (
     id TEXT PRIMARY KEY,
     target TEXT NOT NULL,
     role TEXT NOT NULL,
     at INTEGER NOT NULL,
     edit TEXT,
     expires_at INTEGER NOT NULL
   ) WITHOUT ROWID`,
  `UPDATE turns SET inbound = json_set(inbound, '$.message.newIdentity', json_extract(inbound, '$.message.became'),
     '$.message.groupId', NULL, '$.message.otherIdentities', json('[]')) WHERE inbound IS NOT NULL`,
  // The channel's id of the request that a template has replaced.
  `ALTER TABLE deliveries ADD COLUMN replaced_id TEXT`,
  // Conversations that were there before their age was kept are the oldest.
  `INSERT OR IGNORE INTO state (name, value) SELECT 'foundedAt', '0' FROM state WHERE name = 'owner'`,
];
