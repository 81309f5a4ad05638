import { describe, expect } from "vitest";
import { INSTANCE } from "../support/demo.ts";
import { serviceTest } from "../support/fixtures.ts";

const CONVERSATIONS = 50;
const PER_SECOND = 20;
/** Half a minute of each when it shall be sure; a few seconds when it shall be quick. */
const SECONDS = Number(process.env.FAULT_SECONDS ?? 4);

const it = serviceTest()
  .extend("env", { scope: "file" }, ({ orchestrator, proxy }) => ({
    NEON_ENDPOINT: proxy.url,
    ORCHESTRATOR_URL: orchestrator.url,
    RATE_LIMIT_USER_PER_MINUTE: "0",
    // Warm stays warm for as long as the faults last.
    INSTANCE_CACHE_SECONDS: "3600",
  }))
  .extend(
    "say",
    { scope: "file" },
    ({ service }) =>
      (index: number, requestId: string) =>
        service.say("/api/messages", message(index, requestId)),
  )
  /** Everything that was said, as Postgres has it, in the order of each conversation. */
  .extend(
    "written",
    { scope: "file" },
    ({ service }) =>
      async (prefix: string) =>
        service.query(
          `select session_id, request_id, role, content from messages where request_id like $1 order by session_id, seq`,
          [`${prefix}%`],
        ),
  );

const message = (index: number, requestId: string) => ({
  instance_id: INSTANCE.chat,
  request_id: requestId,
  content: requestId,
  user: { device_id: `device-${index}` },
});

async function until(condition: () => Promise<boolean>, ms: number): Promise<void> {
  const deadline = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`Not within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

describe("while Postgres can't be trusted", () => {
  it("the conversations answer before the database fails", async ({ service }) => {
    const replies = await Promise.all(
      Array.from({ length: CONVERSATIONS }, (_, index) =>
        service.insist("/api/messages", message(index, `warm-${index}`)),
      ),
    );
    expect(replies.map(({ status }) => status)).toEqual(Array.from({ length: CONVERSATIONS }, () => 200));
  });

  it.for(["drop", "hang", "delay", "reset", "cut"] as const)(
    'during the fault "%s" known conversations are answered, and everything is stored once and in order',
    { timeout: (SECONDS + 90) * 1000 },
    async (fault, { proxy, say, written }) => {
      const before = proxy.felt(fault);
      proxy.always(fault);
      const replies: Promise<number>[] = [];
      const total = SECONDS * PER_SECOND;
      for (let sent = 0; sent < total; sent += 1) {
        replies.push(
          say(sent % CONVERSATIONS, `${fault}-${String(sent).padStart(5, "0")}`).then(({ status }) => status),
        );
        await new Promise((resolve) => setTimeout(resolve, 1000 / PER_SECOND));
      }
      expect((await Promise.all(replies)).filter((status) => status !== 200)).toEqual([]);
      await until(async () => proxy.felt(fault) > before, 15_000);
      await proxy.back();

      await until(async () => (await written(fault)).length >= total * 2, 60_000);
      const rows = await written(fault);
      expect(rows).toHaveLength(total * 2);
      for (const conversation of Map.groupBy(rows, ({ session_id }) => session_id).values()) {
        const order = conversation.map(({ request_id, role }) => `${request_id} ${role}`);
        const spoken = [...new Set(conversation.map(({ request_id }) => request_id ?? ""))].toSorted();
        expect(order).toEqual(spoken.flatMap((id) => [`${id} user`, `${id} assistant`]));
      }
    },
  );

  it("an outage makes the service not ready and refuses first contacts until Postgres is back", async ({
    proxy,
    say,
    service,
  }) => {
    await proxy.leave();
    const refused = await say(9_999, "first-contact");
    expect([refused.status, refused.body.error.code]).toEqual([503, "SERVICE_UNAVAILABLE"]);
    expect(Number(refused.headers.get("Retry-After"))).toBeGreaterThan(0);
    expect((await service.request("/ready")).status).toBe(503);
    expect((await service.request("/live")).status).toBe(200);
    await proxy.back();
    expect((await say(9_999, "first-contact")).status).toBe(200);
  });
});
