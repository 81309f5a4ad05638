import { beforeEach, describe, expect, it } from "vitest";
import { start } from "../../../../durable-objects/conversation/sessions/start.ts";
import { erase, pruneTombstones, TOMBSTONE_MS } from "../../../../durable-objects/conversation/sessions/erase.ts";
import { endIsRememberedUntil, expire } from "../../../../durable-objects/conversation/sessions/expire.ts";
import { openStores } from "../../../../durable-objects/conversation/stores.ts";
import type { Stores } from "../../../../durable-objects/conversation/stores.ts";
import { sessionFor } from "../../../../durable-objects/conversation/sessions/current.ts";
import { unsaved } from "../../../../durable-objects/conversation/sessions/unsaved.ts";
import { addressOfSession, sessionIdAt } from "../../../../src/domain/address.ts";
import type { Caller } from "../../../../src/domain/principal.ts";
import type { Session } from "../../../../src/domain/session.ts";
import { demoBundle } from "../../../support/bundle.ts";
import { ACME, GLOBEX, INSTANCE } from "../../../support/demo.ts";
import { sqliteStorage } from "../../../support/sqlite-storage.ts";
import { addresses } from "../../../support/addresses.ts";

const NOW = Date.UTC(2026, 10, 22, 12);
const ERASING = { now: NOW, rememberMs: 1, sessionTimeoutMs: 3_600_000 };
const ANN = "01a203c1-5b09-7963-9685-2aef74277b10";
const BOB = "01a203c1-5b09-7963-9685-2aef74277b20";
const address = addresses.chat(INSTANCE.chat, ANN);

let parts: Stores;
beforeEach(() => {
  parts = openStores(sqliteStorage(), () => NOW);
});

const session = (number = 0, changes: Partial<Session> = {}): Session => ({
  id: sessionIdAt(address, number),
  brandId: ACME,
  instanceId: INSTANCE.chat,
  userId: ANN,
  channel: "api",
  startedAt: NOW,
  lastMessageAt: NOW,
  lastAssistantMessageAt: null,
  tokenPlan: null,
  ...changes,
});
const visit = (openSession: Session | null, now = NOW) => ({
  ...{ address, brandId: ACME, instanceId: INSTANCE.chat, userId: ANN, channel: "api" as const },
  ...{ openSession, sessionTimeoutMs: 3_600_000, now },
});
const caller = (userId: string | null, brandId: string = ACME): Caller =>
  userId === null ? { kind: "brand", brandId, keyId: "k", scopes: [] } : { kind: "user", brandId, userId };
const startSession = (one: Session) => start(parts, { session: one, bundle: demoBundle() }, { address, now: NOW });

describe("the session that what is said belongs to", () => {
  it("a conversation continues the session of Postgres unless it was erased or has ended", () => {
    expect(sessionFor(parts.state, false, visit(session())).id).toBe(session().id);
    const ending = { sessionId: session().id, caller: caller(ANN), session: session() };
    expire(parts, ending, { address, now: NOW });
    expect(sessionFor(parts.state, false, visit(session())).id).not.toBe(session().id);
    parts.state.remove("ended");
    erase(parts, ending, ERASING);
    expect(sessionFor(parts.state, false, visit(session())).id).not.toBe(session().id);
  });

  it("a new session's id is unique and holds the conversation's address", () => {
    const second = Math.floor(NOW / 1000);
    startSession(session(second));
    erase(parts, { sessionId: session(second).id, caller: caller(ANN), session: null }, ERASING);
    const next = sessionFor(parts.state, false, visit(null));
    expect(next.id).not.toBe(session(second).id);
    expect(addressOfSession(next.id)).toBe(address);
  });
});

describe("what a conversation tells of a session", () => {
  const ask = (who: Caller) =>
    unsaved(parts, {
      ...{ sessionId: session().id, caller: who, select: "messages" as const },
      ...{ before: null, limit: 10, maxBytes: 1_000_000 },
    });

  it("a session's state is shown to its user and their brand's server only", () => {
    startSession(session());
    expect(ask(caller(ANN)).kind).toBe("unsaved");
    expect(ask(caller(null)).kind).toBe("unsaved");
    expect(ask(caller(BOB))).toMatchObject({ kind: "refused", code: "FORBIDDEN" });
    for (const stranger of [caller(ANN, GLOBEX), caller(null, GLOBEX)]) {
      expect(ask(stranger)).toMatchObject({ kind: "refused", code: "RESOURCE_NOT_FOUND" });
    }
  });

  it("the state of an unknown or erased session is not shown", () => {
    expect(ask(caller(ANN))).toEqual({ kind: "unknown" });
    startSession(session());
    erase(parts, { sessionId: session().id, caller: caller(ANN), session: null }, ERASING);
    expect(ask(caller(ANN))).toMatchObject({ kind: "refused", code: "RESOURCE_NOT_FOUND" });
  });

  it("the state of a session is not kept once Postgres has it", () => {
    startSession(session());
    parts.outbox.confirm(parts.outbox.pull(1_000_000));
    expect(ask(caller(ANN))).toMatchObject({ kind: "unsaved", messages: [], usage: [] });
  });
});

describe("what is remembered of what is over", () => {
  it("an erased session leaves a tombstone for a day", () => {
    startSession(session());
    erase(parts, { sessionId: session().id, caller: caller(ANN), session: null }, ERASING);
    expect(pruneTombstones(parts.state, NOW + 1)).toBe(NOW + TOMBSTONE_MS);
    expect(parts.state.get("erased")).toHaveLength(1);
    expect(pruneTombstones(parts.state, NOW + TOMBSTONE_MS)).toBeNull();
    expect(parts.state.get("erased")).toBeNull();
  });

  it("an ended session is remembered for longer than any isolate caches it as open", () => {
    startSession(session());
    expire(parts, { sessionId: session().id, caller: caller(ANN), session: null }, { address, now: NOW });
    expect(endIsRememberedUntil(parts.state, NOW + 60_000)).toBeGreaterThan(NOW + 60_000);
    expect(endIsRememberedUntil(parts.state, NOW + 3_600_000)).toBeNull();
  });
});
