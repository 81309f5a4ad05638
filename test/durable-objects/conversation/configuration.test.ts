import { expect, it, vi } from "vitest";
import { sqliteStorage } from "../../support/sqlite-storage.ts";

vi.mock("cloudflare:workers", () => ({
  DurableObject: class {
    readonly ctx: unknown;
    readonly env: unknown;
    constructor(ctx: unknown, env: unknown) {
      this.ctx = ctx;
      this.env = env;
    }
  },
}));
const { Conversation } = await import("../../../durable-objects/conversation.ts");
const { openStores } = await import("../../../durable-objects/conversation/stores.ts");

it("an object whose configuration can't be read reports it and keeps its alarm; with a readable one it does its work", async () => {
  const lines: string[] = [];
  vi.spyOn(console, "log").mockImplementation((line: string) => void lines.push(line));
  const disk = sqliteStorage();
  // Something waits for Postgres.
  openStores(disk, Date.now).outbox.addNotice({
    kind: "delivery",
    brandId: "b",
    messageId: "m",
    delivery: { state: "sent", ids: [] },
  });
  const alarms: number[] = [];
  const notified: string[] = [];
  const background: Promise<unknown>[] = [];
  const ctx = {
    id: { name: "address" },
    storage: { ...disk, getAlarm: async () => null, setAlarm: async (at: number) => void alarms.push(at) },
    waitUntil: (work: Promise<unknown>) => void background.push(work),
    blockConcurrencyWhile: (work: () => Promise<void>) => work(),
  } as never;

  const broken = new Conversation(ctx, { ENVIRONMENT: "production" } as never);
  await broken.alarm();
  expect(alarms).toHaveLength(1);
  expect(alarms[0]).toBeGreaterThan(Date.now());
  expect(JSON.parse(lines[0]!)).toMatchObject({ event: "alarm_failed", error: { name: "ConfigError" } });

  const LEDGER = { send: async (address: string) => void notified.push(address) };
  const env = { ENVIRONMENT: "development", DATABASE_URL: "postgresql://test", LEDGER };
  await new Conversation(ctx, env as never).alarm();
  await Promise.all(background);
  expect(notified.map((message) => JSON.parse(message))).toMatchObject([{ address: "address" }]);
});
