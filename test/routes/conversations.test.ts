import { describe, expect } from "vitest";
import { RESERVED_KEYS } from "../../src/domain/message.ts";
import { ACME_KEY, GLOBEX, GLOBEX_KEY, INSTANCE } from "../support/demo.ts";
import type { Gateway } from "../support/gateway.ts";
import { contents, somebody } from "../support/people.ts";
import { gatewayTest } from "../support/fixtures.ts";

const it = gatewayTest();

const T0 = Date.UTC(2026, 10, 22, 10);
const at = (second: number): string => new Date(T0 + second * 1000).toISOString();
/** The n-th message of a conversation, a second after the one before it. */
const said = (n: number) => ({ role: n % 2 === 0 ? "user" : "assistant", content: `m${n}`, timestamp: at(n) });
const first = (count: number) => Array.from({ length: count }, (_, n) => said(n));
const range = (from: number, to: number): string[] => Array.from({ length: from - to + 1 }, (_, n) => `m${from - n}`);

const stages: [string, (gateway: Gateway) => Promise<unknown>][] = [
  ["while the ledger waits", (_gateway: Gateway) => Promise.resolve()],
  ["when all is written", (gateway: Gateway) => gateway.flush()],
  [
    "when the object has forgotten it",
    async (gateway: Gateway) => {
      await gateway.flush();
      gateway.evictAll({ emptied: true });
    },
  ],
];

describe.each(stages)("a person reads their conversation, %s:", (_when, settle) => {
  it("a user's history begins with the newest message [5.1-API-001]", async ({ gateway }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    await ann.transcribe(id, first(10));
    await settle(gateway);
    const reply = await ann.history(id);
    expect(reply.status).toBe(200);
    expect(contents(reply)).toEqual(range(9, 0));
    expect(reply.body.data.messages[0]).toEqual({
      id: expect.any(String),
      conversation_id: id,
      role: "assistant",
      content: "m9",
      timestamp: at(9),
      metadata: { recorded: "transcript" },
    });
  });

  it("a user's history of fifty messages has three pages of twenty [5.1-API-002]", async ({ gateway }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    await ann.transcribe(id, first(50));
    await settle(gateway);
    const [second, third, fourth] = [
      await ann.history(id, "?limit=20&page=2"),
      await ann.history(id, "?limit=20&page=3"),
      await ann.history(id, "?limit=20&page=4"),
    ];
    expect(contents(second)).toEqual(range(29, 10));
    expect(second.body.data.pagination).toMatchObject({ limit: 20, page: 2, has_more: true });
    expect(contents(third)).toEqual(range(9, 0));
    expect(third.body.data.pagination).toEqual({ limit: 20, page: 3, has_more: false, next_cursor: null });
    expect(contents(fourth)).toEqual([]);
  });

  it("a user's history by cursor is the same, and new messages move no page", async ({ gateway }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    await ann.transcribe(id, first(50));
    await settle(gateway);
    const pages: string[][] = [];
    for (let before: string | null = ""; before !== null;) {
      const reply = await ann.history(id, `?limit=20${before === "" ? "" : `&before=${before}`}`);
      pages.push(contents(reply));
      before = reply.body.data.pagination.next_cursor;
      await ann.transcribe(id, { role: "user", content: "meanwhile" });
    }
    expect(pages).toEqual([range(49, 30), range(29, 10), range(9, 0)]);
  });

  it("a user's history has 20 messages a page by default and 100 at most", async ({ gateway }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    await ann.transcribe(id, first(100));
    await ann.transcribe(id, [said(100)]);
    await settle(gateway);
    const shown = async (query: string) => {
      const reply = await ann.history(id, query);
      return [contents(reply).length, reply.body.data.pagination.limit, reply.body.data.pagination.has_more];
    };
    expect(await shown("")).toEqual([20, 20, true]);
    expect(await shown("?limit=3")).toEqual([3, 3, true]);
    expect(await shown("?limit=500")).toEqual([100, 100, true]);
    expect(await shown("?limit=100&page=2")).toEqual([1, 100, false]);
  });

  it("a user reads one message by its id, and none of another conversation", async ({ gateway }) => {
    const ann = await somebody(gateway);
    const [id, other] = [await ann.start(), await ann.start()];
    const { body } = await ann.transcribe(id, said(1));
    await ann.transcribe(other, said(2));
    await settle(gateway);
    const [messageId] = body.data.ids;
    const show = (conversation: string, message: string) =>
      gateway.get(`/api/v1/conversations/${conversation}/messages/${message}`, ann.token);
    expect((await show(id, messageId)).body.data).toMatchObject({ id: messageId, content: "m1", conversation_id: id });
    expect((await show(other, messageId)).status).toBe(404);
    expect((await show(id, crypto.randomUUID())).body.error).toMatchObject({
      code: "RESOURCE_NOT_FOUND",
      details: { resource_type: "message" },
    });
    expect((await show(id, "%20")).body.error.details.fields).toEqual([
      { field: "message_id", message: "message_id is required" },
    ]);
  });
});

it("a message can't be requested without an id", async ({ gateway }) => {
  const ann = await somebody(gateway);
  const reply = await gateway.get(`/api/v1/conversations/${await ann.start()}/messages/%20`, ann.token);
  expect([reply.status, reply.body.error.code]).toEqual([400, "VALIDATION_ERROR"]);
});

it.for(["0", "-1", "1.5", "many"])("a page of %s messages is refused", async (limit, { gateway }) => {
  const ann = await somebody(gateway);
  const reply = await ann.history(await ann.start(), `?limit=${limit}`);
  expect([reply.status, reply.body.error.details.fields[0].field]).toEqual([422, "limit"]);
});

it.for(["page=0", "page=x", "before=nothing", "before=WyJhIiwxXQ", "page=1&before=WzEsMV0"])(
  "an invalid page is refused: %s",
  async (query, { gateway }) => {
    const ann = await somebody(gateway);
    expect((await ann.history(await ann.start(), `?${query}`)).status).toBe(422);
  },
);

it("a history without a conversation id is refused, and an unknown one is not found", async ({ gateway }) => {
  const ann = await somebody(gateway);
  const blank = await ann.history("%20");
  expect([blank.status, blank.body.error.code]).toEqual([400, "VALIDATION_ERROR"]);
  for (const id of [crypto.randomUUID(), "01a203c1-5b09-8963-b685-2aef74277b10", "nothing"]) {
    const reply = await ann.history(id);
    expect([reply.status, reply.body.error.details]).toEqual([404, { resource_type: "conversation", resource_id: id }]);
  }
});

describe("a conversation of somebody else", () => {
  const mine: [string, (gateway: Gateway, id: string, credential: string) => Promise<{ status: number; body: any }>][] =
    [
      ["read", (gateway, id, credential) => gateway.get(`/api/v1/conversations/${id}/messages`, credential)],
      ["looked at", (gateway, id, credential) => gateway.get(`/api/v1/conversations/${id}`, credential)],
      ["added up", (gateway, id, credential) => gateway.get(`/api/v1/conversations/${id}/usage`, credential)],
      [
        "written into",
        (gateway, id, credential) => gateway.send("POST", `/api/v1/conversations/${id}/messages`, said(8), credential),
      ],
      [
        "ended",
        (gateway, id, credential) => gateway.send("POST", `/api/v1/conversations/${id}/expire`, undefined, credential),
      ],
      [
        "erased",
        (gateway, id, credential) => gateway.send("DELETE", `/api/v1/conversations/${id}`, undefined, credential),
      ],
    ];

  it.for(mine)(
    "a conversation can't be %s by another user, and is not found for another brand [5.1-API-003]",
    async ([, act], { gateway }) => {
      const [ann, bob] = [await somebody(gateway), await somebody(gateway)];
      const stranger = await somebody(gateway, { brandId: GLOBEX, instanceId: INSTANCE.globex });
      const id = await ann.start();
      await ann.transcribe(id, said(1));
      for (const [_stage, settle] of stages) {
        await settle(gateway);
        const forbidden = await act(gateway, id, bob.token);
        expect([forbidden.status, forbidden.body.error]).toEqual([
          403,
          { code: "FORBIDDEN", message: "You do not have permission to access this conversation", details: {} },
        ]);
        for (const credential of [stranger.token, GLOBEX_KEY]) {
          const foreign = await act(gateway, id, credential);
          expect([foreign.status, foreign.body.error.code]).toEqual([404, "RESOURCE_NOT_FOUND"]);
        }
        expect(contents(await ann.history(id))).toEqual(["m1"]);
      }
    },
  );
});

it("a brand's server sees the orchestrator's response in the history, and a user does not", async ({ gateway }) => {
  const ann = await somebody(gateway);
  const { session_id: id } = await ann.say("Hello");
  const metadataOf = async (credential: string) =>
    (await gateway.get(`/api/v1/conversations/${id}/messages`, credential)).body.data.messages[0].metadata;
  expect(await metadataOf(ACME_KEY)).toHaveProperty("orchestrator_response");
  expect(await metadataOf(ann.token)).not.toHaveProperty("orchestrator_response");
});

describe("a list of conversations", () => {
  it("a user lists their own conversations, newest first, by page and by cursor", async ({ gateway }) => {
    const [ann, bob] = [await somebody(gateway), await somebody(gateway)];
    const ids: string[] = [];
    for (let n = 0; n < 5; n += 1) ids.unshift(await ann.start());
    await bob.start();
    await gateway.flush();
    const idsOf = (reply: { body: any }) => reply.body.data.conversations.map((one: any) => one.conversation_id);
    const whole = await ann.list();
    expect(new Set(idsOf(whole))).toEqual(new Set(ids));
    const byPage = [await ann.list("?limit=2"), await ann.list("?limit=2&page=2"), await ann.list("?limit=2&page=3")];
    expect(byPage.flatMap(idsOf)).toEqual(idsOf(whole));
    const { next_cursor } = byPage[0]?.body.data.pagination ?? {};
    expect(idsOf(await ann.list(`?limit=2&before=${next_cursor}`))).toEqual(idsOf(byPage[1] ?? whole));
  });

  it("a list of conversations can be filtered by user, for the brand only", async ({ gateway }) => {
    const [ann, bob] = [await somebody(gateway), await somebody(gateway)];
    const id = await ann.start();
    await gateway.flush();
    const of = (credential: string) => gateway.get(`/api/v1/conversations?user_id=${ann.userId}`, credential);
    expect((await of(ACME_KEY)).body.data.conversations.map((one: any) => one.conversation_id)).toEqual([id]);
    expect((await of(GLOBEX_KEY)).body.data.conversations).toEqual([]);
    expect((await of(bob.token)).status).toBe(403);
  });
});

it("an empty query parameter counts as absent", async ({ gateway }) => {
  const ann = await somebody(gateway);
  const id = await ann.start();
  const [plain, empty] = [await ann.history(id), await ann.history(id, "?limit=&page=&before=")];
  expect([empty.status, empty.body.data]).toEqual([200, plain.body.data]);
});

it("a repeated query parameter counts once, by its first value", async ({ gateway }) => {
  const ann = await somebody(gateway);
  const reply = await ann.history(await ann.start(), "?limit=7&limit=none");
  expect([reply.status, reply.body.data.pagination.limit]).toEqual([200, 7]);
});

describe("a transcript", () => {
  const said = { role: "assistant", content: "We open at nine.", timestamp: "2026-11-22T10:00:00Z" };

  it("a transcript of the assistant is taken with an API key only", async ({ gateway }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    const path = `/api/v1/conversations/${id}/messages`;
    const mixed = [{ ...said, role: "user" }, said];
    for (const body of [
      said,
      mixed,
      { messages: mixed },
      { content: "Hi", timestamp: said.timestamp, interrupted: true },
    ]) {
      const reply = await gateway.send("POST", path, body, ann.token);
      expect([reply.status, reply.body.error.code]).toEqual([403, "FORBIDDEN"]);
    }
    expect((await gateway.send("POST", path, said, ACME_KEY)).status).toBe(202);
    expect(contents(await ann.history(id))).toEqual([said.content]);
  });

  it("a transcript is marked as recorded and can't carry metadata keys of the service", async ({ gateway }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    const forged = {
      ...Object.fromEntries(RESERVED_KEYS.map((key) => [key, { at: said.timestamp }])),
      page: 7,
    };
    await ann.transcribe(id, { ...said, role: "user", metadata: forged });
    const [message] = (await ann.history(id)).body.data.messages;
    expect(message.metadata).toEqual({ page: 7, recorded: "transcript" });
  });
});

it("an id in upper case is the same id", async ({ gateway }) => {
  const ann = await somebody(gateway);
  const said = await ann.say("Hello", { instance_id: INSTANCE.chat.toUpperCase() });
  const reply = await ann.history(said.session_id.toUpperCase());
  expect([reply.status, contents(reply).at(-1)]).toEqual([200, "Hello"]);
  const list = await gateway.get(`/api/v1/conversations?user_id=${ann.userId.toUpperCase()}`, ann.token);
  expect(list.status).toBe(200);
});
