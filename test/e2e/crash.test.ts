import { randomUUID } from "node:crypto";
import { describe, expect, vi } from "vitest";
import { INSTANCE } from "../support/demo.ts";
import { echo, gate, hang } from "../support/orchestrator.ts";
import type { Reply } from "../support/service.ts";
import { developmentTest } from "../support/fixtures.ts";
import { PATIENCE } from "../support/patience.ts";
const it = developmentTest()
  .extend("env", { scope: "file" }, ({ orchestrator }) => ({ ORCHESTRATOR_URL: orchestrator.url }))
  .extend(
    "callsFor",
    { scope: "file" },
    ({ orchestrator }) =>
      (body: { content: string }) =>
        orchestrator.calls.filter(({ adapter }) => adapter.message.content === body.content),
  )
  /** What Postgres has of a turn in the end. */
  .extend(
    "rowsOf",
    { scope: "file" },
    ({ service }) =>
      (body: { request_id: string; content: string }) =>
        service.query(
          `select
         (select string_agg(m.role || ': ' || m.content, ', ' order by m.seq) from messages m where m.session_id = q.session_id) as said,
         (select count(*) from session_token_usage u where u.session_id = q.session_id) as usage,
         (select string_agg(l.fence::text, ',') from idempotency_locks l where l.session_id = q.session_id) as fences
       from (select session_id from messages where request_id = $1 limit 1) q`,
          [body.request_id],
        ),
  )
  .extend(
    "eventually",
    { scope: "file" },
    ({ rowsOf }) =>
      async (body: { request_id: string; content: string }, fences: string) =>
        vi.waitFor(
          async () =>
            expect(await rowsOf(body)).toEqual([
              { said: `user: ${body.content}, assistant: echo: ${body.content}`, usage: "1", fences },
            ]),
          PATIENCE,
        ),
  );

const message = (otherwise: Record<string, unknown> = {}) => ({
  instance_id: INSTANCE.chat,
  request_id: randomUUID(),
  content: randomUUID(),
  user: { device_id: randomUUID() },
  ...otherwise,
});

describe("the whole service is killed in the middle of a slow turn, and started again", () => {
  const CALLERS = 20;
  const slow = message();
  const answered = message();
  const abandoned = message();
  let firstAnswer: Reply;
  let replies: Reply[];

  const processed = () => replies.filter(({ status }) => status === 200);

  it.beforeAll(async ({ orchestrator, service, callsFor }) => {
    // Everybody is known before: the ledger is quiet when the crash comes.
    orchestrator.behave(hang);
    const lost = [slow, abandoned].map((body) => service.say("/api/messages", body).catch(() => null));
    await vi.waitUntil(() => callsFor(slow).length === 1 && callsFor(abandoned).length === 1, PATIENCE);
    orchestrator.behave(echo);
    firstAnswer = await service.say("/api/messages", answered);
    await service.kill();
    await Promise.all(lost);

    const { behaviour, open } = gate();
    orchestrator.behave(behaviour);
    await service.restart();
    let told = 0;
    const callers = Array.from({ length: CALLERS }, async () => {
      const reply = await service.say("/api/messages", slow);
      told += 1;
      return reply;
    });
    // All but one are told at once; the one only when there is an answer.
    await vi.waitUntil(() => told === CALLERS - 1, PATIENCE);
    open();
    replies = await Promise.all(callers);
  });

  it("after a crash one repeated request takes the turn over at once, and the others are told that it runs [I1.1]", () => {
    const states = replies.map(({ status, body }) => (status === 200 ? "processed" : body.error.details.state));
    const count = (state: string) => states.filter((other) => other === state).length;
    expect([count("processed"), count("in_progress")]).toEqual([1, CALLERS - 1]);
  });

  it("after a crash the turn runs once more with its own idempotency key [I1.4]", ({ callsFor }) => {
    const keys = callsFor(slow).map(({ headers }) => headers["idempotency-key"]);
    expect(keys).toEqual([keys[0], keys[0]]);
  });

  it("after a crash the orphaned lock is gone, and a repeated request gets the answer [I1.3]", async ({ service }) => {
    const now = await service.say("/api/messages", slow);
    expect(now.body.error.details).toMatchObject({
      state: "completed",
      cached_response: processed()[0]?.body.data,
    });
  });

  it("after a crash the second run alone has its message, answer, usage and lock stored", async ({ eventually }) => {
    await eventually(slow, "2");
  });

  it("after a crash an answer that was not written yet is written", async ({ eventually }) => {
    expect(firstAnswer.status).toBe(200);
    await eventually(answered, "1");
  });

  it("after a crash an earlier answer is remembered", async ({ service }) => {
    const again = await service.say("/api/messages", answered);
    expect(again.body.error.details.cached_response).toEqual(firstAnswer.body.data);
  });

  it("after a crash a turn without a repeated request is answered", async ({ eventually }) => {
    await eventually(abandoned, "2");
  });
});
