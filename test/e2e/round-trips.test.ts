import { randomUUID } from "node:crypto";
import { describe, expect } from "vitest";
import { INSTANCE } from "../support/demo.ts";
import { serviceTest } from "../support/fixtures.ts";
import { PATIENCE } from "../support/patience.ts";

/** A thousand when it shall be sure; fewer when it shall be quick. */
const CROWD = Number(process.env.CROWD ?? 200);

const it = serviceTest()
  .extend("env", { scope: "file" }, ({ proxy }) => ({ NEON_ENDPOINT: proxy.url, INSTANCE_CACHE_SECONDS: "3600" }))
  .extend("say", { scope: "file" }, ({ service }) => async (user: object, requestId: string = randomUUID()) => {
    const reply = await service.insist("/api/messages", {
      instance_id: INSTANCE.chat,
      request_id: requestId,
      content: "Hello",
      user,
    });
    expect(reply.status).toBe(200);
  })
  /** Round trips that were made before the reply: the ledger waits a second for company before it makes its own. */
  .extend("roundTrips", { scope: "file" }, ({ proxy }) => async (call: () => Promise<void>): Promise<number> => {
    proxy.forget();
    await call();
    return proxy.forwarded;
  })
  .extend("rows", { scope: "file" }, ({ service }) => async (pattern: string) => {
    const [row] = await service.query("select count(*) as n from messages where request_id like $1", [pattern]);
    return Number(row?.n);
  });

describe("what a message costs in round trips to Postgres before it is answered", () => {
  const somebody = { phone_e164: "+14155550111", email: "somebody@example.com" };

  it("a message costs two round trips for a new user, one in a cold isolate, and none when warm", async ({
    roundTrips,
    say,
    rows,
    service,
  }) => {
    const firstContact = await roundTrips(() => say(somebody, "trips-1"));
    await expect.poll(() => rows("trips-1"), PATIENCE).toBe(2);
    const warm = await roundTrips(() => say(somebody, "trips-2"));
    await expect.poll(() => rows("trips-2"), PATIENCE).toBe(2);
    await service.restart();
    const coldIsolate = await roundTrips(() => say(somebody, "trips-3"));
    expect({ firstContact, coldIsolate, warm }).toEqual({ firstContact: 2, coldIsolate: 1, warm: 0 });
  });
});

describe("a service whose Postgres is back after an outage in which everybody spoke", () => {
  it(
    "the ledger writes the backlog of an outage at once in few transactions",
    { timeout: 180_000 },
    async ({ say, rows, proxy }) => {
      const people = Array.from({ length: CROWD }, (_, index) => ({ device_id: `crowd-${index}` }));
      for (const some of chunks(people, 50))
        await Promise.all(some.map((user) => say(user, `before-${user.device_id}`)));
      await expect.poll(() => rows("before-%"), PATIENCE).toBe(CROWD * 2);

      await proxy.leave();
      for (const some of chunks(people, 50))
        await Promise.all(some.map((user) => say(user, `outage-${user.device_id}`)));
      proxy.forget();
      await proxy.back();
      await expect.poll(() => rows("outage-%"), { timeout: 90_000, interval: 250 }).toBe(CROWD * 2);
      expect(proxy.forwarded).toBeLessThanOrEqual(Math.ceil(CROWD / 5));
    },
  );
});

function* chunks<T>(items: readonly T[], size: number): Generator<T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
}
