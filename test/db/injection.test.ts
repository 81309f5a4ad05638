import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect } from "vitest";
import { parseAst } from "vitest/node";
import { broadcastByRequest, progressOf, usersOfBrand } from "../../src/db/broadcasts.ts";
import { apiKeyByHash } from "../../src/db/credentials.ts";
import { userById, usersByIdentifiers } from "../../src/db/users.ts";
import { instanceBy, instanceById } from "../../src/db/instances.ts";
import { isChannelMessageKnown, messageById, messagesPage } from "../../src/db/messages.ts";
import type { Query } from "../../src/db/reader.ts";
import { sessionById, sessionsPage, sessionWithCounts } from "../../src/db/sessions.ts";
import { usageByTemplate, usageRecords } from "../../src/db/usage.ts";
import type { AppError } from "../../src/domain/errors.ts";
import { deliverBroadcast } from "../../src/flows/deliver-broadcast.ts";
import { sendBroadcast } from "../../src/flows/send-broadcast.ts";
import { createAudience } from "../support/audience.ts";
import { ACME, ACME_KEY, INSTANCE } from "../support/demo.ts";
import { gatewayTest } from "../support/fixtures.ts";

type Node = { type: string; start: number; end: number } & Record<string, any>;

const ROOT = join(import.meta.dirname, "../..");
const LOOKS_LIKE_SQL =
  /\b(select|insert\s+into|delete\s+from|from|where|values|set|join|order\s+by|limit|returning|in\s*\()(\s|\(|$)/i;

/** Where a text becomes SQL that is more than a constant: `sql.raw` of anything else, and texts put together. */
function joinedSql(code: string): string[] {
  const found: string[] = [];
  const visit = (node: Node, parent: Node | null): void => {
    if (isJoined(node, parent)) found.push(code.slice(node.start, node.end));
    for (const value of Object.values(node)) {
      for (const child of [value].flat()) if (typeof child?.type === "string") visit(child as Node, node);
    }
  };
  visit(parseAst(code, { lang: "ts" }), null);
  return found;
}

function isJoined(node: Node, parent: Node | null): boolean {
  switch (node.type) {
    case "CallExpression":
      return node["callee"].property?.name === "raw" && !node["arguments"].every(isConstant);
    case "TemplateLiteral":
      // With a tag the values are parameters.
      return parent?.type !== "TaggedTemplateExpression" && !isConstant(node) && node["quasis"].some(saysSql);
    case "BinaryExpression":
      return node["operator"] === "+" && [node["left"], node["right"]].some(saysSql) && !isConstant(node);
    default:
      return false;
  }
}

const isConstant = (node: Node): boolean =>
  node.type === "Literal" ||
  (node.type === "TemplateLiteral" && node["expressions"].length === 0) ||
  (node.type === "BinaryExpression" && isConstant(node["left"]) && isConstant(node["right"]));

const saysSql = (node: Node): boolean =>
  LOOKS_LIKE_SQL.test(String(node["value"]?.cooked ?? node["value"] ?? "")) ||
  (node.type === "TemplateLiteral" && node["quasis"].some(saysSql));

const sources = (folder: string) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => ({ name: `${folder}/${name}`, code: readFileSync(join(ROOT, folder, name), "utf8") }));

/** The word in all of them that would be seen wherever a value is written out. */
const MARK = "hostile";
const HOSTILE = [
  ["ends the text", `${MARK}' or true --`],
  ["ends the statement", `${MARK}'; drop table messages cascade; --`],
  ["ends the list", `${MARK}')) or true) --`],
  ["asks for more", `${MARK}' union all select content, null from messages --`],
  ["opens a comment", `/* ${MARK} */ -- #`],
  ["names a parameter", `${MARK} $1 $2 :name ? %s`],
  ["is quoted in dollars", `$$ ${MARK} $x$ $1`],
  ["ends in a backslash", `${MARK}\\' \\x27 \\`],
  ["says a NUL in words", `${MARK} \\u0000 \\000 %00`],
  ["ends the JSON", `${MARK}"}]'::jsonb; --`],
  ["is a pattern", `%_${MARK}%`],
  ["quotes with other letters", `${MARK}\u02BC or \uFF07 \u2032 \u00AB \u2019 or 1=1`],
  ["is of many alphabets", `${MARK} ünïcödé 日本語 👋🏽 \u0301`],
] as const;

const it = gatewayTest()
  .extend("env", { scope: "file" }, { RATE_LIMIT_INSTANCE_PER_MINUTE: "0", RATE_LIMIT_USER_PER_MINUTE: "0" })
  /** Every statement Postgres was given since this test began. */
  .extend(
    "statements",
    { scope: "file" },
    ({ gateway }) =>
      () =>
        gateway.database.requests.flatMap(({ queries }) => queries),
  )
  /** That Postgres was asked, and the value was no part of any statement. */
  .extend("expectParameters", { scope: "file" }, ({ statements }) => (): void => {
    expect(statements()).not.toEqual([]);
    expect(statements().filter((statement) => statement.includes(MARK))).toEqual([]);
  })
  /** All that is there and that no message may change: by table, its rows as one text. */
  .extend("untouchable", { scope: "file" }, ({ gateway }) => async (): Promise<Record<string, string | null>> => {
    const tables = await gateway.database.query(
      "select string_agg(table_name, ',' order by table_name) as names from information_schema.tables where table_schema = 'public'",
    );
    const kept = ["brands", "instances", "instance_configs", "template_sets", "templates", "llm_models", "api_keys"];
    const [rows] = await gateway.database.query(
      `select ${kept.map((table) => `(select string_agg(t::text, '|' order by id) from ${table} t) as ${table}`).join(", ")}`,
    );
    return { ...tables[0], ...rows };
  })
  .extend("say", { scope: "file" }, ({ gateway }) => async (value: string, deviceId: string) => {
    const reply = await gateway.send(
      "POST",
      "/api/messages",
      {
        instance_id: INSTANCE.chat,
        request_id: `r${(count += 1)}`,
        trace_id: value,
        content: value,
        metadata: { [value]: value, list: [value, { [value]: [value] }] },
        user: { device_id: deviceId, email: `hostile'or''${count}@example.com` },
      },
      ACME_KEY,
    );
    expect(reply.status).toBe(200);
    return reply.body.data;
  })
  .extend(
    "history",
    { scope: "file" },
    ({ gateway }) =>
      (id: string) =>
        gateway.get(`/api/v1/conversations/${id}/messages`, ACME_KEY),
  );
it.beforeEach(({ gateway }) => gateway.database.forget());

let count = 0;

describe.each(HOSTILE)("a value that %s", (_, value) => {
  const clean = value.normalize("NFC");

  it("a value with SQL in it is stored and returned as text and changes nothing else [G4.1.1]", async ({
    say,
    gateway,
    untouchable,
    expectParameters,
    history,
  }) => {
    const victim = await say(`the words of somebody else ${MARK}`, crypto.randomUUID());
    await gateway.flush();
    const before = await untouchable();
    const rows = "select content from messages where session_id = $1 order by seq";
    const theirs = await gateway.database.query(rows, [victim.session_id]);

    const spoken = await say(value, value);
    await gateway.flush();
    gateway.evictAll({ emptied: true });
    expectParameters();
    expect(spoken.user_id).not.toBe(victim.user_id);
    const read = (await history(spoken.session_id)).body.data.messages;
    expect(read.map(({ content }: { content: string }) => content)).toEqual([`You said: ${clean}`, clean]);
    expect(read[1].metadata).toMatchObject({ [clean]: clean, list: [clean, { [clean]: [clean] }] });
    // Who comes again by this device is the same person, and nobody else is.
    expect((await say(value, value)).user_id).toBe(spoken.user_id);
    expectParameters();
    expect([await untouchable(), await gateway.database.query(rows, [victim.session_id])]).toEqual([before, theirs]);
  });

  it("SQL in an address, a query or a credential finds nothing and gets our own refusal [G4.1.1]", async ({
    gateway,
    expectParameters,
  }) => {
    const path = encodeURIComponent(value);
    const id = INSTANCE.unknown;
    const cursor = encodeURIComponent(btoa(JSON.stringify([1, MARK])));
    const refused = await Promise.all([
      gateway.get(`/api/v1/conversations/${path}`, ACME_KEY),
      gateway.get(`/api/v1/conversations/${path}/messages`, ACME_KEY),
      gateway.get(`/api/v1/conversations/${path}/usage`, ACME_KEY),
      gateway.get(`/api/v1/conversations/${id}/messages/${path}`, ACME_KEY),
      gateway.get(`/api/v1/conversations?user_id=${path}`, ACME_KEY),
      gateway.get(`/api/v1/conversations?limit=${path}`, ACME_KEY),
      gateway.get(`/api/v1/conversations?page=${path}`, ACME_KEY),
      gateway.get(`/api/v1/conversations?before=${path}`, ACME_KEY),
      gateway.get(`/api/v1/conversations?before=${cursor}`, ACME_KEY),
      gateway.get(`/api/v1/conversations/${id}/messages?before=${cursor}`, ACME_KEY),
      gateway.get(`/api/broadcasts/${path}`, ACME_KEY),
      gateway.get(`/api/broadcasts/${id}?after=${path}`, ACME_KEY),
      gateway.get(`/api/broadcasts/${id}?state=${path}`, ACME_KEY),
      gateway.send("POST", `/api/broadcasts/${path}/cancel`, undefined, ACME_KEY),
      gateway.get(`/api/v1/conversations`, `parley_${path.replaceAll("%20", "")}`),
    ]);
    expect(refused.filter(({ status }) => ![401, 404, 422].includes(status))).toEqual([]);
    expectParameters();
  });

  it("SQL in a broadcast is sent as text [G4.1.1]", async ({ say, gateway, expectParameters }) => {
    const { user_id } = await say("Hello", crypto.randomUUID());
    await gateway.flush();
    gateway.database.forget();
    const audience = createAudience(gateway.database.endpoint);
    const { outcome } = await sendBroadcast(audience, {
      credential: { kind: "anonymous" },
      instanceId: INSTANCE.chat,
      requestId: value,
      traceId: value,
      content: clean,
      userIds: [user_id],
      metadata: { [clean]: clean },
    });
    if (outcome.kind !== "accepted") throw new Error(outcome.kind);
    const [result] = outcome.answer.results;
    await deliverBroadcast(audience, outcome.answer.broadcast_id);
    await audience.save();
    expectParameters();
    const [message] = await gateway.database.query(
      "select content, trace_id, metadata_json from messages where id = $1",
      [result?.success === true ? result.message_id : null],
    );
    expect(message).toMatchObject({ content: clean, trace_id: value });
    expect(JSON.parse(message?.["metadata_json"] ?? "")).toMatchObject({ [clean]: clean });
  });
});

const REFUSAL = "DATABASE_ERROR: The database could not complete the request {}";
const describeRefusal = ({ code, message, details }: AppError) => `${code}: ${message} ${JSON.stringify(details)}`;
const describeFound = (found: unknown): unknown => {
  const isNothing =
    found === null || found === false || (found instanceof Set ? found.size : (found as []).length) === 0;
  return isNothing ? "nothing" : found;
};

describe("a query", () => {
  const scope = { brandId: ACME, userId: null };
  const page = { before: null, offset: 0, limit: 20 };
  const atChat = () => "a chat";
  const device = (value: string) => [{ type: "device_id", value }] as const;
  /** Everything a caller's text could get to, below all that checks it. */
  const QUERIES: [string, (value: string) => Query<unknown>][] = [
    ["an API key", apiKeyByHash],
    ["an instance by its id", instanceById],
    ["an instance by its number", (value) => instanceBy({ channel: "whatsapp", recipientNumber: value })],
    [
      "an instance by a webhook",
      (value) => instanceBy({ channel: "whatsapp", endpoint: { number: value, phoneNumberId: value } }),
    ],
    ["a person by their id", (value) => userById(INSTANCE.chat, value, atChat)],
    [
      "a person by an identifier",
      (value) =>
        usersByIdentifiers({ instance: { id: INSTANCE.chat }, channel: "api", addressOf: atChat }, device(value)),
    ],
    ["a session", (value) => sessionById(ACME, value)],
    ["a session and its messages", (value) => sessionWithCounts(scope, value, [])],
    ["a person's sessions", (value) => sessionsPage({ brandId: ACME, userId: value }, page)],
    ["sessions after a cursor", (value) => sessionsPage(scope, { ...page, before: { at: 1, tie: value } })],
    ["a brand's sessions", (value) => sessionsPage({ brandId: value, userId: null }, page)],
    ["messages", (value) => messagesPage(scope, value, { ...page, except: [] })],
    ["messages but for some", (value) => messagesPage(scope, INSTANCE.unknown, { ...page, except: [value] })],
    ["a message", (value) => messageById(scope, INSTANCE.unknown, value)],
    ["a message of a channel", (value) => isChannelMessageKnown({ id: INSTANCE.chat }, value)],
    ["usage", (value) => usageByTemplate(scope, value, [])],
    [
      "usage of a template",
      (value) => usageRecords(scope, INSTANCE.unknown, { templateKey: value, after: null, limit: 1 }),
    ],
    ["a broadcast by its request", (value) => broadcastByRequest(INSTANCE.chat, value)],
    ["the audience of a broadcast", (value) => usersOfBrand(INSTANCE.chat, [value])],
    [
      "a broadcast's progress",
      (value) => progressOf({ id: value, brandId: ACME }, { limit: 1, after: null, state: null }),
    ],
  ];

  it.for(QUERIES)(
    "the query for %s stays one statement for every value [G4.1.1]",
    async ([, query], { gateway, expectParameters, statements }) => {
      const { read } = gateway.deps();
      const outcomes = HOSTILE.map(([, value]) => read(query(`nobody ${value}`)).then(describeFound, describeRefusal));
      const said = await Promise.all(outcomes);
      expect(said.filter((outcome) => outcome !== "nothing" && outcome !== REFUSAL)).toEqual([]);
      expectParameters();
      expect([...new Set(statements().filter((statement) => !statement.startsWith("set ")))]).toHaveLength(1);
    },
  );
});

describe("the code", () => {
  it("no source file builds SQL from a value, except the lists of a CHECK [G4.1.2]", () => {
    const files = sources("src/db");
    expect(files.length).toBeGreaterThan(15);
    expect(files.flatMap(({ name, code }) => joinedSql(code).map((text) => `${name}: ${text}`))).toEqual([
      "src/db/schema/columns.ts: sql.raw(values.map((value) => `'${value}'`).join(\", \"))",
    ]);
  });

  it.each([
    ["sql.raw of a value", "sql`select ${sql.raw(name)}`"],
    ["sql.raw of a template", "sql.raw(`id = ${id}`)"],
    ["a template without a tag", "db.execute(`select 1 where id = '${id}'`)"],
    ["a text added to a text", "db.execute('select 1 where id = ' + id)"],
    ["a value between two texts", 'db.execute("select 1 where id = \'" + id + "\'")'],
  ])("the SQL check reports a value at %s", (_, code) => {
    expect(joinedSql(code)).not.toEqual([]);
  });
});
