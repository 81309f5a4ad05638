import { describe, expect } from "vitest";
import { sendBroadcast } from "../../src/flows/send-broadcast.ts";
import type { IncomingBroadcast } from "../../src/flows/send-broadcast.ts";
import { createAudience } from "../support/audience.ts";
import type { Audience } from "../support/audience.ts";
import { ACME, GLOBEX, INSTANCE } from "../support/demo.ts";
import { databaseTest } from "../support/fixtures.ts";

const NOBODY = "00000000-0000-4000-8000-0000000fffff";

const it = databaseTest()
  .extend("databaseOptions", { scope: "file" }, { seeded: true, concurrent: true })
  .extend(
    "people",
    { scope: "file" },
    ({ database }) =>
      async (count: number, brandId = ACME): Promise<string[]> =>
        (
          await database.query(
            "insert into users (brand_id, tier) select $1::uuid, 'standard' from generate_series(1, $2::int) returning id",
            [brandId, String(count)],
          )
        ).map(({ id }) => id ?? ""),
  )
  .extend(
    "recipients",
    { scope: "file" },
    ({ database }) =>
      () =>
        database.query("select user_id, message_id, state from broadcast_recipients order by user_id"),
  );
let deps: Audience;

it.beforeAll(async ({ database }) => {
  // A race by force: whoever writes a broadcast holds its request id for a while.
  await database.query(
    "create function linger() returns trigger language plpgsql as $$ begin perform pg_sleep(0.05); return new; end $$",
  );
  await database.query("create trigger linger after insert on broadcasts for each row execute function linger()");
}, 60_000);
it.beforeEach(async ({ database }) => {
  await database.query("truncate users, broadcasts cascade");
  deps = createAudience(database.endpoint);
});

const send = (userIds: string[], changes: Partial<IncomingBroadcast> = {}) =>
  sendBroadcast(deps, {
    credential: { kind: "anonymous" },
    instanceId: INSTANCE.chat,
    requestId: "spring-sale",
    traceId: "trace",
    content: "We are open again",
    userIds,
    metadata: {},
    ...changes,
  });

/** What the sender of an accepted one was told. */
const answerTo = async (...input: Parameters<typeof send>) => {
  const { outcome } = await send(...input);
  if (outcome.kind !== "accepted") throw new Error(outcome.kind);
  return outcome.answer;
};

describe("a broadcast that comes in", () => {
  it("a broadcast is accepted for all users with their message ids [B1.3.1]", async ({ people, recipients }) => {
    const [ann = "", bob = ""] = await people(2);
    const answer = await answerTo([ann, bob]);
    expect(answer.summary).toEqual({ total: 2, successful: 2, failed: 0 });
    const byUser = answer.results.toSorted((a, b) => (a.user_id < b.user_id ? -1 : 1));
    expect(await recipients()).toEqual(
      byUser.map((result) => ({
        user_id: result.user_id,
        message_id: result.success ? result.message_id : null,
        state: "pending",
      })),
    );
  });

  it("an unknown user and another brand's user both fail alike [A4.2.2]", async ({ people, recipients }) => {
    const [ann = ""] = await people(1);
    const [foreign = ""] = await people(1, GLOBEX);
    const { results, summary } = await answerTo([NOBODY, ann, foreign]);
    const error = { code: "RESOURCE_NOT_FOUND", message: "No such user" };
    expect(summary).toEqual({ total: 3, successful: 1, failed: 2 });
    expect(results).toEqual([
      { user_id: NOBODY, success: false, error },
      { user_id: ann, success: true, message_id: expect.any(String) },
      { user_id: foreign, success: false, error },
    ]);
    expect(await recipients()).toEqual([expect.objectContaining({ user_id: ann })]);
  });

  it("a user named twice counts once, however the id is spelled [A4.2.3]", async ({ people, recipients }) => {
    const [ann = "", bob = ""] = await people(2);
    const { summary, results } = await answerTo([ann, bob, ann.toUpperCase(), ann]);
    expect(summary).toEqual({ total: 2, successful: 2, failed: 0 });
    expect(results.map(({ user_id }) => user_id)).toEqual([ann, bob]);
    expect(await recipients()).toHaveLength(2);
  });

  it("a broadcast to a hundred users takes one query and one batch in a cold isolate", async ({ people, database }) => {
    const crowd = await people(100);
    database.forget();
    await send(crowd);
    const [reading, writing, ...more] = database.requests;
    expect(more).toEqual([]);
    expect(reading?.queries.filter((query) => query.includes('join "users"'))).toHaveLength(1);
    expect(writing?.queries.filter((query) => query.includes("insert into broadcast_recipients"))).toHaveLength(1);
  });

  it("a broadcast is written with all its recipients or not at all [A4.2.1]", async ({ people, database }) => {
    const [ann = "", bob = ""] = await people(2);
    await database.query(`create function refuse() returns trigger language plpgsql as $$ begin
      if new.user_id = '${bob}' then raise 'no'; end if; return new; end $$`);
    await database.query(
      "create trigger refuse before insert on broadcast_recipients for each row execute function refuse()",
    );
    await expect(send([ann, bob])).rejects.toMatchObject({ code: "DATABASE_ERROR" });
    const left = await database.query("select id from broadcasts union all select id from broadcast_recipients");
    await database.query("drop function refuse cascade");
    expect(left).toEqual([]);
    expect((await answerTo([ann, bob])).summary.successful).toBe(2);
  });

  it("a broadcast's timer starts before the broadcast is written", async ({ people, database }) => {
    const crowd = await people(1);
    const startedBy: number[] = [];
    const stop = database.observe(() => startedBy.push(deps.timers.started.length));
    const { broadcast_id } = await answerTo(crowd);
    stop();
    expect(startedBy).toEqual([0, 1]);
    expect(deps.timers.started).toEqual([broadcast_id]);
  });

  it("a broadcast is accepted even when it could not be enqueued", async ({ people }) => {
    const crowd = await people(1);
    const { broadcast_id } = await answerTo(crowd);
    expect(deps.rung).toEqual([broadcast_id]);
    deps.enqueueBroadcast = () => Promise.reject(new Error("the queue is away"));
    expect((await send(crowd, { requestId: "another" })).outcome.kind).toBe("accepted");
    expect(deps.lines).toContainEqual(expect.objectContaining({ event: "broadcast_enqueue_failed" }));
  });

  it.each([
    ["a request id [B1.3.2]", { requestId: " " }, "request_id"],
    ["anybody to tell [B1.3.3]", { userIds: [] }, "user_ids"],
  ])("a broadcast is refused without %s", async (_what, changes, field) => {
    await expect(send([NOBODY], changes)).rejects.toMatchObject({
      code: "VALIDATION_ERROR",
      status: 400,
      details: { fields: [expect.objectContaining({ field })] },
    });
  });
});

describe("a broadcast that comes in again", () => {
  it("a repeated broadcast is the same broadcast with the same answer", async ({ people, recipients }) => {
    const crowd = await people(3);
    const first = await answerTo(crowd);
    expect((await send(crowd.toReversed())).outcome).toEqual({ kind: "completed", answer: first });
    expect(await recipients()).toHaveLength(3);
    expect(deps.rung).toHaveLength(1);
  });

  it("a repeated request id with another text or other recipients is refused", async ({ people, recipients }) => {
    const [ann = "", bob = ""] = await people(2);
    await answerTo([ann]);
    expect((await send([ann], { content: "Closed" })).outcome).toEqual({ kind: "mismatch" });
    expect((await send([ann, bob])).outcome).toEqual({ kind: "mismatch" });
    expect((await send([ann], { metadata: { campaign: 2 } })).outcome).toEqual({ kind: "mismatch" });
    expect(await recipients()).toHaveLength(1);
  });

  it("concurrent requests for one broadcast make one, with the same answer for all", async ({ people, recipients }) => {
    const crowd = await people(5);
    const receipts = await Promise.all(Array.from({ length: 10 }, () => send(crowd)));
    const kinds = receipts.map(({ outcome }) => outcome.kind).toSorted();
    expect(kinds).toEqual(["accepted", ...Array.from({ length: 9 }, () => "completed")]);
    expect(new Set(receipts.map(({ outcome }) => JSON.stringify("answer" in outcome && outcome.answer))).size).toBe(1);
    expect(await recipients()).toHaveLength(5);
    expect(deps.rung).toHaveLength(1);
  });

  it("a request id is another broadcast at another instance", async ({ people }) => {
    const crowd = await people(1);
    await answerTo(crowd);
    expect((await send(crowd, { instanceId: INSTANCE.guestless })).outcome.kind).toBe("accepted");
  });
});
