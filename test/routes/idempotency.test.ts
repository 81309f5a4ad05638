import { beforeEach, describe, expect } from "vitest";
import { INSTANCE } from "../support/demo.ts";
import { gatewayTest } from "../support/fixtures.ts";
import { PATIENCE } from "../support/patience.ts";

const it = gatewayTest()
  .extend(
    "boundOrchestrator",
    { scope: "file" },
    () => () =>
      new Promise<Response>((resolve) => {
        calls.push({ answer: (text) => resolve(Response.json({ text, usage: { prompt_tokens: 1 } })) });
      }),
  )
  .extend(
    "say",
    { scope: "file" },
    ({ gateway }) =>
      (requestId: unknown, content?: string) =>
        gateway.send("POST", "/api/messages", body(requestId, content)),
  )
  /** Asks, and has it answered as soon as the orchestrator is called. */
  .extend("answered", { scope: "file" }, ({ say }) => async (requestId: string) => {
    const reply = say(requestId);
    await expect.poll(() => calls.length, PATIENCE).toBe(1);
    calls[0]?.answer("Hi");
    return reply;
  })
  .extend(
    "locks",
    { scope: "file" },
    ({ gateway }) =>
      async () =>
        (await gateway.database.query("select count(*) as n from idempotency_locks"))[0]?.["n"],
  );
/** Orchestrator calls that wait for the test. */
let calls: { answer: (text: string) => void }[];

beforeEach(() => {
  calls = [];
});

const body = (requestId: unknown, content = "Hello") => ({
  instance_id: INSTANCE.chat,
  request_id: requestId,
  content,
  device_id: "device-1",
});

describe("somebody who sends a request twice", () => {
  it("a new request is processed [C6.6.1]", async ({ answered }) => {
    const reply = await answered("first");
    expect(reply).toMatchObject({ status: 200, body: { success: true, data: { request_id: "first", text: "Hi" } } });
    expect(calls).toHaveLength(1);
  });

  it("a repeated request is told at once that the first runs, without a query [C6.6.3, C6.6.4]", async ({ say }) => {
    const first = say("twice");
    await expect.poll(() => calls.length, PATIENCE).toBe(1);
    // The orchestrator hasn't answered, and won't before this is over.
    for (let time = 0; time < 3; time += 1) {
      const { status, headers, body } = await say("twice");
      expect([status, body.error.code, body.error.details]).toEqual([
        409,
        "DUPLICATE_REQUEST",
        { request_id: "twice", state: "in_progress", retry_after_ms: expect.any(Number) },
      ]);
      expect(body.error.details.retry_after_ms).toBeGreaterThan(0);
      expect(headers.get("Retry-After")).toBe(String(Math.ceil(body.error.details.retry_after_ms / 1_000)));
    }
    calls[0]?.answer("Hi");
    expect((await first).status).toBe(200);
    expect(calls).toHaveLength(1);
  });

  it("a repeated request afterwards gets the stored first answer [C6.2.6]", async ({ answered, say, gateway }) => {
    const first = await answered("kept");
    const again = await say("kept");
    expect([again.status, again.body.error.details]).toEqual([
      409,
      { request_id: "kept", state: "completed", retry_after_ms: 0, cached_response: first.body.data },
    ]);
    expect(again.headers.get("Retry-After")).toBeNull();
    await gateway.flush();
    const rows = await gateway.database.query(
      "select metadata_json -> 'cached_response' as cached from idempotency_locks where request_id like '%:kept'",
    );
    expect(rows.map(({ cached }) => JSON.parse(cached ?? "null"))).toEqual([first.body.data]);
  });

  it("a repeated request with another body gets nothing of the first answer", async ({ answered, say }) => {
    await answered("mismatch");
    const { status, body } = await say("mismatch", "Something else");
    expect([status, body.error.details]).toEqual([409, { request_id: "mismatch", state: "payload_mismatch" }]);
  });
});

describe("a message that can't be told from another", () => {
  it("a message without a request id is refused before any look-up or write [C6.2.1]", async ({
    gateway,
    locks,
    say,
  }) => {
    // What earlier tests have left to be written.
    await gateway.flush();
    const before = await locks();
    gateway.roundTrips();
    const { status, body } = await say(undefined);
    expect([status, body.error.code, gateway.roundTrips()]).toEqual([400, "MISSING_REQUEST_ID", 0]);
    await gateway.flush();
    expect(await locks()).toBe(before);
    expect(calls).toHaveLength(0);
  });

  it.for([[7], [true], [["r1"]], [{ id: "r1" }], [""], ["  "]] as const)(
    "a message with the request id %j is refused [C6.2.2]",
    async ([requestId], { say }) => {
      const { status, body } = await say(requestId);
      expect([status, body.error.code]).toEqual([400, "INVALID_REQUEST_ID"]);
      expect(calls).toHaveLength(0);
    },
  );
});
