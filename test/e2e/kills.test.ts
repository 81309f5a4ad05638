import { describe, expect } from "vitest";
import { INSTANCE } from "../support/demo.ts";
import { after } from "../support/orchestrator.ts";
import { serviceTest } from "../support/fixtures.ts";
import { PATIENCE } from "../support/patience.ts";

/** Thirty when it shall be sure; a few when it shall be quick. */
const KILLS = Number(process.env.KILLS ?? 4);
const PEOPLE = 8;
/** Far below the lease: nobody may have to wait for that. */
const MAX_SILENCE_MS = 60_000;

const it = serviceTest()
  .extend("env", { scope: "file" }, ({ orchestrator }) => {
    orchestrator.behave((call, response) => after(Math.random() * 400)(call, response));
    return { ORCHESTRATOR_URL: orchestrator.url, RATE_LIMIT_USER_PER_MINUTE: "0" };
  })
  .extend(
    "ask",
    { scope: "file" },
    ({ service }) =>
      async (index: number, requestId: string, memory: Memory): Promise<void> => {
        const body = {
          instance_id: INSTANCE.chat,
          request_id: requestId,
          content: requestId,
          user: { device_id: `killed-${index}` },
        };
        // A service that has just been killed answers nobody: not knowing is what this test is about.
        const reply = await service.say("/api/messages", body).catch(() => null);
        const answer = reply?.status === 200 ? reply.body.data : reply?.body?.error?.details?.cached_response;
        if (answer === undefined) await new Promise((resolve) => setTimeout(resolve, 150));
        else memory.get(requestId)?.push(JSON.stringify([answer.message_id, answer.text]));
      },
  )
  /** Says one thing after the other, and repeats what it doesn't know until it knows. */
  .extend(
    "person",
    { scope: "file" },
    ({ ask }) =>
      async (index: number, isOver: () => boolean, memory: Memory): Promise<void> => {
        for (let said = 0; !isOver(); said += 1) {
          const requestId = `p${index}-${said}`;
          const silentSince = Date.now();
          memory.set(requestId, []);
          while ((memory.get(requestId) ?? []).length === 0) {
            if (Date.now() - silentSince > MAX_SILENCE_MS) throw new Error(`${requestId} is not answered`);
            await ask(index, requestId, memory);
          }
          if (Math.random() < 0.3) await ask(index, requestId, memory);
        }
      },
  );

/** What somebody was told for each of their request ids, by every answer that carried it. */
type Memory = Map<string, string[]>;

describe("a service that is killed again and again while people talk to it", () => {
  it(
    "a service killed again and again answers each message once and stores it in Postgres",
    { timeout: KILLS * 30_000 + 90_000 },
    async ({ person, service }) => {
      const memory: Memory = new Map();
      let over = false;
      const people = Array.from({ length: PEOPLE }, (_, index) => person(index, () => over, memory));
      for (let kill = 0; kill < KILLS; kill += 1) {
        await new Promise((resolve) => setTimeout(resolve, 300 + Math.random() * 2_500));
        await service.kill();
        await service.restart();
      }
      over = true;
      await Promise.all(people);

      for (const answers of memory.values()) expect(new Set(answers).size).toBe(1);

      const rows = () =>
        service.query("select request_id, role, content from messages where request_id like 'p%' order by seq");
      await expect.poll(async () => (await rows()).length, PATIENCE).toBe(memory.size * 2);
      const kept = Map.groupBy(await rows(), ({ request_id }) => request_id ?? "");
      for (const [requestId, answers] of memory) {
        const [, text] = JSON.parse(answers[0] ?? "[]") as [string, string];
        expect(kept.get(requestId)?.map(({ role, content }) => [role, content])).toEqual([
          ["user", requestId],
          ["assistant", text],
        ]);
      }
      expect(await service.query("select reason from dead_letters")).toEqual([]);
      expect(
        await service.query("select turn_id from session_token_usage group by turn_id having count(*) > 1"),
      ).toEqual([]);
    },
  );
});
