import { describe, expect } from "vitest";
import { openLoop, send } from "../bench/load.ts";
import type { Call, Sample } from "../bench/load.ts";
import { INSTANCE } from "../support/demo.ts";
import { serviceTest } from "../support/fixtures.ts";
import { PATIENCE } from "../support/patience.ts";

// How fast it is, `npm run bench` tells; here is what has to be right however slow the machine is.

const PEOPLE = 100;
/** So many come again at once: one after the other would take a slow machine minutes. */
const CALLERS = 20;

const it = serviceTest()
  .extend("databaseOptions", { scope: "file" }, { seeded: true, concurrent: true })
  .extend("env", { scope: "file" }, ({ orchestrator }) => ({ ORCHESTRATOR_URL: orchestrator.url, LOG_LEVEL: "warn" }))
  .extend("url", { scope: "file" }, ({ service }) => `${service.url}/api/messages`)
  .extend("message", { scope: "file" }, ({ url }) => (person: string, requestId: string): Call => ({
    url,
    body: JSON.stringify({
      ...{ instance_id: INSTANCE.chat, request_id: requestId, content: requestId },
      user: { device_id: person },
    }),
  }))
  /** So many messages, of as many people as there are names, one after the other. */
  .extend(
    "talk",
    { scope: "file" },
    ({ message }) =>
      (prefix: string, people: number, load: { perSecond: number; seconds: number }): Promise<Sample[]> => {
        let sent = 0;
        return openLoop(() => {
          sent += 1;
          return message(`${prefix}-person-${sent % people}`, `${prefix}-${sent}`);
        }, load);
      },
  )
  /** How often each of these request ids is in Postgres, once nothing is written any more. */
  .extend(
    "rowsOf",
    { scope: "file" },
    ({ database }) =>
      async (prefix: string, expected: number): Promise<Map<string, number>> => {
        const rows = () =>
          database.query(
            "select request_id, count(*)::int as n from messages where request_id like $1 group by request_id",
            [`${prefix}-%`],
          );
        await expect
          .poll(async () => (await rows()).length, { timeout: 90_000, interval: 500 })
          .toBeGreaterThanOrEqual(expected);
        return new Map((await rows()).map(({ request_id, n }) => [request_id ?? "", Number(n)]));
      },
  )
  .extend(
    "talkOnce",
    { scope: "file" },
    ({ message }) =>
      (number: number): Promise<Sample> =>
        send(message(`burst-person-${number % 500}`, `burst-${number}`)),
  );

const statuses = (samples: readonly Sample[]): Record<number, number> =>
  Object.fromEntries([...Map.groupBy(samples, ({ status }) => status)].map(([status, of]) => [status, of.length]));

describe("many people at once", { timeout: 600_000 }, () => {
  it("100 messages a second are all answered and stored once [G3.1.1]", async ({ message, talk, rowsOf }) => {
    for (let person = 0; person < PEOPLE; person += 1)
      await send(message(`steady-person-${person}`, `hello-${person}`));
    const samples = await talk("steady", PEOPLE, { perSecond: 100, seconds: 6 });
    expect(statuses(samples)).toEqual({ 200: 600 });
    const rows = await rowsOf("steady", 600);
    expect([rows.size, new Set(rows.values())]).toEqual([600, new Set([2])]);
  });

  it("1,000 messages within a second are answered or refused with a retry time, and none is lost [G3.1.2]", async ({
    talk,
    rowsOf,
    talkOnce,
  }) => {
    const samples = await talk("burst", 500, { perSecond: 1_000, seconds: 1 });
    const counts = statuses(samples);
    // An overloaded service refuses with a time to retry: for the rate, or because Postgres does not answer in time.
    const refused = samples.filter(({ status }) => status === 429 || status === 503);
    expect({ answered: counts[200] ?? 0, refused: refused.length, counts }).toMatchObject({
      refused: 1_000 - (counts[200] ?? 0),
    });
    const turnedAway = samples.flatMap(({ status }, index) => (status === 200 ? [] : [index + 1]));
    for (const { status, body, retryAfter } of refused) {
      expect(Number(retryAfter)).toBeGreaterThan(0);
      expect(JSON.parse(body).error).toMatchObject({
        code: status === 429 ? "RATE_LIMITED" : "SERVICE_UNAVAILABLE",
        details: { retry_after_ms: expect.any(Number) },
      });
    }
    const kept = await rowsOf("burst", counts[200] ?? 0);
    expect([kept.size, new Set(kept.values())]).toEqual([counts[200], new Set([2])]);

    // Whoever was told to come again does, with the same id.
    const again = async (numbers: readonly number[]) => {
      for (const number of numbers) {
        await expect.poll(async () => (await talkOnce(number)).status, PATIENCE).toBe(200);
      }
    };
    const callers = Map.groupBy(turnedAway, (number) => number % CALLERS);
    await Promise.all([...callers.values()].map(again));
    expect((await rowsOf("burst", 1_000)).size).toBe(1_000);
  });

  it("concurrent users have one token plan each, made for their first message [G3.5.2]", async ({
    orchestrator,
    message,
  }) => {
    const planOf = async (requestId: string) => {
      const before = orchestrator.calls.length;
      expect((await openLoop(() => message("planner", requestId), { perSecond: 1, seconds: 1 }))[0]?.status).toBe(200);
      return orchestrator.calls[before]?.adapter["token_plan"];
    };
    const first = await planOf("plan-1");
    expect(first.templates).not.toEqual({});
    expect(await planOf("plan-2")).toEqual(first);
  });
});
