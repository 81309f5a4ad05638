import { describe, expect, it } from "vitest";
import { MAX_ATTEMPTS, verdictOn } from "../../src/domain/broadcast.ts";
import type { Broadcast, Recipient } from "../../src/domain/broadcast.ts";
import { recordingOf } from "../../src/flows/deliver-broadcast.ts";

const broadcast: Broadcast = {
  id: "01900000-0000-7000-8000-000000000001",
  brandId: "01900000-0000-7000-8000-000000000002",
  instanceId: "01900000-0000-7000-8000-000000000003",
  channel: "api",
  isActive: true,
  sessionTimeoutMinutes: null,
  business: null,
  content: "We are open again",
  metadata: {},
  traceId: "trace",
};

const recipient: Recipient = {
  id: "01900000-0000-7000-8000-000000000004",
  userId: "01900000-0000-7000-8000-000000000005",
  messageId: "01900000-0000-7000-8000-000000000006",
  attempts: 1,
  isOptedOut: false,
  person: null,
  openSession: null,
};

const messageOf = (changes: Partial<Broadcast>) =>
  recordingOf({ ...broadcast, ...changes }, recipient, 1000).messages[0];

describe("a broadcast as one person's conversation keeps it", () => {
  it("a broadcast without an instance is refused [C4.3.2]", () => {
    expect(() => messageOf({ instanceId: "" })).toThrow(
      expect.objectContaining({ code: "VALIDATION_ERROR", status: 400 }),
    );
  });

  it("a broadcast is cut at the length of a message [C4.3.3]", () => {
    expect(messageOf({ content: "x".repeat(10_001) })).toMatchObject({
      content: "x".repeat(10_000),
      metadata: { truncated: true },
    });
  });

  it("a broadcast message names its broadcast, whatever its metadata say [C4.3.7]", () => {
    const metadata = { campaign: "spring", channel: "web", broadcast_id: "mine" };
    expect(messageOf({ metadata })?.metadata).toEqual({
      campaign: "spring",
      channel: "broadcast",
      broadcast_id: broadcast.id,
    });
  });
});

describe("an attempt to reach somebody", () => {
  const failure = { kind: "failed", code: "SERVICE_UNAVAILABLE", message: "away" } as const;
  const pauses = (random: number) =>
    Array.from({ length: MAX_ATTEMPTS }, (_, index) => {
      const { state, pauseMs } = verdictOn({ ...recipient, attempts: index + 1 }, failure, random);
      return [state, pauseMs];
    });

  it("a failed delivery is retried after doubling pauses until the limit", () => {
    expect(pauses(1)).toEqual([
      ["pending", 2_000],
      ["pending", 4_000],
      ["pending", 8_000],
      ["pending", 16_000],
      ["failed", 0],
    ]);
  });

  it("a retry waits at least half of its pause", () => {
    expect(pauses(0).map(([, pauseMs]) => pauseMs)).toEqual([1_000, 2_000, 4_000, 8_000, 0]);
  });

  it("a refused delivery is not retried", () => {
    const refusal = { kind: "refused", code: "RESOURCE_NOT_FOUND", message: "No such conversation" } as const;
    expect(verdictOn(recipient, refusal, 0)).toEqual({
      recipientId: recipient.id,
      state: "failed",
      pauseMs: 0,
      error: { code: "RESOURCE_NOT_FOUND", message: "No such conversation" },
    });
  });
});
