import { describe, expect } from "vitest";
import type { Conversation } from "../../src/rpc/conversation.ts";
import type { LedgerEntry } from "../../src/domain/ledger.ts";
import { MessagePageQuery } from "../../src/domain/page.ts";
import type { Caller } from "../../src/domain/principal.ts";
import { pullLedger } from "../../src/flows/pull-ledger.ts";
import { findMessage, history } from "../../src/services/history.ts";
import { ACME, ACME_KEY, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import { answeredTurn, sessionOf } from "../support/entries.ts";
import { answerWith } from "../support/orchestrator.ts";
import { gatewayTest } from "../support/fixtures.ts";

const NOWHERE = "01900000-0000-7000-8000-00000000dead";

const it = gatewayTest()
  .extend("env", { scope: "file" }, ({ orchestrator }) => {
    orchestrator.behave(answerWith({ text: "Hi there", mood: "good", secret: "s3cret" }));
    return { ORCHESTRATOR_URL: orchestrator.url, RATE_LIMIT_INSTANCE_PER_MINUTE: "0" };
  })
  /** Somebody Acme knows. */
  .extend("somebody", { scope: "file" }, ({ gateway }) => async (): Promise<string> => {
    const [row] = await gateway.database.query(
      "insert into users (brand_id, tier) values ($1, 'standard') returning id",
      [ACME],
    );
    return row?.id ?? "";
  })
  /** Said by Acme's server for somebody. */
  .extend(
    "say",
    { scope: "file" },
    ({ gateway }) =>
      (changes: Record<string, unknown>) =>
        gateway.send(
          "POST",
          "/api/messages",
          { instance_id: INSTANCE.chat, request_id: crypto.randomUUID(), content: "Hello", ...changes },
          ACME_KEY,
        ),
  )
  /** What Postgres has of a session's messages, in their order, once everything is written. */
  .extend("rows", { scope: "file" }, ({ gateway }) => async (sessionId: string): Promise<Row[]> => {
    await gateway.flush();
    return gateway.database.query(
      `select m.*, s.user_id as person, s.last_message_at, s.last_assistant_message_at
     from messages m join sessions s on s.id = m.session_id where m.session_id = $1 order by m.seq`,
      [sessionId],
    );
  })
  /** Words of these seconds, in this order. */
  .extend(
    "transcribe",
    { scope: "file" },
    ({ gateway }) =>
      async (conversationId: string, seconds: number[]): Promise<string[]> => {
        const messages = seconds.map((second) => ({
          role: second % 2 === 0 ? "user" : "assistant",
          content: `m${second}`,
          timestamp: new Date(T0 + second * 1000).toISOString(),
        }));
        const path = `/api/v1/conversations/${conversationId}/messages`;
        return (await gateway.send("POST", path, messages, ACME_KEY)).body.data.ids;
      },
  )
  .extend("begin", { scope: "file" }, ({ somebody, gateway }) => async (): Promise<string> => {
    const start = { instance_id: INSTANCE.chat, user_id: await somebody() };
    return (await gateway.send("POST", "/api/v1/conversations/start", start, ACME_KEY)).body.data.conversation_id;
  })
  .extend("read", { scope: "file" }, ({ gateway }) => async (query: Record<string, string>, sessionId = id) => {
    const page = await history(gateway.deps(), caller, sessionId, MessagePageQuery.parse(query));
    return page.messages.map(({ content }) => content);
  })
  .extend(
    "ask",
    { scope: "file" },
    ({ gateway }) =>
      (path: string) =>
        gateway.get(`/api/v1/conversations/${path}`, ACME_KEY),
  );

type Row = Record<string, string | null>;

describe("a turn of a conversation that Postgres knows", () => {
  let answer: Record<string, string>;
  let said: Row | undefined;
  let replied: Row | undefined;
  it.beforeAll(async ({ say, gateway, rows }) => {
    const user = { email: "ann@example.com" };
    await say({ user, content: "Good morning" });
    await gateway.flush();
    const metadata = { page: 7, note: " a\u0007b ", password: "s3cret", deep: [{ api_key: "s3cret", kept: 1 }] };
    const turn = { request_id: "ann-2", trace_id: "trace-of-ann", content: " Is 1 < 2? ", metadata };
    answer = (await say({ user, ...turn })).body.data;
    const [, , ...last] = await rows(answer.session_id ?? "");
    expect(last).toHaveLength(2);
    [said, replied] = last;
  });

  describe("keeps what the person said", () => {
    it("a turn stores the unescaped message with its place and author, as processed [C4.1.5]", () =>
      expect(said).toMatchObject({
        id: answer.inbound_message_id,
        brand_id: ACME,
        session_id: answer.session_id,
        instance_id: INSTANCE.chat,
        user_id: answer.user_id,
        content: "Is 1 < 2?",
        processed: "t",
      }));
    it("a turn stores the message with the role user [C4.1.6]", () => expect(said?.role).toBe("user"));
    it("a turn stores the message with its request id [C4.1.7]", () => expect(said?.request_id).toBe("ann-2"));
    it("a turn stores the message with its trace id [C4.1.8]", () => expect(said?.trace_id).toBe("trace-of-ann"));
    it("a turn stores the message's metadata, sanitised and without secrets [C4.1.9]", () =>
      expect(JSON.parse(said?.metadata_json ?? "")).toEqual({
        page: 7,
        note: "a b",
        deep: [{ kept: 1 }],
        channel: "api",
      }));
  });

  describe("keeps what was replied", () => {
    it("a turn stores the reply beside its message, with the orchestrator's response [C4.2.4]", () => {
      expect(replied).toMatchObject({
        id: answer.message_id,
        brand_id: ACME,
        session_id: answer.session_id,
        instance_id: INSTANCE.chat,
        turn_id: said?.turn_id,
        content: "Hi there",
        processed: "t",
      });
      expect(JSON.parse(replied?.metadata_json ?? "")).toMatchObject({
        orchestrator_response: { text: "Hi there", mood: "good" },
      });
    });
    it("a turn stores the reply with the role assistant [C4.2.5]", () => expect(replied?.role).toBe("assistant"));
    it("a turn stores the reply without a user [C4.2.6]", () =>
      expect([replied?.user_id, replied?.person]).toEqual([null, answer.user_id]));
    it("a turn moves the session's last message time to the reply [C4.2.9]", () =>
      expect(replied?.last_message_at).toBe(replied?.created_at));
    it("a turn moves the session's last reply time to the reply [C4.2.10]", () =>
      expect(replied?.last_assistant_message_at).toBe(replied?.created_at));
  });

  it("a transcript message moves the session's last message time [C4.1.11]", async ({ gateway, rows }) => {
    const path = `/api/v1/conversations/${answer.session_id}/messages`;
    expect((await gateway.send("POST", path, { role: "user", content: "Hm." }, ACME_KEY)).status).toBe(202);
    const last = (await rows(answer.session_id ?? "")).at(-1);
    expect(last).toMatchObject({ content: "Hm.", last_message_at: last?.created_at });
    expect(last?.last_assistant_message_at).toBe(replied?.created_at);
  });
});

describe("a person who says too much", () => {
  const wave = (count: number) => "👋".repeat(count);
  /** `{"note":"..."}` of this many bytes. */
  const metadataOf = (bytes: number) => ({ note: "x".repeat(bytes - '{"note":""}'.length) });

  it.for([
    ["more than 10,000 characters", "C4.1.4", { content: wave(10_000) }, { content: wave(10_001) }, "content"],
    [
      "metadata of more than 64 KB",
      "C4.1.10",
      { metadata: metadataOf(65_536) },
      { metadata: metadataOf(65_537) },
      "metadata",
    ],
  ] as const)(
    "a message over the limit in %s is refused and not stored [%s]",
    async ([, , most, tooMuch, field], { say, orchestrator, rows }) => {
      const email = `${crypto.randomUUID()}@example.com`;
      const { status, body } = await say({ user: { email }, request_id: "most", ...most });
      expect(status).toBe(200);
      const asked = orchestrator.calls.length;
      const refused = await say({ user: { email }, request_id: "too-much", ...tooMuch });
      expect(refused).toMatchObject({ status: 422, body: { error: { code: "VALIDATION_ERROR" } } });
      expect(refused.body.error.details.fields).toMatchObject([{ field }]);
      expect((await rows(body.data.session_id)).map(({ request_id }) => request_id)).toEqual(["most", "most"]);
      expect(orchestrator.calls).toHaveLength(asked);
    },
  );
});

describe("an entry of the ledger that says too little", () => {
  it.beforeEach(({ gateway }) => gateway.database.query("truncate dead_letters, sessions cascade"));

  /** A conversation that has these entries to give. */
  const giving = (entries: LedgerEntry[]) =>
    ({
      pull: async () => ({ entries, notices: [], upTo: 1, more: false }),
      confirm: async () => ({ waiting: 0 }),
    }) as unknown as Conversation;

  it.for([
    ["a person's words", "session", "C4.1.1", "user", "id"],
    ["a person's words", "person", "C4.1.2", "user", "userId"],
    ["a person's words", "instance", "C4.1.3", "user", "instanceId"],
    ["a reply", "session", "C4.2.1", "assistant", "id"],
    ["a reply", "instance", "C4.2.2", "assistant", "instanceId"],
  ] as const)(
    "a ledger entry that is %s without a %s becomes a dead letter [%s]",
    async ([, , , role, field], { somebody, gateway }) => {
      const session = sessionOf(await somebody());
      const good = answeredTurn(session, { requestId: "good" });
      const whole = answeredTurn(session, { requestId: "bad", at: 3_000_000, content: "Lost?", reply: "Lost?" });
      const bad: LedgerEntry = {
        ...whole,
        session: { ...whole.session, [field]: null },
        messages: whole.messages.filter((message) => message.role === role),
      };
      const deps = createTestDeps({ endpoint: gateway.database.endpoint });
      await pullLedger({ ...deps, conversation: () => giving([good, bad]) }, ["here"]);

      const kept = await gateway.database.query("select request_id, role from messages order by seq");
      expect(kept).toEqual([
        { request_id: "good", role: "user" },
        { request_id: "good", role: "assistant" },
      ]);
      const letters = await gateway.database.query(
        "select id, reason, payload_json #>> '{messages,0,content}' as content from dead_letters",
      );
      expect(letters).toEqual([{ id: bad.id, reason: "23502", content: "Lost?" }]);
    },
  );
});

const caller: Caller = { kind: "brand", brandId: ACME, keyId: "key", scopes: [] };

const T0 = Date.UTC(2026, 10, 22, 10);

let id: string;

/** Of two conversations: the one that is read, and another. */
let ids: string[];

let others: string[];

describe("what was said, read again", () => {
  it.beforeAll(async ({ begin, transcribe, gateway }) => {
    id = await begin();
    // The last words come first: when they were said decides.
    ids = await transcribe(id, [104, 103, 102, 101, 100]);
    await transcribe(
      id,
      Array.from({ length: 100 }, (_, second) => second),
    );
    others = await transcribe(await begin(), [0]);
    await gateway.flush();
    gateway.evictAll({ emptied: true });
  });

  const newest = (count: number) => Array.from({ length: count }, (_, index) => `m${104 - index}`);
  const invalid = (field: string) => ({ code: "VALIDATION_ERROR", details: { fields: [{ field }] } });

  it("a history is read of a named conversation only [C4.4.1]", async ({ ask }) => {
    const { status, body } = await ask("%20/messages");
    expect(status).toBe(400);
    expect(body.error).toMatchObject(invalid("conversation_id"));
  });

  it("a history of an unknown conversation is not found [C4.4.2]", async ({ read }) => {
    await expect(read({}, NOWHERE)).rejects.toMatchObject({
      code: "RESOURCE_NOT_FOUND",
      status: 404,
      details: { resource_type: "conversation", resource_id: NOWHERE },
    });
  });

  it.for(["0", "-1"])("a history can't be read %s messages at a time [C4.4.3]", async (limit, { ask }) => {
    const { status, body } = await ask(`${id}/messages?limit=${limit}`);
    expect(status).toBe(422);
    expect(body.error).toMatchObject(invalid("limit"));
  });

  it("a history has pages of at most 100 messages [C4.4.4]", async ({ read, ask }) => {
    expect(await read({ limit: "1000" })).toEqual(newest(100));
    expect((await ask(`${id}/messages?limit=1000`)).body.data.pagination).toMatchObject({ limit: 100, has_more: true });
  });

  it("a history is sorted by time, newest first [C4.4.5]", async ({ read }) => {
    expect((await read({ limit: "10" })).slice(0, 7)).toEqual(newest(7));
  });

  it("a history has as many messages a page as asked for [C4.4.6]", async ({ read }) => {
    expect(await read({ limit: "3" })).toHaveLength(3);
    expect(await read({ limit: "1" })).toHaveLength(1);
  });

  it("a message is read by its id only [C4.5.1]", async ({ ask }) => {
    const { status, body } = await ask(`${id}/messages/%20`);
    expect(status).toBe(400);
    expect(body.error).toMatchObject(invalid("message_id"));
  });

  it("a message is found by its id [C4.5.2]", async ({ gateway }) => {
    const [first = ""] = ids;
    expect(await findMessage(gateway.deps(), caller, id, first)).toMatchObject({
      id: first,
      role: "user",
      content: "m104",
      createdAt: T0 + 104_000,
    });
  });

  it("a message is not found by an unknown id or in another conversation [C4.5.3]", async ({ gateway }) => {
    const [other = ""] = others;
    expect(await findMessage(gateway.deps(), caller, id, NOWHERE)).toBeNull();
    expect(await findMessage(gateway.deps(), caller, id, other)).toBeNull();
  });
});
