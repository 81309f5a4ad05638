import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { accept, knownMessages } from "../../../../durable-objects/conversation/channel/accept.ts";
import {
  acceptAlias,
  assignNumber,
  releaseNumber,
} from "../../../../durable-objects/conversation/channel/forwarding.ts";
import { route } from "../../../../durable-objects/conversation/channel/route.ts";
import type { Storage } from "../../../../durable-objects/runtime/storage.ts";
import { receiveWhatsAppWebhook } from "../../../../src/flows/receive-whatsapp-webhook.ts";
import type { Conversation } from "../../../../src/rpc/conversation.ts";
import { addresses } from "../../../support/addresses.ts";
import { demoBundle } from "../../../support/bundle.ts";
import { answering, conversationOver, objectDeps } from "../../../support/conversation.ts";
import { sqliteStorage } from "../../../support/sqlite-storage.ts";
import { change, messages, notification, text } from "../../../support/whatsapp.ts";

const BUSINESS = { number: null, phoneNumberId: "100000000000001" };
const [P, P2] = ["16505550001", "16505550002"];
const [A, B, C] = ["US.1001", "US.1002", "US.1003"];

const byPhone = (phone: string) => addresses.whatsapp(BUSINESS, { phone: `+${phone}`, userId: null });
const byId = (userId: string) => addresses.whatsapp(BUSINESS, { phone: null, userId });

/** Conversations at any number of addresses, whose calls go over a copy: only Postgres and the platform are missing. */
function world(pause: () => number = () => 0) {
  const clock = { now: 1_000_000 };
  const storages = new Map<string, Storage>();
  const objects = new Map<string, ReturnType<typeof conversationOver>>();
  /** The address at which each message was answered or recorded. */
  const heard: { content: string; address: string; history: string[] }[] = [];
  const calls = { now: 0, most: 0 };
  const lines: Record<string, any>[] = [];

  const at = (address: string) => {
    const known = objects.get(address);
    if (known !== undefined) return known;
    const storage = storages.get(address) ?? sqliteStorage();
    storages.set(address, storage);
    const { deps, lines: own } = objectDeps({
      now: () => clock.now,
      conversation: rpc,
      resolveWebhookMessage: async () => ({
        kind: "ready",
        bundle: demoBundle(),
        user: { id: "01a203c1-5b09-7963-9685-2aef74277b10", tier: "verified" },
        openSession: null,
      }),
      orchestrator: answering(async ({ message, history }) => {
        heard.push({ content: message.content, address, history: history.map(({ content }) => content) });
        return { text: `re: ${message.content}` };
      }),
    });
    const object = conversationOver({ storage, deps, address });
    own.push = (...added) => lines.push(...added);
    objects.set(address, object);
    return object;
  };
  const rpc = (address: string): Conversation => {
    const call =
      <Args extends unknown[], Result>(method: (...args: Args) => Result | Promise<Result>) =>
      async (...args: Args): Promise<Result> => {
        calls.now += 1;
        calls.most = Math.max(calls.most, calls.now);
        try {
          // The calls of several requests interleave as the test says.
          for (let turns = pause(); turns > 0; turns -= 1) await new Promise((resolve) => void setImmediate(resolve));
          return structuredClone(await method(...structuredClone(args)));
        } finally {
          calls.now -= 1;
        }
      };
    return {
      receive: call((batch) => accept(at(address), batch)),
      acceptAlias: call((...claim) => acceptAlias(at(address), ...claim)),
      assignNumber: call((primary) => assignNumber(at(address), primary)),
      releaseNumber: call((path) => releaseNumber(at(address), path)),
      knownMessages: call((...asked) => knownMessages(at(address), ...asked)),
    } as Partial<Conversation> as Conversation;
  };

  const { log } = objectDeps({ now: () => clock.now }).deps;
  const webhook = (payload: unknown) =>
    receiveWhatsAppWebhook(
      { conversation: rpc, log, addresses, read: () => Promise.reject(new Error("nothing is looked up")) },
      payload,
      { traceId: "trace", receivedAt: clock.now },
    );
  return {
    clock,
    at,
    heard,
    calls,
    lines,
    /** Delivers a notification, and lets the turns it begins finish. */
    notify: async (payload: unknown) => {
      clock.now += 1_000;
      const summary = await webhook(payload);
      await rest();
      return summary;
    },
    webhook,
    /** Every object starts again from what it stored. */
    restart: () => objects.clear(),
  };
}

/** Lets what runs finish: everything here is answered at once. */
async function rest(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => void setImmediate(resolve));
}

type World = ReturnType<typeof world>;
type From = { phone?: string; userId?: string };

let nextId = 0;
const newId = () => `wamid.test-${(nextId += 1)}`;

/** A user writes; returns the address that answered and the history it was answered with. */
async function speak(place: World, from: From, body: string = newId(), id: string = newId()) {
  await place.notify(messages(text(from, body, { id })));
  const found = place.heard.filter(({ content }) => content === body);
  expect(found.map(({ content }) => content)).toEqual([body]);
  return found[0]!;
}

const idUpdate = (previous: string, current: string, phone?: string) =>
  notification(
    change(
      { user_id_update: [{ ...(phone ? { wa_id: phone } : {}), user_id: { previous, current } }] },
      "user_id_update",
    ),
  );
const changedNumber = (from: From, phone: string, userId?: string, id = newId()) =>
  messages({
    id,
    ...(from.phone ? { from: from.phone } : {}),
    ...(from.userId ? { from_user_id: from.userId } : {}),
    type: "system",
    system: { type: "user_changed_number", wa_id: phone, ...(userId ? { user_id: userId } : {}), body: "changed" },
  });
const changedId = (system: Record<string, unknown>, from?: string, id = newId()) =>
  messages({ id, ...(from ? { from } : {}), type: "system", system: { type: "user_changed_user_id", ...system } });

describe("the addresses of one contact", () => {
  it("an address without a conversation forwards to the one that has a conversation", async () => {
    const place = world();
    const first = await speak(place, { userId: A });
    const second = await speak(place, { phone: P, userId: A });
    expect([first.address, second.address]).toEqual([byId(A), byId(A)]);
    expect((await speak(place, { phone: P })).address).toBe(byId(A));
  });

  it("two new addresses of a person are one conversation at the number's address", async () => {
    const place = world();
    expect((await speak(place, { phone: P, userId: A })).address).toBe(byPhone(P));
    expect((await speak(place, { userId: A })).address).toBe(byPhone(P));
  });

  it("two addresses with conversations are one from now on, at the older one", async () => {
    const place = world();
    await speak(place, { userId: A });
    await speak(place, { phone: P });
    for (const from of [{ phone: P, userId: A }, { phone: P }, { userId: A }]) {
      expect((await speak(place, from)).address).toBe(byId(A));
    }
  });

  it("two addresses that claim each other at once forward in one direction", async () => {
    const place = world();
    await Promise.all([
      place.webhook(messages(text({ phone: P, userId: A }, "one", { id: newId() }))),
      place.webhook(idUpdate(A, B)),
      place.webhook(messages(text({ phone: P2, userId: B }, "two", { id: newId() }))),
      place.webhook(messages(text({ phone: P, userId: B }, "three", { id: newId() }))),
    ]);
    await rest();
    const homes = [byPhone(P), byPhone(P2), byId(A), byId(B)].filter(
      (address) => place.at(address).state.get("forwardsTo") === null,
    );
    expect(homes).toHaveLength(1);
  });

  it("the number of a contact as the only contact of a change names it is the same contact's", async () => {
    const place = world();
    const first = await speak(place, { phone: P });
    const body = newId();
    await place.notify(
      notification(
        change({ contacts: [{ wa_id: P2, user_id: A }], messages: [text({ phone: P }, body, { id: newId() })] }),
      ),
    );
    expect((await speak(place, { phone: P2 })).history).toContain(body);
    expect((await speak(place, { userId: A })).address).toBe(first.address);
  });

  it("a contact beside messages of two senders is neither's, unless it names one of them", async () => {
    const place = world();
    const sent = [text({ phone: P }, "one", { id: newId() }), text({ phone: P2 }, "two", { id: newId() })];
    await place.notify(notification(change({ contacts: [{ wa_id: "16505550009", user_id: A }], messages: sent })));
    expect((await speak(place, { userId: A })).history).toEqual([]);
  });
});

describe("a contact who changes their phone number", () => {
  it("a contact who changes numbers stays in the conversation, and the old number is a new user's", async () => {
    const place = world();
    const first = await speak(place, { phone: P }, "Before");
    await place.notify(changedNumber({ phone: P }, P2));
    const after = await speak(place, { phone: P2 }, "After");
    expect(after.address).toBe(first.address);
    expect(after.history).toContain("Before");
    const stranger = await speak(place, { phone: P }, "Who is this?");
    expect(stranger.history).toEqual([]);
    expect((await speak(place, { phone: P })).address).toBe(stranger.address);
    expect((await speak(place, { phone: P2 })).history).not.toContain("Who is this?");
  });

  it("a contact who changes numbers stays in the conversation also when the new number wrote before the notice", async () => {
    const place = world();
    const first = await speak(place, { phone: P }, "Before");
    await speak(place, { phone: P2 }, "Already here");
    await place.notify(changedNumber({ phone: P }, P2));
    const after = await speak(place, { phone: P2 }, "After");
    expect(after.address).toBe(first.address);
    expect(after.history).toContain("Before");
  });

  it("a contact who changes numbers keeps the new number's conversation when the old number has none", async () => {
    const place = world();
    const first = await speak(place, { phone: P2 }, "Before");
    await place.notify(changedNumber({ phone: P }, P2));
    expect((await speak(place, { phone: P2 })).address).toBe(first.address);
  });

  it("a contact who changes numbers and back again has one conversation", async () => {
    const place = world();
    const first = await speak(place, { phone: P }, "Before");
    await place.notify(changedNumber({ phone: P }, P2));
    await place.notify(changedNumber({ phone: P2 }, P));
    expect((await speak(place, { phone: P })).address).toBe(first.address);
  });

  it("a number change and a stranger's message in one notification are kept apart", async () => {
    const place = world();
    const first = await speak(place, { phone: P }, "Before");
    const notice = changedNumber({ phone: P }, P2).entry[0].changes[0].value.messages[0];
    const later = String(Math.floor(place.clock.now / 1000) + 1);
    await place.notify(
      messages({ ...notice, timestamp: "900" }, text({ phone: P }, "New here", { id: newId(), timestamp: later })),
    );
    const stranger = place.heard.find(({ content }) => content === "New here")!;
    expect(stranger.address).not.toBe(first.address);
    expect(stranger.history).toEqual([]);
  });

  it("a late message does not lead a stranger on the old number to the former holder", async () => {
    const place = world();
    const first = await speak(place, { phone: P, userId: A }, "Secret");
    await place.notify(changedNumber({ phone: P }, P2, A));
    await speak(place, { phone: P }, "New here");
    const late = await speak(place, { phone: P, userId: A }, "Sent before the change");
    expect(late.address).toBe(first.address);
    expect((await speak(place, { phone: P }, "Still here")).history).not.toContain("Secret");
  });
});

describe("a message that is delivered again", () => {
  it.each([
    ["its number was reassigned", { phone: P2 }, changedNumber({ phone: P }, P2)],
    ["its number was released", { phone: P }, changedNumber({ phone: P }, P2)],
    ["its conversation became another's alias", { userId: B }, idUpdate(A, B, P)],
  ])("a message delivered again is a duplicate although %s meanwhile", async (_what, from, notice) => {
    const place = world();
    await speak(place, { phone: P, userId: A });
    const message = text(from, "Once", { id: newId() });
    await place.notify(messages(message));
    await place.notify(notice);
    expect(await place.notify(messages(message))).toMatchObject({ duplicates: 1 });
    expect(place.heard.filter(({ content }) => content === "Once")).toHaveLength(1);
  });

  it("a notice that is delivered again releases the number once", async () => {
    const place = world();
    await speak(place, { phone: P });
    const notice = changedNumber({ phone: P }, P2);
    await place.notify(notice);
    const stranger = await speak(place, { phone: P });
    expect(await place.notify(notice)).toMatchObject({ duplicates: 1 });
    expect((await speak(place, { phone: P })).address).toBe(stranger.address);
  });
});

const texts: From[] = [P, P2].flatMap((phone) => [{ phone }, ...[A, B, C].map((userId) => ({ phone, userId }))]);
/** A message or an identity notice of one person with two numbers and three ids, as a notification. */
const step = fc.oneof(
  fc.constantFrom(...texts, { userId: A }, { userId: B }, { userId: C }).map((from) => ({ from })),
  fc
    .record({ edge: fc.constantFrom([A, B], [B, C], [A, C]), phone: fc.constantFrom(undefined, P, P2) })
    .map(({ edge: [previous, current], phone }) => ({
      payload: () => idUpdate(previous, current, phone),
    })),
  fc
    .record({
      edge: fc.constantFrom([A, B], [B, C]),
      from: fc.constantFrom(undefined, P, P2),
      wa: fc.constantFrom(P, P2),
    })
    .map(({ edge: [previous_user_id, user_id], from, wa }) => ({
      payload: () => changedId({ user_id, wa_id: wa, ...(from ? {} : { previous_user_id }) }, from),
    })),
  fc
    .record({
      userId: fc.constantFrom(undefined, A, B, C),
      from: fc.constantFrom({ phone: P }, { phone: P, userId: A }),
    })
    .map(({ userId, from }) => ({ payload: () => changedNumber(from, P2, userId) })),
);

/** The notification of a step. */
const payloadOf = (step: { from: From } | { payload: () => unknown }): unknown =>
  "from" in step ? messages(text(step.from, newId(), { id: newId() })) : step.payload();

/** Tells that all ids are one person's and the second number is theirs now: then everything they write is in one place. */
async function expectOneConversation(place: World): Promise<void> {
  for (const payload of [idUpdate(A, B), idUpdate(B, C), changedNumber({ phone: P }, P2, C)])
    await place.notify(payload);
  await speak(place, { phone: P2, userId: C });
  const found = new Set<string>();
  for (const from of [{ phone: P2 }, { userId: A }, { userId: B }, { userId: C }, { phone: P2, userId: A }]) {
    found.add((await speak(place, from)).address);
  }
  expect(found.size).toBe(1);
  expect(place.lines.filter(({ event }) => event === "forwarding_loop")).toEqual([]);
}

describe("identity notices can't make a circle", () => {
  it("an id update and a change to the same number", async () => {
    const place = world();
    await place.notify(idUpdate(A, B, P2));
    await place.notify(changedNumber({ phone: P }, P2, B));
    const both = await speak(place, { phone: P2, userId: B });
    expect((await speak(place, { phone: P2 })).address).toBe(both.address);
    expect((await speak(place, { userId: B })).address).toBe(both.address);
    expect((await speak(place, { userId: A })).address).toBe(both.address);
  });

  it("a changed id, the new number's own message and a change of number", async () => {
    const place = world();
    await place.notify(changedId({ user_id: B, wa_id: P2 }, P));
    await speak(place, { phone: P2 });
    await place.notify(changedNumber({ phone: P }, P2));
    const after = await speak(place, { phone: P2 });
    expect((await speak(place, { phone: P2, userId: B })).address).toBe(after.address);
  });

  it("every order and repetition of notices and messages ends in one conversation", { timeout: 120_000 }, async () => {
    const steps = fc.array(fc.record({ step, again: fc.integer({ min: 0, max: 2 }), restart: fc.boolean() }), {
      minLength: 1,
      maxLength: 12,
    });
    await fc.assert(
      fc.asyncProperty(steps, async (sequence) => {
        const place = world();
        const sent: unknown[] = [];
        for (const { step, again, restart } of sequence) {
          const payload = payloadOf(step);
          sent.push(payload);
          if (restart) place.restart();
          await place.notify(payload);
          // What was delivered before may be delivered again at any time.
          for (let count = 0; count < again; count += 1)
            await place.notify(sent[(sent.length * 7 + count) % sent.length]);
        }
        await expectOneConversation(place);
        const contents = place.heard.map(({ content }) => content);
        expect(new Set(contents).size).toBe(contents.length);
      }),
      { numRuns: 40 },
    );
  });

  it("notices and messages that arrive at once, in any order of their calls, end in one conversation", async () => {
    const groups = fc.array(fc.array(step, { minLength: 2, maxLength: 4 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(groups, fc.infiniteStream(fc.integer({ min: 0, max: 3 })), async (sequence, pauses) => {
        const place = world(() => pauses.next().value ?? 0);
        for (const group of sequence) {
          await Promise.all(group.map((step) => place.webhook(payloadOf(step))));
          await rest();
        }
        await expectOneConversation(place);
      }),
      { numRuns: 40 },
    );
  }, 120_000);

  it("addresses that were stored as a circle are refused once, and heal", async () => {
    const place = world();
    place.at(byPhone(P)).state.set("forwardsTo", byId(A));
    place.at(byId(A)).state.set("forwardsTo", byPhone(P));
    const message = messages(text({ phone: P }, "Anybody?", { id: newId() }));
    await expect(place.notify(message)).rejects.toMatchObject({ code: "SERVICE_UNAVAILABLE" });
    expect(place.lines).toMatchObject([{ event: "forwarding_loop", level: "error", address: byPhone(P) }]);
    expect(place.calls.most).toBeLessThan(5);
    await place.notify(message);
    expect(place.heard.map(({ content }) => content)).toEqual(["Anybody?"]);
    expect((await speak(place, { userId: A })).address).toBe(place.heard[0]!.address);
  });

  it("a call with too many hops is refused", () => {
    const place = world();
    const via = Array.from({ length: 16 }, (_, index) => `address ${index}`);
    expect(route({ ...place.at(byPhone(P)) }, via)).toEqual({ kind: "loop" });
  });
});
