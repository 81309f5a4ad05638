import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ACME_KEY, GLOBEX_KEY, INSTANCE } from "../support/demo.ts";
import { startGateway } from "../support/gateway.ts";
import type { Gateway } from "../support/gateway.ts";
import { tokenFor } from "../support/tokens.ts";

let gateway: Gateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway.close());

/** Somebody Acme knows, and their token. */
async function somebody(): Promise<{ userId: string; token: string }> {
  const [row] = await gateway.database.query(
    "insert into users (brand_id, tier) values ('00000000-0000-4000-8000-000000000001', 'standard') returning id",
  );
  const userId = row?.id ?? "";
  return { userId, token: await tokenFor(userId) };
}

async function started(token: string): Promise<string> {
  const { status, body } = await gateway.send(
    "POST",
    "/api/v1/conversations/start",
    { instance_id: INSTANCE.chat },
    token,
  );
  expect(status).toBe(201);
  return body.data.conversation_id;
}

const transcribe = (id: string, body: unknown, authorization: string) =>
  gateway.send("POST", `/api/v1/conversations/${id}/messages`, body, authorization);
const history = (id: string, query: string, authorization: string) =>
  gateway.get(`/api/v1/conversations/${id}/messages${query}`, authorization);

const T0 = Date.UTC(2026, 10, 22, 10);
const at = (second: number): string => new Date(T0 + second * 1000).toISOString();
const said = (second: number) => ({
  role: second % 2 === 0 ? "user" : "assistant",
  content: `m${second}`,
  timestamp: at(second),
});
const contents = (reply: { body: any }): string[] => reply.body.data.messages.map((message: any) => message.content);
const range = (from: number, to: number): string[] =>
  Array.from({ length: Math.abs(to - from) + 1 }, (_, index) => `m${from > to ? from - index : from + index}`);

describe.each([
  ["while the ledger waits", async (): Promise<void> => undefined],
  [
    "when all is written",
    async (): Promise<void> => {
      await gateway.flush();
    },
  ],
] as const)("a person reads their conversation, %s:", (_when, settle) => {
  it("the newest message comes first [5.1-API-001]", async () => {
    const { token } = await somebody();
    const id = await started(token);
    await transcribe(
      id,
      Array.from({ length: 10 }, (_, index) => said(index)),
      token,
    );
    await settle();
    const reply = await history(id, "", token);
    expect(reply.status).toBe(200);
    expect(contents(reply)).toEqual(range(9, 0));
    expect(reply.body.data.messages[0]).toEqual({
      id: expect.any(String),
      conversation_id: id,
      role: "assistant",
      content: "m9",
      timestamp: at(9),
      metadata: {},
    });
  });

  it("fifty messages are three pages of twenty [5.1-API-002]", async () => {
    const { token } = await somebody();
    const id = await started(token);
    await transcribe(
      id,
      Array.from({ length: 50 }, (_, index) => said(index)),
      token,
    );
    await settle();
    const [second, third, fourth] = [
      await history(id, "?limit=20&page=2", token),
      await history(id, "?limit=20&page=3", token),
      await history(id, "?limit=20&page=4", token),
    ];
    expect(contents(second)).toEqual(range(29, 10));
    expect(second.body.data.pagination).toMatchObject({ limit: 20, page: 2, has_more: true });
    expect(contents(third)).toEqual(range(9, 0));
    expect(third.body.data.pagination).toEqual({ limit: 20, page: 3, has_more: false, next_cursor: null });
    expect(contents(fourth)).toEqual([]);
  });
});

it("another person of the brand is refused, another brand finds nothing [5.1-API-003]", async () => {
  const [ann, bob] = [await somebody(), await somebody()];
  const id = await started(ann.token);
  await transcribe(id, said(1), ann.token);
  const seen = async () => {
    const [forbidden, foreign] = [await history(id, "", bob.token), await history(id, "", GLOBEX_KEY)];
    return [forbidden.status, forbidden.body.error, foreign.status, foreign.body.error.code];
  };
  const refusal = [
    403,
    { code: "FORBIDDEN", message: "You do not have permission to access this conversation", details: {} },
    404,
    "RESOURCE_NOT_FOUND",
  ];
  expect(await seen()).toEqual(refusal);
  await gateway.flush();
  gateway.evictAll({ emptied: true });
  expect(await seen()).toEqual(refusal);
  expect((await history(id, "", ACME_KEY)).status).toBe(200);
});
