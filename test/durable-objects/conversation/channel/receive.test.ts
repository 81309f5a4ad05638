import { beforeEach, describe, expect, it, vi } from "vitest";
import { receive as receiveBatch } from "../../../../durable-objects/conversation/channel/receive.ts";
import { erase } from "../../../../durable-objects/conversation/sessions/erase.ts";
import type { StoredTurn } from "../../../../durable-objects/conversation/stores/turn.ts";
import type { Storage } from "../../../../durable-objects/runtime/storage.ts";
import type { InboundMessage } from "../../../../src/domain/inbound-message.ts";
import type { Resolution } from "../../../../src/domain/resolution.ts";
import { demoBundle } from "../../../support/bundle.ts";
import { answering, conversationOver, objectDeps, submission } from "../../../support/conversation.ts";
import { sqliteStorage } from "../../../support/sqlite-storage.ts";
import { addresses } from "../../../support/addresses.ts";
import { PATIENCE } from "../../../support/patience.ts";

const DAY_MS = 86_400_000;
const BUSINESS = { number: "+15550001111", phoneNumberId: "100" };
const PHONE = { phone: "+16505551234", userId: null };
const ADDRESS = addresses.whatsapp(BUSINESS, PHONE);
const USER = { id: "01a203c1-5b09-7963-9685-2aef74277b10", tier: "verified" as const };

const message = (id: string, changes: Partial<InboundMessage> = {}): InboundMessage => ({
  id,
  channel: "whatsapp",
  kind: "text",
  role: "user",
  person: PHONE,
  business: BUSINESS,
  groupId: null,
  otherIdentities: [],
  newIdentity: null,
  content: `says ${id}`,
  sentAt: 900_000,
  metadata: { whatsapp: { kind: "text" } },
  ...changes,
});
const ready = { kind: "ready" as const, bundle: demoBundle(), user: USER, openSession: null };
const away: Resolution = { kind: "unavailable" };

let storages: Map<string, Storage>;
let clock: { now: number };
/** What is found out about a message: the test says so. */
let introduce: (message: InboundMessage) => Resolution | Promise<Resolution>;
let introduced: string[];
let ran: string[];

beforeEach(() => {
  storages = new Map();
  clock = { now: 1_000_000 };
  introduce = () => ready;
  introduced = [];
  ran = [];
});

/** One incarnation of the conversation at an address: its orchestrator answers at once. */
function conversationAt(address: string) {
  const storage = storages.get(address) ?? sqliteStorage();
  storages.set(address, storage);
  const { deps } = objectDeps({
    now: () => clock.now,
    resolveWebhookMessage: async (inbound) => {
      introduced.push(inbound.id);
      return introduce(inbound);
    },
    orchestrator: answering(async ({ message: said }) => {
      ran.push(said.content.replace("says ", ""));
      return { text: "An answer" };
    }),
  });
  const conversation = conversationOver({ storage, deps, address });
  const receive = (...messages: InboundMessage[]) => {
    const arrival = {
      kind: "number" as const,
      messages,
      statuses: [],
      aliases: [],
      traceId: "trace",
      receivedAt: clock.now,
    };
    const received = receiveBatch(conversation, arrival);
    conversation.runner.runNext();
    return received;
  };
  return { ...conversation, receive };
}

/** Lets what runs finish, unless it waits for the test. */
const resting = () => new Promise((resolve) => void setImmediate(resolve));

/** Lets what runs finish, then moves the clock to the alarm and lets it go off. */
async function nextAlarm(conversation: ReturnType<typeof conversationAt>): Promise<void> {
  await resting();
  clock.now = conversation.alarms.at(-1)!;
  conversation.alarm.run(clock.now);
  await resting();
}

/** Waits until so many turns have run and are settled. */
async function hasRun(count: number): Promise<void> {
  await vi.waitUntil(() => ran.length === count, { ...PATIENCE, interval: 1 });
  await resting();
}

const pulled = ({ outbox }: ReturnType<typeof conversationAt>) => outbox.pull(1_000_000);
const deadLetters = (conversation: ReturnType<typeof conversationAt>) =>
  pulled(conversation).notices.filter(({ kind }) => kind === "dead_letter");
const find = ({ turns }: ReturnType<typeof conversationAt>, id: string): StoredTurn | null => turns.find(ADDRESS, id);

describe("a message of a webhook", () => {
  it("a webhook message is stored before its sender is resolved, and resolved in its turn", () => {
    introduce = () => new Promise(() => undefined);
    const conversation = conversationAt(ADDRESS);
    expect(conversation.receive(message("a"), message("b"), message("a"))).toMatchObject({
      accepted: 2,
      duplicates: 1,
    });
    expect(find(conversation, "b")?.inbound?.message.content).toBe("says b");
    expect(introduced).toEqual(["a"]);
  });

  it("webhook messages run in the order of their admission, also after a crash", async () => {
    introduce = () => new Promise(() => undefined);
    conversationAt(ADDRESS).receive(message("a"), message("b"), message("c"));
    introduce = () => ready;
    conversationAt(ADDRESS).runner.resume(clock.now);
    await hasRun(3);
    expect(ran).toEqual(["a", "b", "c"]);
  });

  it("each webhook message is dated when it was said, and of one second at least a millisecond later than the one before", async () => {
    const conversation = conversationAt(ADDRESS);
    const quiet = { kind: "reaction" } as const;
    conversation.receive(message("a", quiet), message("b", quiet), message("c", quiet));
    await vi.waitUntil(() => pulled(conversation).entries.length === 3, PATIENCE);
    const times = pulled(conversation).entries.map(({ messages }) => messages[0]!.createdAt - 900_000);
    expect(times).toEqual([0, 1, 2]);
  });

  it("a webhook message of the second of our last reply is dated after that reply, and one said before it before", async () => {
    const conversation = conversationAt(ADDRESS);
    conversation.receive(message("a"));
    await hasRun(1);
    const repliedAt = clock.now;
    clock.now += 400;
    const quiet = { kind: "reaction", sentAt: Math.floor(repliedAt / 1_000) * 1_000 } as const;
    conversation.receive(message("b", quiet), message("c", { ...quiet, sentAt: repliedAt - 20_000 }));
    await vi.waitUntil(() => pulled(conversation).entries.length === 3, PATIENCE);
    const times = pulled(conversation).entries.map(({ messages }) => messages.at(-1)!.createdAt - repliedAt);
    expect(times).toEqual([1, 2, -20_000]);
  });

  it("a webhook message id of any length is known for eight days", async () => {
    const conversation = conversationAt(ADDRESS);
    const quiet = message("w".repeat(500), { kind: "reaction" });
    conversation.receive(quiet);
    await vi.waitUntil(() => pulled(conversation).entries.length === 1, PATIENCE);
    expect(pulled(conversation).entries[0]!.messages[0]).toMatchObject({
      channelMessageId: quiet.id,
      requestId: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    clock.now += 8 * DAY_MS - 1;
    expect(conversation.receive(quiet)).toMatchObject({ accepted: 0, duplicates: 1 });
    clock.now += 1;
    expect(conversation.receive(quiet)).toMatchObject({ accepted: 1, duplicates: 0 });
  });

  it("a webhook message beyond a thousand waiting ones becomes a dead letter", () => {
    introduce = () => new Promise(() => undefined);
    const conversation = conversationAt(ADDRESS);
    conversation.receive(...Array.from({ length: 1_001 }, (_, index) => message(`m${index}`)));
    expect(deadLetters(conversation)).toMatchObject([
      { kind: "dead_letter", reason: "too_many_waiting", payload: { message: { id: "m1000" } } },
    ]);
    expect(find(conversation, "m999")?.state).toBe("queued");
  });
});

describe("while Postgres is away", () => {
  it("a first message keeps its place while Postgres is unreachable and is resolved again with growing pauses", async () => {
    introduce = () => away;
    const conversation = conversationAt(ADDRESS);
    conversation.receive(message("a"), message("b"));
    const attempts = [clock.now];
    while (attempts.length < 8) {
      if (attempts.length === 7) introduce = () => ready;
      await nextAlarm(conversation);
      if (introduced.length > attempts.length) attempts.push(clock.now);
    }
    const pauses = attempts.slice(1).map((at, index) => at - attempts[index]!);
    expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    await hasRun(2);
    expect(ran).toEqual(["a", "b"]);
  });

  it("a known conversation continues while Postgres is unreachable", async () => {
    const conversation = conversationAt(ADDRESS);
    conversation.receive(message("a"));
    await hasRun(1);
    introduce = () => away;
    conversation.receive(message("b"));
    await hasRun(2);
    expect(conversation.state.get("owner")?.userId).toBe(USER.id);
  });

  it("a message that can't be resolved because of a bug becomes a dead letter after five attempts", async () => {
    introduce = ({ id }) => {
      if (id === "a") throw new Error("a bug");
      return ready;
    };
    const conversation = conversationAt(ADDRESS);
    conversation.receive(message("a"), message("b"));
    while (ran.length === 0) await nextAlarm(conversation);
    expect(introduced).toEqual(["a", "a", "a", "a", "a", "b"]);
    expect(ran).toEqual(["b"]);
    expect(deadLetters(conversation)).toMatchObject([
      { kind: "dead_letter", reason: "not_prepared", payload: { message: { id: "a" } } },
    ]);
  });
});

describe("what a message turns out to be", () => {
  it.each([
    ["no_instance", null],
    ["guests_not_accepted", "brand"],
  ] as const)("a message that is %s becomes one dead letter and no turn", async (reason, brandId) => {
    introduce = () => ({ kind: "rejected", reason, brandId });
    const conversation = conversationAt(ADDRESS);
    conversation.receive(message("a"));
    await vi.waitUntil(() => find(conversation, "a")?.state === "rejected", PATIENCE);
    conversation.receive(message("a"));
    expect(deadLetters(conversation)).toMatchObject([{ kind: "dead_letter", reason, brandId }]);
    expect(ran).toEqual([]);
  });

  it("a message to an instance that can't answer becomes a dead letter", async () => {
    const bundle = demoBundle();
    bundle.config!.templateSet!.functions = {};
    introduce = () => ({ ...ready, bundle });
    const conversation = conversationAt(ADDRESS);
    conversation.receive(message("a"));
    await vi.waitUntil(() => find(conversation, "a")?.state === "rejected", PATIENCE);
    expect(deadLetters(conversation)).toMatchObject([{ reason: "not_configured" }]);
  });

  it("a message that Postgres already has is skipped", async () => {
    introduce = () => ({ kind: "known" });
    const conversation = conversationAt(ADDRESS);
    conversation.receive(message("a"));
    await vi.waitUntil(() => find(conversation, "a")?.state === "done", PATIENCE);
    expect(pulled(conversation)).toMatchObject({ entries: [], notices: [] });
  });

  it("a number that moves to another brand takes nothing of the earlier conversation along", async () => {
    const conversation = conversationAt(ADDRESS);
    conversation.receive(message("a"));
    await hasRun(1);
    const before = conversation.state.get("session")!;
    const other = { ...USER, id: "01a203c1-5b09-7963-9685-2aef74277b11" };
    const brandId = "00000000-0000-4000-8000-000000000002";
    introduce = () => ({ kind: "ready", bundle: demoBundle({ brandId }), user: other, openSession: null });
    clock.now += 1_000;
    conversation.receive(message("b"));
    await hasRun(2);
    const { state } = conversation;
    expect(state.get("owner")).toEqual({ brandId, userId: other.id });
    expect(state.get("session")!.id).not.toBe(before.id);
    expect(pulled(conversation).entries.at(-1)?.closed?.sessionId).toBe(before.id);
  });
});

describe("a caller who waits behind a message that is long being prepared", () => {
  const HOUR_MS = 3_600_000;
  /** Says something as the brand's own system does, and gives the turn it waits for. */
  const say = (conversation: ReturnType<typeof conversationAt>, requestId: string) => {
    const said = submission(requestId, `says ${requestId}`, { channel: "whatsapp", user: USER });
    const outcome = conversation.submit(said);
    return { ...find(conversation, requestId)!, outcome };
  };
  /** A conversation with a message in it that is being prepared. */
  const busy = async () => {
    const conversation = conversationAt(ADDRESS);
    conversation.receive(message("a"));
    await hasRun(1);
    const asked = Promise.withResolvers<Resolution>();
    introduce = ({ id }) => (id === "b" ? asked.promise : ready);
    return { conversation, asked };
  };

  it("a caller behind a slow message is answered in the session that was open at their request", async () => {
    const { conversation, asked } = await busy();
    conversation.receive(message("b"));
    const { sessionId } = say(conversation, "c");
    clock.now += 2 * HOUR_MS;
    asked.resolve(ready);
    await hasRun(3);
    expect(ran).toEqual(["a", "b", "c"]);
    expect(find(conversation, "b")?.sessionId).toBe(sessionId);
    expect(conversation.state.get("session")?.id).toBe(sessionId);
  });

  const BRAND = "00000000-0000-4000-8000-000000000002";
  it("a caller is answered when the contact changes numbers while they wait", async () => {
    const { conversation, asked } = await busy();
    const newIdentity = { phone: "+16505559999", userId: null };
    conversation.receive(message("b", { kind: "system", role: "system", newIdentity }));
    const { sessionId, outcome } = say(conversation, "c");
    asked.resolve(ready);
    expect(await outcome).toMatchObject({ kind: "answered", answer: { session_id: sessionId } });
    expect(conversation.state.get("session")?.id).toBe(sessionId);
  });

  it("a caller is refused when the number changes hands while they wait", async () => {
    const found = { ...ready, bundle: demoBundle({ brandId: BRAND }), user: { ...USER, id: BRAND } };
    const { conversation, asked } = await busy();
    conversation.receive(message("b"), message("d", { kind: "reaction" }));
    const { turnId, outcome } = say(conversation, "c");
    asked.resolve(found);
    introduce = () => found;
    expect(await outcome).toMatchObject({ kind: "refused", code: "RESOURCE_NOT_FOUND" });
    await vi.waitUntil(() => find(conversation, "d")?.state === "done", PATIENCE);
    expect(ran).not.toContain("c");
    expect(deadLetters(conversation)).toMatchObject([
      {
        id: turnId,
        brandId: ready.bundle.instance.brandId,
        reason: "conversation_left",
        payload: { message: { content: "says c" } },
      },
    ]);
  });
});

describe("a conversation that is erased while messages wait to be prepared", () => {
  const HOUR_MS = 3_600_000;
  const TIMES = { rememberMs: 8 * DAY_MS, sessionTimeoutMs: HOUR_MS };
  const erased = (conversation: ReturnType<typeof conversationAt>, sessionId: string) => {
    const { brandId, userId } = conversation.state.get("owner")!;
    const ending = { sessionId, caller: { kind: "user" as const, brandId, userId }, session: null };
    const { outcome, turnIds } = erase(conversation, ending, { now: clock.now, ...TIMES });
    expect(outcome.kind).toBe("erased");
    conversation.runner.cancel(turnIds);
  };
  /** A conversation in which something was said, and the id of its session. */
  const begun = async () => {
    const conversation = conversationAt(ADDRESS);
    conversation.receive(message("a"));
    await hasRun(1);
    return { conversation, sessionId: conversation.state.get("session")!.id };
  };

  it("an erasure removes waiting messages, and none of them runs when delivered again", async () => {
    const { conversation, sessionId } = await begun();
    introduce = () => away;
    conversation.state.remove("bundle");
    conversation.receive(message("b"), message("c"));
    await resting();
    expect(introduced).toContain("b");
    erased(conversation, sessionId);
    introduce = () => ready;
    clock.now += 60_000;
    conversation.runner.resume(clock.now);
    expect([find(conversation, "b"), find(conversation, "c")]).toMatchObject([
      { state: "rejected", inbound: null },
      { state: "rejected", inbound: null },
    ]);
    expect(conversation.receive(message("b"), message("d"))).toMatchObject({ accepted: 1, duplicates: 1 });
    await hasRun(2);
    expect(ran).toEqual(["a", "d"]);
    expect(conversation.state.get("session")!.id).not.toBe(sessionId);
  });

  it.each([
    ["a gesture", { kind: "reaction" }, ready],
    ["one that is to be answered", {}, ready],
    ["one that nothing can be made of", {}, { kind: "rejected", reason: "no_config", brandId: null }],
  ] as const)("an erasure removes a message that is being resolved: %s", async (_which, changes, preparation) => {
    const { conversation, sessionId } = await begun();
    const asked = Promise.withResolvers<Resolution>();
    introduce = ({ id }) => (id === "b" ? asked.promise : ready);
    conversation.receive(message("b", changes));
    await resting();
    expect(introduced).toContain("b");
    erased(conversation, sessionId);
    asked.resolve(preparation);
    conversation.receive(message("c", { kind: "reaction" }));
    await vi.waitUntil(() => find(conversation, "c")?.state === "done", PATIENCE);
    const { entries } = pulled(conversation);
    expect(entries.flatMap(({ messages }) => messages.map(({ channelMessageId }) => channelMessageId))).toEqual(["c"]);
    expect([deadLetters(conversation), ran]).toEqual([[], ["a"]]);
  });

  it("an erasure removes waiting dead letters of its session only", async () => {
    introduce = ({ id }) => (id === "a" ? ready : { kind: "rejected", reason: "no_config", brandId: null });
    const conversation = conversationAt(ADDRESS);
    conversation.receive(message("z"));
    clock.now += 1_000;
    conversation.receive(message("a"), message("b"));
    await vi.waitUntil(() => find(conversation, "b")?.state === "rejected", PATIENCE);
    erased(conversation, conversation.state.get("session")!.id);
    expect(deadLetters(conversation)).toMatchObject([{ payload: { message: { id: "z" } } }]);
  });

  it("an erasure keeps the messages that begin the next session", async () => {
    const { conversation, sessionId } = await begun();
    introduce = () => new Promise(() => undefined);
    // The answer was given a millisecond after the message.
    clock.now += HOUR_MS + 2;
    conversation.receive(message("b"));
    erased(conversation, sessionId);
    expect(find(conversation, "b")).toMatchObject({ state: "queued", inbound: { message: { id: "b" } } });
  });
});
