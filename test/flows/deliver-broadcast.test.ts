import { afterEach, describe, expect, vi } from "vitest";
import { nextRound } from "../../src/db/broadcast-claims.ts";
import { CLAIM_MS, MAX_ATTEMPTS } from "../../src/domain/broadcast.ts";
import { uuidv7 } from "../../src/domain/ids.ts";
import { deliverBroadcast, ROUND_SIZE, recordingOf } from "../../src/flows/deliver-broadcast.ts";
import { sendBroadcast } from "../../src/flows/send-broadcast.ts";
import { cancel, findBroadcast, retry } from "../../src/services/broadcast.ts";
import { createAudience } from "../support/audience.ts";
import type { Audience } from "../support/audience.ts";
import { ACME, GLOBEX, INSTANCE } from "../support/demo.ts";
import { databaseTest } from "../support/fixtures.ts";
import { addresses } from "../support/addresses.ts";
import { PATIENCE } from "../support/patience.ts";

const ANYBODY = { kind: "anonymous" } as const;
const TEXT = "We are open again";

const it = databaseTest()
  .extend("databaseOptions", { scope: "file" }, { seeded: true, concurrent: true })
  /** A broadcast that is written and that nobody has begun to send. */
  .extend(
    "broadcastTo",
    { scope: "file" },
    ({ database }) =>
      async (count: number): Promise<{ id: string; people: string[] }> => {
        const rows = await database.query(
          "insert into users (brand_id, tier) select $1::uuid, 'standard' from generate_series(1, $2::int) returning id",
          [ACME, String(count)],
        );
        const people = rows.map(({ id }) => id ?? "");
        const { outcome } = await sendBroadcast(deps, {
          credential: ANYBODY,
          instanceId: INSTANCE.chat,
          requestId: `b-${count}-${crypto.randomUUID()}`,
          traceId: "trace-of-the-sender",
          content: TEXT,
          userIds: people,
          metadata: { campaign: "spring" },
        });
        if (outcome.kind !== "accepted") throw new Error(outcome.kind);
        return { id: outcome.answer.broadcast_id, people };
      },
  )
  /** Pauses and leases are over. */
  .extend(
    "later",
    { scope: "file" },
    ({ database }) =>
      (state: "pending" | "claimed") =>
        database.query("update broadcast_recipients set due_at = now() - interval '1 second' where state = $1", [
          state,
        ]),
  )
  /** What Postgres has of the broadcast, once the conversations have told it. */
  .extend("messages", { scope: "file" }, ({ database }) => async (): Promise<Record<string, string | null>[]> => {
    await deps.save();
    return database.query(
      `select m.id, m.role, m.content, m.user_id, m.instance_id, m.trace_id, m.metadata_json, m.session_id, m.created_at, s.user_id as person,
       s.last_message_at, s.last_assistant_message_at
     from messages m join sessions s on s.id = m.session_id where m.content = $1`,
      [TEXT],
    );
  });
let deps: Audience;

it.beforeEach(async ({ database }) => {
  await database.query("truncate users, broadcasts, sessions cascade");
  deps = createAudience(database.endpoint);
});
afterEach(() => {
  vi.useRealTimers();
});

/** A consumer that was rung. */
const consume = (id: string) => deliverBroadcast(deps, id);

const progress = (id: string) => findBroadcast(deps, ANYBODY, id, { limit: 100, after: null, state: null });
const counts = async (id: string) => (await progress(id)).counts;
const NONE = { pending: 0, claimed: 0, sent: 0, failed: 0, cancelled: 0 };

describe("a broadcast that is sent", () => {
  it("a broadcast is one message to each user, with the promised id [C4.3.4]", async ({ broadcastTo, messages }) => {
    const { id, people } = await broadcastTo(60);
    await consume(id);
    expect(await counts(id)).toEqual({ ...NONE, sent: 60 });
    const { recipients } = await progress(id);
    const promised = recipients.map(({ userId, messageId }) => `${userId} ${messageId}`);
    expect((await messages()).map(({ person, id }) => `${person} ${id}`).toSorted()).toEqual(promised.toSorted());
    expect(deps.reached.toSorted()).toEqual(people.toSorted());
  });

  describe("to somebody who has never said a word", () => {
    let message: Record<string, string | null> | undefined;
    let id: string;
    it.beforeEach(async ({ broadcastTo, messages }) => {
      ({ id } = await broadcastTo(1));
      await consume(id);
      [message] = await messages();
    });

    it("a broadcast to a user without a session begins one with the message in it [C4.3.1]", async ({ database }) => {
      const sessions = await database.query("select id, channel, instance_id from sessions");
      expect(sessions).toEqual([{ id: message?.session_id, channel: "api", instance_id: INSTANCE.chat }]);
    });
    it("a broadcast message has the role assistant [C4.3.5]", () => expect(message?.role).toBe("assistant"));
    it("a broadcast message has no user as its author [C4.3.6]", () => expect(message?.user_id).toBeNull());
    it("a broadcast message can be traced to its sender", () => expect(message?.trace_id).toBe("trace-of-the-sender"));
    it("a broadcast message states its broadcast beside the sender's metadata", () => {
      expect(JSON.parse(message?.metadata_json ?? "")).toEqual({
        campaign: "spring",
        channel: "broadcast",
        broadcast_id: id,
      });
    });
  });

  it("a broadcast continues an open session and extends it [C4.3.8]", async ({ broadcastTo, database, messages }) => {
    const { id, people } = await broadcastTo(1);
    const [person = ""] = people;
    await database.query(
      `insert into sessions (brand_id, instance_id, user_id, channel, address, started_at, last_message_at)
       values ($1, $2, $3, 'web', $4, now() - interval '40 minutes', now() - interval '30 minutes')`,
      [ACME, INSTANCE.chat, person, addresses.chat(INSTANCE.chat, person)],
    );
    await consume(id);
    const [message] = await messages();
    expect(await database.query("select id, last_message_at from sessions")).toEqual([
      { id: message?.session_id, last_message_at: message?.created_at },
    ]);
    expect(message?.last_assistant_message_at).toBe(message?.created_at);
  });

  it("a delivered broadcast stops its timer", async ({ broadcastTo }) => {
    const { id } = await broadcastTo(1);
    await consume(id);
    expect(deps.timers.rests).toEqual([{ id, dueInMs: null }]);
  });

  it("a broadcast reaches each user once with several consumers at once", async ({ broadcastTo, messages }) => {
    const { id, people } = await broadcastTo(100);
    deps.behave(() => new Promise((resolve) => setTimeout(resolve, Math.random() * 20)));
    await Promise.all(Array.from({ length: 10 }, () => consume(id)));
    expect(deps.reached.toSorted()).toEqual(people.toSorted());
    expect(await counts(id)).toEqual({ ...NONE, sent: 100 });
    expect(await messages()).toHaveLength(100);
  });
});

describe("a consumer that dies", () => {
  /** Claims, reaches the first `reached` of them, and is never heard of again. */
  async function die(id: string, size: number, reached: number): Promise<void> {
    const round = await nextRound(deps, id, [], size);
    if (round === null) throw new Error("no such broadcast");
    for (const recipient of round.recipients.slice(0, reached)) {
      const { broadcast } = round;
      const address = addresses.chat(broadcast.instanceId, recipient.userId);
      await deps.conversation(address).record(recordingOf(broadcast, recipient, 3_600_000));
    }
  }

  it("a crashed consumer's claims go to the next consumer after the lease, and each user gets one message", async ({
    broadcastTo,
    later,
    messages,
  }) => {
    const { id } = await broadcastTo(30);
    await die(id, 10, 5);
    await consume(id);
    expect(await counts(id)).toEqual({ ...NONE, sent: 20, claimed: 10 });
    const [{ dueInMs } = { dueInMs: null }] = deps.timers.rests;
    expect(dueInMs).toBeGreaterThan(0);
    expect(dueInMs).toBeLessThanOrEqual(CLAIM_MS);
    await later("claimed");
    await consume(id);
    expect(await counts(id)).toEqual({ ...NONE, sent: 30 });
    expect(new Set((await messages()).map(({ person }) => person)).size).toBe(30);
    expect(await messages()).toHaveLength(30);
  });

  it("a user at whom every consumer crashes is failed after a few attempts", async ({ broadcastTo, later }) => {
    const { id } = await broadcastTo(1);
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      await die(id, 1, 0);
      await later("claimed");
    }
    await consume(id);
    expect(deps.reached).toEqual([]);
    const { recipients } = await progress(id);
    expect(recipients[0]).toMatchObject({ state: "failed", error: { code: "SERVICE_UNAVAILABLE" } });
  });

  it("a broadcast cancelled after a crash leaves each user sent or failed", async ({ broadcastTo, later }) => {
    const { id } = await broadcastTo(30);
    await die(id, 10, 4);
    await deps.save();
    await cancel(deps, ANYBODY, id);
    expect(await counts(id)).toEqual({ ...NONE, claimed: 10, cancelled: 20 });
    await later("claimed");
    await consume(id);
    expect(await counts(id)).toEqual({ ...NONE, sent: 4, failed: 6, cancelled: 20 });
    expect(deps.timers.rests.at(-1)).toEqual({ id, dueInMs: null });
  });

  it("a crashed consumer's delivery is recognised afterwards", async ({ broadcastTo, later }) => {
    const { id } = await broadcastTo(1);
    const round = await nextRound(deps, id, [], 1);
    const [recipient] = round?.recipients ?? [];
    await cancel(deps, ANYBODY, id);
    await later("claimed");
    await consume(id);
    expect(await counts(id)).toEqual({ ...NONE, failed: 1 });
    await nextRound(deps, id, [{ recipientId: recipient?.id ?? "", state: "sent", pauseMs: 0, error: null }], 1);
    expect((await progress(id)).recipients[0]).toMatchObject({ state: "sent", error: null });
  });
});

describe("somebody who can't be reached", () => {
  const away = (person: string | undefined) =>
    deps.behave(({ userId }) => {
      if (userId === person) throw new Error("the object is overloaded");
    });

  it("an unreachable user delays no other and is retried after a pause", async ({ broadcastTo, later }) => {
    const { id, people } = await broadcastTo(30);
    away(people[7]);
    await consume(id);
    expect(await counts(id)).toEqual({ ...NONE, sent: 29, pending: 1 });
    const [{ dueInMs } = { dueInMs: null }] = deps.timers.rests;
    expect(dueInMs).toBeGreaterThan(0);
    deps.behave(() => undefined);
    await consume(id);
    expect(await counts(id)).toEqual({ ...NONE, sent: 29, pending: 1 });
    await later("pending");
    await consume(id);
    expect(await counts(id)).toEqual({ ...NONE, sent: 30 });
  });

  it("an unreachable user is failed with the reason in the end, and the error is logged", async ({
    broadcastTo,
    later,
  }) => {
    const { id, people } = await broadcastTo(1);
    away(people[0]);
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      expect(await counts(id)).toEqual({ ...NONE, pending: 1 });
      await consume(id);
      await later("pending");
    }
    const { recipients, counts: after } = await progress(id);
    expect(after).toEqual({ ...NONE, failed: 1 });
    expect(recipients[0]).toMatchObject({
      attempts: MAX_ATTEMPTS,
      error: { code: "SERVICE_UNAVAILABLE", message: "The conversation could not be reached" },
    });
    expect(deps.reached).toHaveLength(MAX_ATTEMPTS);
    expect(JSON.stringify(deps.lines)).toContain("the object is overloaded");
  });

  it("a user whose conversation belongs to another brand is failed at once", async ({ broadcastTo }) => {
    const { id, people } = await broadcastTo(1);
    const [person = ""] = people;
    await deps.conversation(addresses.chat(INSTANCE.chat, person)).record({
      brandId: GLOBEX,
      instanceId: INSTANCE.globex,
      userId: person,
      channel: "api",
      openSession: null,
      sessionTimeoutMs: 3_600_000,
      messages: [
        { id: uuidv7(1), role: "user", content: "Hello", saidAt: null, requestId: null, traceId: null, metadata: {} },
      ],
    });
    await consume(id);
    const { recipients } = await progress(id);
    expect(recipients[0]).toMatchObject({ state: "failed", attempts: 1, error: { code: "RESOURCE_NOT_FOUND" } });
  });

  it("a conversation that never answers is given up in time, and the other users are done by then", async ({
    broadcastTo,
  }) => {
    const { id, people } = await broadcastTo(3);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    deps.behave(({ userId }) => (userId === people[1] ? new Promise(() => undefined) : undefined));
    const consumed = consume(id);
    await vi.waitFor(() => expect(deps.reached).toHaveLength(3), PATIENCE);
    await vi.advanceTimersByTimeAsync(CLAIM_MS / 2);
    vi.useRealTimers();
    await consumed;
    expect(await counts(id)).toEqual({ ...NONE, sent: 2, pending: 1 });
  });
});

describe("a broadcast that is cancelled", () => {
  it("a broadcast cancelled while it is sent reaches the claimed users and no others", async ({
    broadcastTo,
    messages,
  }) => {
    const { id } = await broadcastTo(100);
    const { promise: answered, resolve: letGo } = Promise.withResolvers<void>();
    deps.behave(() => answered);
    const consumers = Promise.all([consume(id), consume(id)]);
    await vi.waitFor(() => expect(deps.reached).toHaveLength(2 * ROUND_SIZE), PATIENCE);

    const answer = await cancel(deps, ANYBODY, id);
    expect(answer.counts).toEqual({ ...NONE, claimed: 2 * ROUND_SIZE, cancelled: 100 - 2 * ROUND_SIZE });
    letGo();
    await consumers;
    await consume(id);
    expect(deps.reached).toHaveLength(2 * ROUND_SIZE);
    expect(await counts(id)).toEqual({ ...NONE, sent: 2 * ROUND_SIZE, cancelled: 100 - 2 * ROUND_SIZE });
    expect(await messages()).toHaveLength(2 * ROUND_SIZE);
  });

  it("a cancellation waits for a running claim and prevents further ones", async ({ database, broadcastTo }) => {
    // Whoever claims takes their time over it, and is refused if the broadcast has been cancelled meanwhile.
    await database.query(`create function claimed_too_late() returns trigger language plpgsql as $$ begin
      perform pg_sleep(0.01);
      if exists (select from broadcasts where id = new.broadcast_id and cancelled_at is not null) then raise 'too late'; end if;
      return new; end $$`);
    await database.query(`create trigger claimed_too_late before update on broadcast_recipients for each row
      when (new.state = 'claimed') execute function claimed_too_late()`);
    const { id } = await broadcastTo(100);
    const consumers = Promise.allSettled([consume(id), consume(id)]);
    await vi.waitFor(async () => expect((await counts(id)).pending).toBeLessThan(100), { ...PATIENCE, interval: 5 });
    await cancel(deps, ANYBODY, id);
    const outcomes = await consumers;
    await database.query("drop function claimed_too_late cascade");
    expect(outcomes.filter(({ status }) => status === "rejected")).toEqual([]);
    const after = await counts(id);
    expect(after).toMatchObject({ pending: 0, claimed: 0, failed: 0 });
    expect(after.sent).toBe(deps.reached.length);
    expect(after.cancelled).toBe(100 - deps.reached.length);
    expect(after.cancelled).toBeGreaterThan(0);
  });

  it("a cancellation fails the users under retry and stops the retries", async ({ broadcastTo }) => {
    const { id } = await broadcastTo(1);
    deps.behave(async () => {
      await cancel(deps, ANYBODY, id);
      throw new Error("the object is overloaded");
    });
    await consume(id);
    expect(await counts(id)).toEqual({ ...NONE, failed: 1 });
    expect(deps.timers.rests.at(-1)).toEqual({ id, dueInMs: null });
  });

  it("a broadcast cancelled twice is cancelled once", async ({ broadcastTo }) => {
    const { id } = await broadcastTo(2);
    const first = await cancel(deps, ANYBODY, id);
    expect(await cancel(deps, ANYBODY, id)).toEqual(first);
    expect(first.counts).toEqual({ ...NONE, cancelled: 2 });
  });

  it("a cancelled broadcast is not sent by a retry", async ({ broadcastTo }) => {
    const { id } = await broadcastTo(1);
    await cancel(deps, ANYBODY, id);
    await expect(retry(deps, ANYBODY, id)).rejects.toMatchObject({ code: "VALIDATION_ERROR", status: 400 });
    await consume(id);
    expect(deps.reached).toEqual([]);
  });
});

describe("a user who has stopped marketing messages on the instance's channel", () => {
  it("an opted-out recipient fails with the reason and is not attempted, also after a retry", async ({
    broadcastTo,
    database,
  }) => {
    const { id, people } = await broadcastTo(2);
    const stop = (value: string) =>
      database.query("update users set metadata_json = $2 where id = $1", [
        people[0] ?? "",
        JSON.stringify({ api: { marketing: { value, at: 1 } } }),
      ]);
    await stop("stop");
    await consume(id);
    expect(await counts(id)).toEqual({ ...NONE, sent: 1, failed: 1 });
    expect((await progress(id)).recipients.find(({ userId }) => userId === people[0])).toMatchObject({
      state: "failed",
      error: { code: "OPTED_OUT" },
    });
    await retry(deps, ANYBODY, id);
    await consume(id);
    expect(deps.reached).toEqual([people[1]]);
    await stop("resume");
    await retry(deps, ANYBODY, id);
    await consume(id);
    expect(await counts(id)).toEqual({ ...NONE, sent: 2 });
  });
});

describe("a broadcast that is retried", () => {
  it("a retry sends to the failed users only and keeps their attempts", async ({ broadcastTo, database }) => {
    const { id, people } = await broadcastTo(3);
    await database.query("update instances set is_active = false where id = $1", [INSTANCE.chat]);
    await consume(id);
    await database.query("update instances set is_active = true where id = $1", [INSTANCE.chat]);
    expect(await counts(id)).toEqual({ ...NONE, failed: 3 });
    expect(deps.reached).toEqual([]);
    await database.query("update broadcast_recipients set state = 'sent' where user_id = $1", [people[0] ?? ""]);

    const before = deps.timers.started.length;
    expect((await retry(deps, ANYBODY, id)).counts).toEqual({ ...NONE, pending: 2, sent: 1 });
    expect(deps.timers.started).toHaveLength(before + 1);
    expect(deps.rung).toEqual([id, id]);
    expect((await progress(id)).recipients.map(({ attempts, error }) => [attempts, error])).toContainEqual([0, null]);
    await consume(id);
    expect(await counts(id)).toEqual({ ...NONE, sent: 3 });
    expect(deps.reached.toSorted()).toEqual(people.slice(1).toSorted());
  });
});

describe("a ring for a broadcast that is not there", () => {
  it("an enqueued broadcast that is missing is left to the timer while it may still be written", async () => {
    await consume(uuidv7(Date.now()));
    expect(deps.timers.rests).toEqual([]);
  });

  it("an enqueued broadcast that is missing ends its timer afterwards", async () => {
    const id = uuidv7(Date.now() - 120_000);
    await consume(id);
    expect(deps.timers.rests).toEqual([{ id, dueInMs: null }]);
  });
});
