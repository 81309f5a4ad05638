import { randomUUID } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { describe, expect, vi } from "vitest";
import { INSTANCE } from "../support/demo.ts";
import { echo, hang } from "../support/orchestrator.ts";
import { serviceTest } from "../support/fixtures.ts";
import { PATIENCE } from "../support/patience.ts";

/** What lasts an hour, a day and five minutes elsewhere lasts seconds here. */
const SESSION_MS = 1_200;
const IDEMPOTENCY_MS = 3_000;
const LOCK_SECONDS = 2;

const it = serviceTest()
  .extend("env", { scope: "file" }, ({ orchestrator }) => ({
    ORCHESTRATOR_URL: orchestrator.url,
    SESSION_TIMEOUT_MINUTES: String(SESSION_MS / 60_000),
    IDEMPOTENCY_TTL_MINUTES: String(IDEMPOTENCY_MS / 60_000),
    LOCK_EXPIRY_SECONDS: String(LOCK_SECONDS),
  }))
  .extend(
    "callsFor",
    { scope: "file" },
    ({ orchestrator }) =>
      (body: { content: string }) =>
        orchestrator.calls.filter(({ adapter }) => adapter.message.content === body.content),
  );

it.beforeAll(async ({ service }) => {
  // The instances of tests in which only a lock's life is to end.
  await service.query("update instance_configs set session_timeout_minutes = 60 where instance_id = any($1)", [
    `{${INSTANCE.globex},${INSTANCE.guestless}}`,
  ]);
});
it.beforeEach(({ orchestrator }) => orchestrator.behave(echo));

const message = (otherwise: Record<string, unknown> = {}) => ({
  instance_id: INSTANCE.chat,
  request_id: randomUUID(),
  content: `Hello ${randomUUID()}`,
  user: { device_id: randomUUID() },
  ...otherwise,
});

describe("somebody who comes back after a long time", () => {
  const first = message();
  const later = { ...message(), user: first.user };
  const repeated = { ...first };
  let before: any;
  let after: any;
  let again: any;

  it.beforeAll(async ({ orchestrator, service }) => {
    orchestrator.behave(echo);
    before = (await service.say("/api/messages", first)).body.data;
    await setTimeout(SESSION_MS + 50);
    // Within the life of the first request's lock.
    again = await service.say("/api/messages", repeated);
    after = (await service.say("/api/messages", later)).body.data;
  });

  it("a session ends after its timeout [G1.9.1]", async ({ service }) => {
    const [row] = await vi.waitFor(async () => {
      const rows = await service.query("select expired_at from sessions where id = $1", [before.session_id]);
      expect(rows[0]?.["expired_at"]).not.toBeNull();
      return rows;
    }, PATIENCE);
    expect(row?.["expired_at"]).toMatch(/^\d{4}-/);
  });

  it("a user who returns after the timeout gets a new session [G1.9.2]", () => {
    expect(after.user_id).toBe(before.user_id);
    expect(after.session_id).not.toBe(before.session_id);
  });

  it("a request id may be used again in a new session [I6.1, I6.2]", ({ callsFor }) => {
    expect(again.status).toBe(200);
    expect(again.body.data.session_id).not.toBe(before.session_id);
    expect(callsFor(first)).toHaveLength(2);
  });
});

describe("a request id in one session", () => {
  it("an expired request id runs again as a new turn [A2.4.5]", async ({ service, callsFor }) => {
    const body = message({ instance_id: INSTANCE.globex });
    const first = await service.say("/api/messages", body);
    const meanwhile = await service.say("/api/messages", body);
    const again = await vi.waitFor(async () => {
      const reply = await service.say("/api/messages", body);
      expect(reply.status).toBe(200);
      return reply;
    }, PATIENCE);
    expect(meanwhile.status).toBe(409);
    expect(again.body.data.session_id).toBe(first.body.data.session_id);
    expect(again.body.data.message_id).not.toBe(first.body.data.message_id);
    expect(callsFor(body)).toHaveLength(2);

    // Postgres has the last word, and it has let go as well: both turns are written, under one lock.
    const { session_id } = first.body.data;
    const spoken = () => service.query("select role from messages where session_id = $1 order by seq", [session_id]);
    await vi.waitFor(async () => expect(await spoken()).toHaveLength(4), PATIENCE);
    const locks = await service.query("select turn_id from idempotency_locks where session_id = $1", [session_id]);
    expect(locks).toHaveLength(1);
  });

  it("a stuck run is taken over when its lock expires, and every caller gets one answer [I1.2]", async ({
    orchestrator,
    service,
    callsFor,
  }) => {
    orchestrator.behave(hang);
    const body = message({ instance_id: INSTANCE.guestless });
    const stuck = service.say("/api/messages", body);
    await vi.waitUntil(() => callsFor(body).length === 1, PATIENCE);
    orchestrator.behave(echo);
    const seen: string[] = [];
    const taker = await vi.waitFor(async () => {
      const replies = await Promise.all(Array.from({ length: 5 }, () => service.say("/api/messages", body)));
      seen.push(...replies.map(({ status, body }) => (status === 200 ? "processed" : body.error.details.state)));
      const taker = replies.find(({ status }) => status === 200);
      if (taker === undefined) throw new Error("The lock still holds");
      return taker;
    }, PATIENCE);
    expect(seen[0]).toBe("in_progress");
    expect(seen.filter((state) => state === "processed")).toHaveLength(1);
    expect((await stuck).body.data).toEqual(taker.body.data);

    const { session_id } = taker.body.data;
    const rows = () =>
      service.query(
        `select (select count(*) from messages where session_id = s.id) as messages,
           (select string_agg(fence::text, ',') from idempotency_locks where session_id = s.id) as fences
         from sessions s where s.id = $1`,
        [session_id],
      );
    await vi.waitFor(async () => expect(await rows()).toEqual([{ messages: "2", fences: "2" }]), PATIENCE);
  });
});
