import type { WrittenEntries } from "../../src/domain/ledger.ts";
import { describe, expect } from "vitest";
import { addressOfSession } from "../../src/domain/address.ts";
import type { Conversation } from "../../src/rpc/conversation.ts";
import { pullLedger } from "../../src/flows/pull-ledger.ts";
import { ACME_KEY, INSTANCE } from "../support/demo.ts";
import { contents, somebody } from "../support/people.ts";
import { gatewayTest } from "../support/fixtures.ts";

const it = gatewayTest()
  .extend("boundOrchestrator", { scope: "file" }, () => async (request: Request) => {
    const adapter = (await request.json()) as { message: { content: string } };
    asked.push(adapter);
    await pause?.promise;
    return Response.json({ text: `echo: ${adapter.message.content}`, usage: { input_tokens: 1, output_tokens: 2 } });
  })
  /** How many rows of a session there are, in every table that has any. */
  .extend("rowsOf", { scope: "file" }, ({ gateway }) => async (id: string) => {
    const [counts] = await gateway.database.query(
      `select (select count(*) from sessions where id = $1)::int as sessions,
       (select count(*) from messages where session_id = $1)::int as messages,
       (select count(*) from session_token_usage where session_id = $1)::int as usage,
       (select count(*) from idempotency_locks where session_id = $1)::int as locks,
       (select count(*) from dead_letters where payload_json::text like '%' || $1 || '%')::int as letters`,
      [id],
    );
    return Object.values(counts ?? {}).map(Number);
  });
/** Set while the orchestrator is to take its time: it answers when this is resolved. */
let pause: PromiseWithResolvers<void> | null = null;
const asked: any[] = [];

const until = async (condition: () => boolean | Promise<boolean>) => {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
};

const NOTHING = [0, 0, 0, 0, 0];

describe("a conversation that is erased", () => {
  it("an erased conversation is gone for every caller and every table", async ({ gateway, rowsOf }) => {
    const ann = await somebody(gateway);
    const { session_id: id } = await ann.say("Forget me");
    await gateway.flush();
    await gateway.database.query(
      "insert into dead_letters (brand_id, source, reason, payload_json) select brand_id, 'ledger', 'x', jsonb_build_object('session', jsonb_build_object('id', id)) from sessions where id = $1",
      [id],
    );
    await ann.say("And this");
    expect(await rowsOf(id)).toEqual([1, 2, 1, 1, 1]);
    const reply = await ann.erase(id);
    expect([reply.status, reply.body.data]).toEqual([200, { conversation_id: id }]);
    expect(await rowsOf(id)).toEqual(NOTHING);
    await gateway.flush();
    expect(await rowsOf(id)).toEqual(NOTHING);
    const transcript = { role: "user", content: "I'm back" };
    for (const asking of [
      ann.history(id),
      ann.details(id),
      ann.usage(id),
      ann.expire(id),
      ann.transcribe(id, transcript),
    ]) {
      expect((await asking).status).toBe(404);
    }
    expect((await gateway.get(`/api/v1/conversations/${id}/messages`, ACME_KEY)).status).toBe(404);
    expect((await ann.list()).body.data.conversations).toEqual([]);
    expect((await ann.erase(id)).status).toBe(404);
  });

  it("a conversation erased before it was written never reaches Postgres", async ({ gateway, rowsOf }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    await ann.transcribe(id, { role: "user", content: "Forget me" });
    expect((await ann.erase(id)).status).toBe(200);
    await gateway.flush();
    expect(await rowsOf(id)).toEqual(NOTHING);
  });

  it("a conversation erased after its object emptied stays erased", async ({ gateway, rowsOf }) => {
    const ann = await somebody(gateway);
    const { session_id: id } = await ann.say("Forget me");
    await gateway.flush();
    gateway.evictAll({ emptied: true });
    expect((await gateway.send("DELETE", `/api/v1/conversations/${id}`, undefined, ACME_KEY)).status).toBe(200);
    expect((await ann.say("Hello again")).session_id).not.toBe(id);
    await gateway.flush();
    expect(await rowsOf(id)).toEqual(NOTHING);
  });

  it("an erased conversation is not written by a ledger run that had read it", async ({ gateway, rowsOf }) => {
    const ann = await somebody(gateway);
    const { session_id: id } = await ann.say("Forget me");
    const deps = gateway.deps();
    const address = addressOfSession(id) ?? "";
    const conversation = (at: string): Conversation => {
      const object = deps.conversation(at);
      return {
        ...({ confirm: (written: WrittenEntries) => object.confirm(written) } as Conversation),
        pull: async (maxBytes) => {
          const pulled = await object.pull(maxBytes);
          expect((await ann.erase(id)).status).toBe(200);
          return pulled;
        },
      };
    };
    await pullLedger({ ...deps, conversation }, [address]);
    expect(await rowsOf(id)).toEqual(NOTHING);
  });

  it("an erasure refuses the waiting callers and keeps nothing of the answers", async ({ gateway, rowsOf }) => {
    const ann = await somebody(gateway);
    const { session_id: id } = await ann.say("Hello");
    pause = Promise.withResolvers();
    const say = (content: string) =>
      gateway.send(
        "POST",
        "/web/messages",
        { instance_id: INSTANCE.chat, request_id: crypto.randomUUID(), content },
        ann.token,
      );
    const running = say("running");
    await until(() => asked.some(({ message }) => message.content === "running"));
    const before = gateway.calls("submit");
    const queued = say("queued");
    await until(() => gateway.calls("submit") > before);
    expect((await ann.erase(id)).status).toBe(200);
    for (const reply of await Promise.all([running, queued])) {
      expect([reply.status, reply.body.error.code]).toEqual([404, "RESOURCE_NOT_FOUND"]);
    }
    pause.resolve();
    pause = null;
    const next = await ann.say("Something else");
    expect([next.text, next.session_id === id]).toEqual(["echo: Something else", false]);
    await gateway.flush();
    expect(await rowsOf(id)).toEqual(NOTHING);
    expect(contents(await ann.history(next.session_id))).toEqual(["echo: Something else", "Something else"]);
    expect(asked.map(({ message }) => message.content)).not.toContain("queued");
  });

  it("an erasure during an outage takes effect at once, and a repeated one deletes the rows afterwards", async ({
    gateway,
    rowsOf,
  }) => {
    const ann = await somebody(gateway);
    const { session_id: id } = await ann.say("Forget me");
    await gateway.flush();
    await gateway.proxy.leave();
    expect((await ann.erase(id)).status).toBe(503);
    expect((await ann.history(id)).status).toBe(404);
    await gateway.proxy.back();
    expect((await ann.history(id)).status).toBe(404);
    expect((await rowsOf(id))[0]).toBe(1);
    expect((await ann.erase(id)).status).toBe(200);
    expect(await rowsOf(id)).toEqual(NOTHING);
  });

  it("a guest who repeats the first message after an erasure gets a new conversation", async ({ gateway, rowsOf }) => {
    const first = { instance_id: INSTANCE.chat, request_id: "guest-1", content: "Hello" };
    const { body } = await gateway.send("POST", "/web/messages", first);
    const { session_id: id, guest_token } = body.data;
    expect((await gateway.send("DELETE", `/api/v1/conversations/${id}`, undefined, guest_token)).status).toBe(200);
    const deps = gateway.deps();
    for (const cache of [deps.caches.newUsers, deps.caches.knownUsers]) cache.invalidate();
    const again = await gateway.send("POST", "/web/messages", first);
    expect([again.status, again.body.data.session_id === id]).toEqual([200, false]);
    expect(await rowsOf(id)).toEqual(NOTHING);
  });

  it("a long conversation is erased in portions", async ({ gateway, rowsOf }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    await gateway.flush();
    await gateway.database.query(
      `insert into messages (brand_id, session_id, instance_id, role, content, seq)
       select brand_id, id, instance_id, 'user', 'x', n from sessions, generate_series(1, 25000) n where id = $1`,
      [id],
    );
    expect((await ann.erase(id)).status).toBe(200);
    expect(await rowsOf(id)).toEqual(NOTHING);
  });
});

it("an interrupted reply is in the history and is not sent to the model", async ({ gateway }) => {
  const ann = await somebody(gateway);
  const { session_id: id } = await ann.say("Hello");
  await ann.transcribe(id, { role: "assistant", content: "", interrupted: true });
  await ann.say("Are you there?");
  expect(asked.at(-1).history.map(({ content }: { content: string }) => content)).toEqual(["Hello", "echo: Hello"]);
  expect(contents(await ann.history(id))).toEqual([
    "echo: Are you there?",
    "Are you there?",
    "",
    "echo: Hello",
    "Hello",
  ]);
});
