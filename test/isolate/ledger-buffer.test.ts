import { describe, expect, it } from "vitest";
import { readLedgerMessage } from "../../src/domain/ledger-message.ts";
import { LedgerBuffer } from "../../src/isolate/ledger-buffer.ts";

const stored = (position: number, text = "") => ({
  generation: "g",
  position,
  json: JSON.stringify({ id: `${position}`, messages: [], text }),
});

/** A buffer whose delays end when the test says so. */
function startBuffer({ send }: { send?: () => Promise<void> } = {}) {
  const sent: number[][] = [];
  const failures: number[] = [];
  const delays: (() => void)[] = [];
  const kept: Promise<unknown>[] = [];
  const clock = { now: 1_000_000 };
  const request = {
    send: async (message: string) => {
      await send?.();
      const read = readLedgerMessage(message);
      sent.push(read?.kind === "entries" ? read.entries.map(({ position }) => position) : []);
    },
    background: (work: Promise<unknown>) => void kept.push(work),
  };
  const buffer = new LedgerBuffer({
    report: (_error, entries) => failures.push(entries),
    now: () => clock.now,
    pause: () => new Promise((resolve) => delays.push(resolve)),
  });
  const add = (position: number, text?: string) => buffer.add(stored(position, text), request);
  const elapse = async () => {
    for (const end of delays.splice(0)) end();
    await Promise.all(kept.splice(0));
  };
  return { add, elapse, sent, failures, delays, kept, clock };
}

describe("entries that travel with their answers", () => {
  it("carried entries are sent as one message when the first of them has waited long enough", async () => {
    const { add, elapse, sent, delays } = startBuffer();
    for (const position of [1, 2, 3]) add(position);
    expect([sent, delays.length]).toEqual([[], 1]);
    await elapse();
    expect(sent).toEqual([[1, 2, 3]]);
  });

  it("a hundred carried entries are sent at once, and the delay of that batch sends nothing again", async () => {
    const { add, elapse, sent, kept } = startBuffer();
    for (let position = 1; position <= 101; position += 1) add(position);
    await Promise.all(kept.slice(1, 2));
    expect(sent.map((positions) => positions.length)).toEqual([100]);
    await elapse();
    expect(sent.map((positions) => positions.length)).toEqual([100, 1]);
  });

  it("carried entries never make a message larger than a queue takes", async () => {
    const { add, elapse, sent } = startBuffer();
    for (const position of [1, 2, 3]) add(position, "x".repeat(60_000));
    await elapse();
    expect(sent.flat()).toEqual([1, 2, 3]);
    expect(sent).toHaveLength(3);
  });

  it("the next request sends a batch whose opening request was cut off", async () => {
    const { add, sent, delays, clock } = startBuffer();
    add(1);
    delays.length = 0;
    clock.now += 1_000;
    add(2);
    for (const end of delays) end();
    await new Promise((resolve) => setImmediate(resolve));
    expect(sent).toEqual([[1, 2]]);
  });

  it("a batch that the queue refuses is reported, and the next batch is sent", async () => {
    let isAway = true;
    const { add, elapse, sent, failures } = startBuffer({
      send: () => (isAway ? Promise.reject(new Error("no queue")) : Promise.resolve()),
    });
    add(1);
    await elapse();
    isAway = false;
    add(2);
    await elapse();
    expect([failures, sent]).toEqual([[1], [[2]]]);
  });
});
