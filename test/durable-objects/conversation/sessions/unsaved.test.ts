import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { start } from "../../../../durable-objects/conversation/sessions/start.ts";
import { transcribe } from "../../../../durable-objects/conversation/sessions/transcribe.ts";
import { unsaved } from "../../../../durable-objects/conversation/sessions/unsaved.ts";
import { sessionIdAt } from "../../../../src/domain/address.ts";
import { newestFirst } from "../../../../src/domain/history.ts";
import { byteLength } from "../../../../src/domain/json.ts";
import type { Caller } from "../../../../src/domain/principal.ts";
import type { UnsavedRequest } from "../../../../src/rpc/conversation.ts";
import { demoBundle } from "../../../support/bundle.ts";
import { conversationOver, objectDeps } from "../../../support/conversation.ts";
import { ACME, INSTANCE } from "../../../support/demo.ts";
import { sqliteStorage } from "../../../support/sqlite-storage.ts";

const NOW = Date.UTC(2026, 10, 22, 12);
const ADDRESS = "0123456789abcdef012345";
const SESSION = sessionIdAt(ADDRESS, 1);
const CALLER: Caller = { kind: "brand", brandId: ACME, keyId: "k", scopes: [] };

/** A conversation whose session has these messages, none of them in Postgres. */
function talk(messages: readonly { saidAt: number; length: number }[]) {
  const { deps } = objectDeps({ now: () => NOW });
  const stores = conversationOver({ storage: sqliteStorage(), deps, address: ADDRESS });
  const session = {
    ...{ id: SESSION, brandId: ACME, instanceId: INSTANCE.chat, userId: "ann", channel: "api" as const },
    ...{ startedAt: NOW, lastMessageAt: NOW, lastAssistantMessageAt: null, tokenPlan: null },
  };
  start(stores, { session, bundle: demoBundle() }, { address: ADDRESS, now: NOW });
  for (const { saidAt, length } of messages) {
    const message = { id: crypto.randomUUID(), role: "user" as const, content: "x".repeat(length), saidAt };
    const request = {
      ...{ sessionId: SESSION, caller: CALLER, session: null },
      messages: [{ ...message, requestId: null, traceId: null, metadata: {} }],
    };
    transcribe(stores, request, { address: ADDRESS, now: NOW });
  }
  return (request: Partial<UnsavedRequest> = {}) => {
    const outcome = unsaved(stores, {
      ...{ sessionId: SESSION, caller: CALLER, select: "messages", before: null, limit: 1_000, maxBytes: 1_000_000 },
      ...request,
    });
    if (outcome.kind !== "unsaved") throw new Error(outcome.kind);
    return outcome;
  };
}

describe("messages that Postgres does not have", () => {
  it("unwritten messages are given newest first, as many as fit, without a gap", () => {
    const messages = fc.array(
      fc.record({
        saidAt: fc.integer({ min: 1, max: 50 }).map((n) => NOW - n),
        length: fc.integer({ min: 1, max: 2_000 }),
      }),
      { maxLength: 40 },
    );
    fc.assert(
      fc.property(
        messages,
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 20_000 }),
        (said, limit, maxBytes) => {
          const ask = talk(said);
          const all = ask().messages;
          expect(all).toHaveLength(said.length);
          expect(all).toEqual(all.toSorted(newestFirst));
          const { messages, isCut } = ask({ limit, maxBytes });
          expect(messages).toEqual(all.slice(0, messages.length));
          const bytes = messages.reduce((sum, message) => sum + byteLength(JSON.stringify(message)), 0);
          expect(messages.length > 1 && bytes > maxBytes).toBe(false);
          expect(isCut).toBe(messages.length < Math.min(limit, all.length));
        },
      ),
      { numRuns: 40 },
    );
  });

  it("unwritten messages are counted without their content", () => {
    const { messages } = talk([{ saidAt: NOW - 1, length: 5_000 }])({ select: "counts" });
    expect(messages).toMatchObject([{ role: "user", content: "", metadata: {} }]);
  });

  it("one unwritten message is given by its id", () => {
    const ask = talk(Array.from({ length: 50 }, (_, n) => ({ saidAt: NOW - n, length: 1 })));
    const id = ask().messages[30]?.id ?? "";
    expect(ask({ select: { messageId: id } }).messages.map((message) => message.id)).toEqual([id]);
  });
});
