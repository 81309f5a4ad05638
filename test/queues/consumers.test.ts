import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { consumeBroadcasts } from "../../src/queues/broadcast.ts";
import { findConsumer } from "../../src/queues/consumers.ts";
import { consumeLedger } from "../../src/queues/ledger.ts";

describe("the consumer of a queue", () => {
  it.each(["ledger", "ledger-staging", "parley-ledger", "parley-ledger-eu-staging"])(
    "the consumer of %s writes the ledger",
    (name) => expect(findConsumer(name)).toBe(consumeLedger),
  );

  it.each(["broadcast", "broadcast-staging", "acme-broadcast-production"])(
    "the consumer of %s delivers broadcasts",
    (name) => expect(findConsumer(name)).toBe(consumeBroadcasts),
  );

  it.each(["alerts", "ledgers", "ledger-broadcast", "constructor", ""])(
    'a queue named "%s" is refused as ambiguous',
    (name) => expect(() => findConsumer(name)).toThrow("has no consumer"),
  );

  it("every queue of wrangler.toml has a consumer", async () => {
    const toml = await readFile(join(import.meta.dirname, "../../wrangler.toml"), "utf8");
    const queues = [...toml.matchAll(/^queue = "(.+)"$/gm)].map(([, name]) => name ?? "");
    expect(queues.length).toBeGreaterThan(0);
    for (const name of queues) expect(findConsumer(name)).toBeTypeOf("function");
  });
});
