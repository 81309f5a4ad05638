import { beforeAll, describe, expect, it } from "vitest";
import { chaos } from "../chaos/chaos.ts";
import type { ChaosReport } from "../chaos/chaos.ts";

/** Every fault once, in pairs; `npm run chaos` is the long way. */
const SECONDS = Number(process.env.CHAOS_SECONDS ?? 30);
const SEED = Number(process.env.CHAOS_SEED ?? 8);

let report: ChaosReport;
beforeAll(async () => {
  report = await chaos({ seed: SEED, seconds: SECONDS });
}, 400_000);

const violations = (invariant: string) =>
  report.findings.filter((finding) => finding.invariant === invariant).flatMap((finding) => finding.violations);

describe("people of two brands on every channel, while everything fails that can", () => {
  it("the chaos run injects every fault", () => {
    expect([...report.fired].filter(([, times]) => times === 0)).toEqual([]);
  });

  it("the chaos run tells every caller an outcome and checks every invariant", () => {
    expect(report.findings.filter(({ checked }) => checked === 0)).toEqual([]);
  });

  it.each([
    ["I1", "one message and at most one answer for a request id"],
    ["I2", "what was answered is in Postgres, and nothing else is"],
    ["I3", "all answers to a request id agree"],
    ["I4", "a conversation's turns run one at a time, in the order of their admission"],
    ["I5", "usage is what the orchestrator reported, once per turn"],
    ["I6", "nobody sees or changes what is another brand's"],
    ["I7", "every error is in the envelope and tells nothing"],
    ["I9", "every request ends"],
    ["WhatsApp", "a message is kept once, answered once, and nothing is sent again blindly"],
    ["Broadcast", "everybody who was promised a message has it, once"],
    ["Transcript", "every word of a call is there, once"],
  ])("the chaos run keeps the invariant %s: %s", (invariant) => {
    expect(violations(invariant)).toEqual([]);
  });

  it.each([
    [
      "53300",
      "a pool without a connection to give refuses, and what waited is written when there is one again [G3.3.1]",
    ],
    ["57P01", "connections that are ended under load are replaced, and nothing that was on them is lost [G3.3.2]"],
  ])("the chaos run survives the fault (%s) %s", (sqlState) => {
    const felt = [...report.fired].filter(([name]) => name.includes(sqlState));
    expect(felt).not.toEqual([]);
    expect(felt.map(([, times]) => times > 0)).toEqual(felt.map(() => true));
    expect([...violations("I1"), ...violations("I2")]).toEqual([]);
  });
});
