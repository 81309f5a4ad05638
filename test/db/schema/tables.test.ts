import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { CHANNELS } from "../../../src/domain/channel.ts";
import { STORED_IDENTIFIER_TYPES, USER_TIERS } from "../../../src/domain/user.ts";
import { startDatabase } from "../../support/database.ts";
import type { TestDatabase } from "../../support/database.ts";
import { ACME, GLOBEX, INSTANCE } from "../../support/demo.ts";

/** The tables of the design. What is told here of a table is told of each of them. */
const TABLES = [
  "api_keys",
  "brands",
  "broadcast_recipients",
  "broadcasts",
  "dead_letters",
  "idempotency_locks",
  "instance_configs",
  "instances",
  "llm_models",
  "messages",
  "session_token_usage",
  "sessions",
  "template_sets",
  "templates",
  "user_identifiers",
  "users",
] as const;

/** Whose row a column names, what becomes of a row when the one it names is gone, and whether it may name none. */
const REFERENCES = [
  "api_keys.brand_id -> brands CASCADE, always",
  "broadcast_recipients.brand_id -> brands CASCADE, always",
  "broadcast_recipients.broadcast_id -> broadcasts CASCADE, always",
  "broadcast_recipients.user_id -> users CASCADE, always",
  "broadcasts.brand_id -> brands CASCADE, always",
  "broadcasts.instance_id -> instances CASCADE, always",
  "idempotency_locks.brand_id -> brands CASCADE, always",
  "idempotency_locks.session_id -> sessions CASCADE, always",
  "instance_configs.instance_id -> instances CASCADE, always",
  "instance_configs.template_set_id -> template_sets SET NULL, or none",
  "instances.brand_id -> brands CASCADE, always",
  "messages.brand_id -> brands CASCADE, always",
  "messages.instance_id -> instances CASCADE, always",
  "messages.session_id -> sessions CASCADE, always",
  "messages.user_id -> users SET NULL, or none",
  "session_token_usage.brand_id -> brands CASCADE, always",
  "session_token_usage.llm_model_id -> llm_models SET NULL, or none",
  "session_token_usage.session_id -> sessions CASCADE, always",
  "sessions.brand_id -> brands CASCADE, always",
  "sessions.instance_id -> instances CASCADE, always",
  "sessions.user_id -> users CASCADE, always",
  "template_sets.brand_id -> brands CASCADE, always",
  "templates.brand_id -> brands CASCADE, always",
  "templates.llm_model_id -> llm_models SET NULL, or none",
  "user_identifiers.brand_id -> brands CASCADE, or none",
  "user_identifiers.user_id -> users CASCADE, always",
  "users.brand_id -> brands CASCADE, always",
];

let database: TestDatabase;
const rows = (sql: string, params: string[] = []) => database.query(sql, params);
const lines = async (sql: string, params?: string[]) => (await rows(sql, params)).map(({ line }) => line ?? "");
const countOf = async (table: string) => Number((await rows(`select count(*) as n from ${table}`))[0]?.["n"]);

beforeAll(async () => {
  database = await startDatabase({ seeded: true });
}, 60_000);
afterAll(() => database.close());

const inTables = `table_name in (${TABLES.map((table) => `'${table}'`).join(", ")})`;
const ofTables = `in (${TABLES.map((table) => `'${table}'::regclass`).join(", ")})`;

describe("a row", () => {
  it("a row has an id of its own or one made by Postgres, and is never without [E1.1.1, E1.1.2]", async () => {
    const keys = await rows(
      `select k.conrelid::regclass as table, a.attname as column, format_type(a.atttypid, a.atttypmod) as type,
         a.attnotnull as filled, pg_get_expr(d.adbin, d.adrelid) as default, array_length(k.conkey, 1) as columns
       from pg_constraint k
       join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
       left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
       where k.contype = 'p' and k.conrelid ${ofTables} order by k.conrelid::regclass::text`,
    );
    const shape = { column: "id", type: "uuid", filled: "t", default: "gen_random_uuid()", columns: "1" };
    expect(keys).toEqual(TABLES.map((table) => ({ table, ...shape })));
    const made = await rows("insert into llm_models (name) values ('a'), ('b') returning id");
    expect(new Set(made.map(({ id }) => id)).size).toBe(2);
    await expect(rows("insert into llm_models (id, name) values (null, 'c')")).rejects.toMatchObject({ code: "23502" });
  });

  it("a row has creation and update times with a time zone [E1.3.1, E1.3.2, E1.3.3]", async () => {
    const stamps = await rows(
      `select table_name || '.' || column_name as name, data_type, is_nullable, column_default
       from information_schema.columns where ${inTables} and column_name in ('created_at', 'updated_at') order by 1`,
    );
    const shape = { data_type: "timestamp with time zone", is_nullable: "NO", column_default: "now()" };
    expect(stamps).toEqual(
      TABLES.flatMap((table) => [`${table}.created_at`, `${table}.updated_at`]).map((name) => ({ name, ...shape })),
    );
  });

  it("no column is a time without a zone or a float [E1.3.3]", async () => {
    const types = await lines(
      `select distinct data_type as line from information_schema.columns where table_schema = 'public' order by 1`,
    );
    expect(types).not.toContain("timestamp without time zone");
    expect(
      types.filter((type) => ["real", "double precision", "date", "time without time zone"].includes(type)),
    ).toEqual([]);
  });
});

describe("rows that name each other", () => {
  it("every reference is a foreign key with its deletion rule and nullability [E1.2.1, E1.2.2, E1.2.3]", async () => {
    const references = await lines(
      `select k.conrelid::regclass || '.' || a.attname || ' -> ' || k.confrelid::regclass
         || case k.confdeltype when 'c' then ' CASCADE' when 'n' then ' SET NULL' else ' ' || k.confdeltype::text end
         || case when a.attnotnull then ', always' else ', or none' end as line
       from pg_constraint k join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
       where k.contype = 'f' and k.conrelid ${ofTables} order by 1`,
    );
    expect(references.toSorted()).toEqual(REFERENCES.toSorted());
  });

  it("a reference to a missing row is refused [E1.2.1]", async () => {
    const nobody = "00000000-0000-4000-8000-00000000dead";
    await expect(rows(`insert into users (brand_id, tier) values ('${nobody}', 'guest')`)).rejects.toMatchObject({
      code: "23503",
    });
  });

  it("every foreign key has an index [E1.4.1]", async () => {
    // A brand is deleted by hand if ever; these are followed for every message.
    const followed = [
      "broadcast_recipients.broadcast_id",
      "idempotency_locks.session_id",
      "instance_configs.instance_id",
      "messages.session_id",
      "messages.user_id",
      "session_token_usage.session_id",
      "sessions.user_id",
      "user_identifiers.user_id",
    ];
    const indexed = await lines(
      `select distinct i.indrelid::regclass || '.' || a.attname as line
       from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]`,
    );
    expect(followed.filter((column) => !indexed.includes(column))).toEqual([]);
  });
});

describe("a conversation of two people", () => {
  const id = (n: number) => `01900000-0000-7000-8000-00000000000${n}`;
  const [ann, bob, session, other] = [id(1), id(2), id(3), id(4)];
  beforeEach(async () => {
    // A database of its own for each: what is deleted here takes a lot with it.
    await database.close();
    database = await startDatabase({ seeded: true });
    const own = `'${ACME}', '${INSTANCE.chat}'`;
    for (const user of [ann, bob]) {
      await rows(`insert into users (id, brand_id, tier) values ('${user}', '${ACME}', 'standard')`);
      await rows(
        `insert into user_identifiers (user_id, brand_id, channel, identifier_type, identifier_value) values ('${user}', '${ACME}', 'web', 'email', '${user}')`,
      );
    }
    for (const [at, user] of [
      [session, ann],
      [other, bob],
    ]) {
      await rows(
        `insert into sessions (id, brand_id, instance_id, user_id, channel, address) values ('${at}', ${own}, '${user}', 'web', 'a')`,
      );
      await rows(
        `insert into messages (brand_id, instance_id, session_id, user_id, role, content, seq) values (${own}, '${at}', '${user}', 'user', 'Hi', 1)`,
      );
      await rows(
        `insert into session_token_usage (brand_id, session_id, template_key, function_name, planned_tokens, sent_tokens, received_tokens, total_tokens)
         values ('${ACME}', '${at}', 't', 'f', 1, 1, 1, 2)`,
      );
      await rows(
        `insert into idempotency_locks (request_id, brand_id, session_id, turn_id, fence, locked_at, expires_at)
         values ('${at}', '${ACME}', '${at}', '${at}', 1, now(), now())`,
      );
    }
    // Bob once said something in Ann's session: a message whose session is not his.
    await rows(
      `insert into messages (brand_id, instance_id, session_id, user_id, role, content, seq) values (${own}, '${session}', '${bob}', 'user', 'Me too', 2)`,
    );
  });
  const left = async () =>
    Promise.all(["sessions", "messages", "session_token_usage", "idempotency_locks", "user_identifiers"].map(countOf));

  it("a deleted session takes its own rows with it [E1.4.2]", async () => {
    await rows(`delete from sessions where id = '${session}'`);
    expect(await left()).toEqual([1, 1, 1, 1, 2]);
  });

  it("one DELETE of a user deletes their sessions and keeps their messages elsewhere without a name [E1.4.3, E1.2.2]", async () => {
    await rows(`delete from users where id = '${bob}'`);
    expect(await left()).toEqual([1, 2, 1, 1, 1]);
    expect(await rows("select user_id, content from messages order by seq")).toEqual([
      { user_id: ann, content: "Hi" },
      { user_id: null, content: "Me too" },
    ]);
  });

  it("a deleted brand takes its rows with it and leaves the other brand's", async () => {
    await rows(`insert into users (brand_id, tier) values ('${GLOBEX}', 'guest')`);
    await rows(`delete from brands where id = '${ACME}'`);
    expect([await left(), await countOf("users"), await countOf("instances")]).toEqual([[0, 0, 0, 0, 0], 1, 1]);
  });

  it("usage outlives its model, and an instance outlives its template set [E1.2.2]", async () => {
    await rows(
      "update session_token_usage set llm_model_id = (select id from llm_models where name = 'Acme small model')",
    );
    await rows("delete from llm_models where name = 'Acme small model'");
    await rows(`delete from template_sets where brand_id = '${ACME}'`);
    expect(await rows("select llm_model_id, total_tokens from session_token_usage limit 1")).toEqual([
      { llm_model_id: null, total_tokens: "2" },
    ]);
    expect(await rows(`select template_set_id from instance_configs where instance_id = '${INSTANCE.chat}'`)).toEqual([
      { template_set_id: null },
    ]);
  });
});

describe("what can be there only once", () => {
  const unique = (table: string) =>
    lines(
      `select substring(pg_get_indexdef(indexrelid) from 'btree (.*)') as line from pg_index
       where indisunique and not indisprimary and indrelid = $1::regclass order by 1`,
      [table],
    );

  it("an identifier is unique within a brand and a channel [E1.5.1]", async () => {
    expect(await unique("user_identifiers")).toEqual([
      "(identifier_type, identifier_value, channel, brand_id) WHERE (brand_id IS NOT NULL)",
    ]);
    const ann = "01900000-0000-7000-8000-000000000001";
    await rows("truncate users cascade");
    await rows(`insert into users (id, brand_id, tier) values ('${ann}', '${ACME}', 'standard')`);
    const add = (brand: string, channel: string, value: string) =>
      rows(
        `insert into user_identifiers (user_id, brand_id, channel, identifier_type, identifier_value)
         values ('${ann}', ${brand}, '${channel}', 'email', '${value}')`,
      );
    await add(`'${ACME}'`, "web", "a@b.co");
    await add(`'${ACME}'`, "app", "a@b.co");
    await add(`'${GLOBEX}'`, "web", "a@b.co");
    await add(`'${ACME}'`, "web", "c@d.co");
    for (let time = 0; time < 2; time += 1) await add("null", "web", "a@b.co");
    await expect(add(`'${ACME}'`, "web", "a@b.co")).rejects.toMatchObject({
      code: "23505",
      details: { constraint: "user_identifiers_one_owner" },
    });
  });

  it("an instance has one active configuration and any number of inactive ones [E1.5.2]", async () => {
    expect(await unique("instance_configs")).toEqual(["(instance_id) WHERE is_active"]);
    const add = (isActive: boolean) =>
      rows(`insert into instance_configs (instance_id, is_active) values ('${INSTANCE.chat}', ${isActive})`);
    for (let time = 0; time < 3; time += 1) await add(false);
    await expect(add(true)).rejects.toMatchObject({ code: "23505" });
  });

  it("an idempotency lock is unique per request [E1.5.3]", async () => {
    expect(await unique("idempotency_locks")).toEqual(["(request_id)"]);
  });

  it("a channel's message id is unique for ever", async () => {
    expect(await unique("messages")).toEqual([
      "(instance_id, channel_message_id) WHERE (channel_message_id IS NOT NULL)",
    ]);
  });
});

describe("a column of JSON", () => {
  it("a JSON column defaults to an empty object or list, and a token plan to null [E1.6.1]", async () => {
    const columns = await rows(
      `select table_name || '.' || column_name as name, is_nullable, column_default
       from information_schema.columns where ${inTables} and data_type = 'jsonb' order by 1`,
    );
    const [nullable, filled] = [
      columns.filter(({ is_nullable }) => is_nullable === "YES"),
      columns.filter(({ is_nullable }) => is_nullable === "NO"),
    ];
    expect(nullable).toEqual([{ name: "sessions.token_plan_json", is_nullable: "YES", column_default: null }]);
    const lists = ["api_keys.scopes_json", "brands.allowed_origins_json", "templates.sections_json"];
    expect(
      filled.filter(({ name }) => !lists.includes(name ?? "")).map(({ column_default }) => column_default),
    ).toEqual(filled.slice(lists.length).map(() => "'{}'::jsonb"));
    expect(filled.filter(({ column_default }) => column_default === "'[]'::jsonb").map(({ name }) => name)).toEqual(
      lists,
    );
  });

  it("a JSON column refuses a value of another kind on insert and update [E1.6.2]", async () => {
    const columns = await rows(
      `select table_name as table, column_name as column, column_default as default
       from information_schema.columns where ${inTables} and data_type = 'jsonb'`,
    );
    expect(columns.length).toBeGreaterThan(10);
    const checks = await lines(
      `select conrelid::regclass || ' ' || pg_get_constraintdef(oid) as line from pg_constraint where contype = 'c'`,
    );
    const unchecked = columns.filter(({ table, column, default: empty }) => {
      const kind = empty?.startsWith("'[]'") ? "array" : "object";
      return !checks.includes(`${table} CHECK ((jsonb_typeof(${column}) = '${kind}'::text))`);
    });
    expect(unchecked).toEqual([]);
    for (const wrong of ["[]", '"text"', "7", "null"]) {
      await expect(rows(`update brands set metadata_json = '${wrong}'`)).rejects.toMatchObject({ code: "23514" });
      await expect(rows(`insert into brands (name, metadata_json) values ('a', '${wrong}')`)).rejects.toMatchObject({
        code: "23514",
      });
    }
    await expect(rows("update templates set sections_json = '{}'")).rejects.toMatchObject({ code: "23514" });
  });
});

describe("a column with a closed list", () => {
  it.each([
    ["users", "tier", USER_TIERS],
    ["user_identifiers", "identifier_type", STORED_IDENTIFIER_TYPES],
    ["user_identifiers", "channel", CHANNELS],
    ["sessions", "channel", CHANNELS],
    ["instances", "channel", CHANNELS],
    ["messages", "role", ["user", "assistant", "system"]],
  ] as const)("the CHECK of %s.%s accepts exactly %j", async (table, column, values) => {
    const [check] = await lines(
      `select pg_get_constraintdef(oid) as line from pg_constraint
       where contype = 'c' and conrelid = $1::regclass and pg_get_constraintdef(oid) like '%' || $2 || ' = ANY%'`,
      [table, column],
    );
    expect([...(check ?? "").matchAll(/'([^']*)'::text/g)].map(([, value]) => value)).toEqual([...values]);
  });
});
