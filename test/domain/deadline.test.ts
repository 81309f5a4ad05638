import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { startDeadline, withDeadline, withTimeout } from "../../src/domain/deadline.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const never = () => new Promise<never>(() => undefined);

it("work that ends in time gives its own result and leaves no timer", async () => {
  expect(await withTimeout(Promise.resolve("done"), 1_000, () => "late")).toBe("done");
  await expect(withTimeout(Promise.reject(new Error("failed")), 1_000, () => "late")).rejects.toThrow("failed");
  expect(await withDeadline(1_000, async () => "done")).toBe("done");
  expect(vi.getTimerCount()).toBe(0);
});

it("work that takes too long gives what its caller gives for that, or the error the caller throws", async () => {
  const late = withTimeout(never(), 1_000, () => "late");
  const thrown = withTimeout(never(), 1_000, () => {
    throw new Error("No answer");
  });
  const outcomes = Promise.allSettled([late, thrown]);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(await outcomes).toEqual([
    { status: "fulfilled", value: "late" },
    { status: "rejected", reason: new Error("No answer") },
  ]);
});

it("a deadline aborts its signal with the time it gave", async () => {
  const { signal } = startDeadline(1_000);
  await vi.advanceTimersByTimeAsync(999);
  expect(signal.aborted).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  expect(String(signal.reason)).toBe("TimeoutError: No answer within 1000 ms");
});

it("a deadline aborts with its parent, also with one that was aborted before", async () => {
  const parent = new AbortController();
  const { signal, clear } = startDeadline(1_000, parent.signal);
  parent.abort(new Error("stopped"));
  expect(String(signal.reason)).toBe("Error: stopped");
  clear();
  expect(String(startDeadline(1_000, parent.signal).signal.reason)).toBe("Error: stopped");
});

it("a deadline that was cleared never aborts, not even with its parent", async () => {
  const parent = new AbortController();
  const { signal, clear } = startDeadline(1_000, parent.signal);
  clear();
  parent.abort();
  await vi.advanceTimersByTimeAsync(5_000);
  expect(signal.aborted).toBe(false);
  expect(vi.getTimerCount()).toBe(0);
});
