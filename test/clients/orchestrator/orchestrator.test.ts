import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readToEnd } from "../../../src/clients/orchestrator/port.ts";
import { createTestDeps } from "../../support/deps.ts";
import { echo, startOrchestrator } from "../../support/orchestrator.ts";
import type { OrchestratorStandIn } from "../../support/orchestrator.ts";
import { PATIENCE } from "../../support/patience.ts";

const TIMEOUT_MS = 300;

let standIn: OrchestratorStandIn;
beforeAll(async () => {
  standIn = await startOrchestrator();
});
afterAll(() => standIn.close());

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** Asks once; the words of the failure, or null. */
async function ask(signal: AbortSignal): Promise<string | null> {
  const env = { ORCHESTRATOR_URL: standIn.url, ORCHESTRATOR_TIMEOUT_MS: String(TIMEOUT_MS) };
  const { orchestrator } = createTestDeps({ env });
  const adapter = { trace_id: "t", message: { content: "Hello" } } as never;
  if (orchestrator === null) return "there is none";
  return readToEnd(orchestrator(adapter, { turnId: "turn", signal })).then(() => null, String);
}

it("a call to an orchestrator that never answers ends at its timeout, also across garbage collections", async () => {
  const { signal } = new AbortController();
  // Until the code is compiled to hold on to nothing that it doesn't need any more.
  for (let call = 0; call < 1_500; call += 1) await ask(signal);
  standIn.behave(() => undefined);
  const waiting = Promise.all(Array.from({ length: 20 }, () => ask(signal)));
  const tidying = setInterval(collectGarbage, 20);
  const outcomes = await waiting.finally(() => clearInterval(tidying));
  expect(new Set(outcomes)).toEqual(new Set([`TimeoutError: No answer within ${TIMEOUT_MS} ms`]));
}, 30_000);

it("an aborted run aborts its call at once, also when it was aborted before it began", async () => {
  standIn.behave(() => undefined);
  const run = new AbortController();
  const waiting = ask(run.signal);
  const seen = standIn.calls.length;
  await expect.poll(() => standIn.calls.length, PATIENCE).toBeGreaterThan(seen);
  run.abort(new Error("The lease of this run is over"));
  expect([await waiting, await ask(run.signal)]).toEqual(
    Array.from({ length: 2 }, () => "Error: The lease of this run is over"),
  );
});

it("many calls under one signal leave no listener on it", async () => {
  standIn.behave(echo);
  const run = new AbortController();
  let listeners = 0;
  const { signal } = run;
  const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
  signal.addEventListener = (...args: Parameters<typeof add>) => ((listeners += 1), add(...args));
  signal.removeEventListener = (...args: Parameters<typeof remove>) => ((listeners -= 1), remove(...args));
  for (let call = 0; call < 20; call += 1) expect(await ask(signal)).toBeNull();
  expect(listeners).toBe(0);
});
