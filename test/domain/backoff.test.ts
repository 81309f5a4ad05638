import { expect, it } from "vitest";
import { backoff, jittered } from "../../src/domain/backoff.ts";

it("a backoff doubles with each attempt until its maximum", () => {
  const pauses = [0, 1, 2, 3, 4, 2_000].map((attempt) => backoff(attempt, { baseMs: 100, maxMs: 1_000 }, 0.7));
  expect(pauses).toEqual([100, 200, 400, 800, 1_000, 1_000]);
});

it("a backoff with jitter is drawn between the bounds of its factor, also at its maximum", () => {
  const options = { baseMs: 100, maxMs: 150, jitter: [0.5, 1.25] } as const;
  expect([0, 1].map((attempt) => backoff(attempt, options, 0))).toEqual([50, 75]);
  expect([0, 1].map((attempt) => backoff(attempt, options, 1))).toEqual([125, 187.5]);
  expect(jittered(30_000, [0.75, 1.25], 0.5)).toBe(30_000);
});
