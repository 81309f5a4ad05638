import { beforeEach, describe, expect, it } from "vitest";
import { DeliverySender } from "../../../../durable-objects/conversation/channel/sender.ts";
import { DeliveryStore } from "../../../../durable-objects/conversation/stores/deliveries.ts";
import { MIGRATIONS } from "../../../../durable-objects/conversation/stores/schema.ts";
import { migrate } from "../../../../durable-objects/runtime/migrate.ts";
import type { Storage } from "../../../../durable-objects/runtime/storage.ts";
import type { ChannelSender, Remedy, SendOutcome } from "../../../../src/channels/channel.ts";
import type { ChannelIdentity } from "../../../../src/domain/inbound-message.ts";
import type { Delivery } from "../../../../src/domain/delivery.ts";
import { createLogger } from "../../../../src/telemetry/logger.ts";
import { sqliteStorage } from "../../../support/sqlite-storage.ts";

const ONE = "01900000-0000-7000-8000-000000000012";
const TWO = "01900000-0000-7000-8000-000000000022";
const DAY_MS = 86_400_000;

type Sent = { phoneNumberId: string; body: Record<string, unknown>; answer: (outcome: SendOutcome) => Promise<void> };

let storage: Storage;
let clock: { now: number };
let sent: Sent[];
let wakes: number[];
let lines: Record<string, any>[];
let isOpen: boolean;
/** Every delivery that was told, by message, in order. */
let learned: [string, ChannelIdentity][];
let told: [string, Delivery][];
/** What was sent instead of the message, beside each of them. */
let contents: (string | null)[];

beforeEach(() => {
  storage = sqliteStorage();
  migrate(storage, MIGRATIONS);
  clock = { now: 1_000_000 };
  sent = [];
  wakes = [];
  lines = [];
  told = [];
  learned = [];
  contents = [];
  isOpen = true;
});

/** One incarnation of the courier over what is stored; the test answers for the Graph API. */
function incarnation({ isConfigured = true } = {}) {
  const deliveries = new DeliveryStore(storage);
  const background: Promise<void>[] = [];
  const send: ChannelSender = (phoneNumberId, body) => {
    const { promise, resolve } = Promise.withResolvers<SendOutcome>();
    const answer = async (outcome: SendOutcome) => {
      resolve(outcome);
      await background.at(-1);
    };
    sent.push({ phoneNumberId, body, answer });
    return promise;
  };
  const courier = new DeliverySender({
    deliveries,
    sender: () => (isConfigured ? send : null),
    isWindowOpen: () => isOpen,
    learned: ({ messageId }, recipient) => learned.push([messageId, recipient]),
    changed: (messageId) => {
      const news = deliveries.takeChange(messageId);
      if (news !== null) told.push([messageId, news.delivery]);
      if (news !== null) contents.push(news.content);
    },
    background: (work) => background.push(work),
    wake: (at) => wakes.push(at),
    now: () => clock.now,
    random: () => 0,
    log: createLogger({
      level: "info",
      format: "json",
      name: "conversation",
      write: (line) => lines.push(JSON.parse(line)),
      now: () => clock.now,
    }),
  });
  return { deliveries, courier };
}

const text = (body: string) => ({ type: "text", text: { body } });
const parcel = (
  messageId: string,
  bodies: string[],
  template: { request: Record<string, unknown>; text: string } | null = null,
) => ({
  messageId,
  channel: "whatsapp" as const,
  brandId: "brand",
  phoneNumberId: "100",
  requests: bodies.map(text),
  template,
});
const bodies = () => sent.map(({ body }) => (body.text as { body?: string } | undefined)?.body ?? body.type);
const states = () => told.map(([, { state }]) => state);
const refused = (code: number, remedy: Remedy, retryAfterMs: number | null = null): SendOutcome => ({
  kind: "refused",
  error: { code, reason: "No" },
  remedy,
  retryAfterMs,
});
const TEMPLATE = {
  request: { type: "template", template: { name: "come_back", language: { code: "en" } } },
  text: "Come back",
};
const retry = (pace: "rate" | "pair" | "transient"): Remedy => ({ kind: "retry", pace });

describe("what is said to a person", () => {
  it("replies are sent in order, with all parts of one before the next", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1a", "1b"]), clock.now);
    deliveries.queue(parcel(TWO, ["2"]), clock.now);
    courier.sendNext();
    courier.sendNext();
    expect(bodies()).toEqual(["1a"]);
    for (const id of ["a", "b", "c"]) await sent.at(-1)!.answer({ kind: "sent", id, recipient: null });
    expect(bodies()).toEqual(["1a", "1b", "2"]);
    expect(told).toEqual([
      [ONE, { state: "queued", ids: ["a"] }],
      [ONE, { state: "sent", ids: ["a", "b"] }],
      [TWO, { state: "sent", ids: ["c"] }],
    ]);
    expect(deliveries.waiting()).toBe(0);
  });

  it("a reply waits until the one before it was accepted", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    deliveries.queue(parcel(TWO, ["2"]), clock.now);
    courier.sendNext();
    await sent[0]!.answer(refused(131056, retry("pair")));
    expect(bodies()).toEqual(["1"]);
    clock.now += 6_000;
    courier.resume(clock.now);
    expect(bodies()).toEqual(["1", "1"]);
  });
});

describe("a refusal that will pass", () => {
  it.each([
    ["pair", 6_000],
    ["rate", 1_000],
    ["transient", 1_000],
  ] as const)("a transient refusal by %s is retried after %i ms, then after twice as long", async (pace, first) => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    courier.sendNext();
    await sent[0]!.answer(refused(1, retry(pace)));
    expect(courier.resume(clock.now)).toBe(clock.now + first);
    clock.now += first - 1;
    courier.sendNext();
    expect(sent).toHaveLength(1);
    clock.now += 1;
    courier.sendNext();
    await sent[1]!.answer(refused(1, retry(pace)));
    expect(courier.resume(clock.now)).toBe(clock.now + 2 * first);
    clock.now += 2 * first;
    courier.sendNext();
    await sent[2]!.answer({ kind: "sent", id: "a", recipient: null });
    expect(states()).toEqual(["queued", "sent"]);
  });

  it("a refusal with a retry time is retried no earlier", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    courier.sendNext();
    await sent[0]!.answer(refused(130429, retry("rate"), 60_000));
    expect(courier.resume(clock.now)).toBe(clock.now + 60_000);
  });

  it("a reply is given up after twelve attempts with the reason", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    for (let attempt = 0; attempt < 12; attempt += 1) {
      clock.now = courier.resume(clock.now) ?? clock.now;
      courier.sendNext();
      await sent.at(-1)!.answer(refused(131000, retry("transient")));
    }
    expect(sent).toHaveLength(12);
    expect(told.at(-1)).toEqual([ONE, { state: "failed", ids: [], error: { code: 131000, reason: "No" } }]);
    expect(courier.resume(clock.now)).toBeNull();
  });
});

describe("a refusal for good", () => {
  it("a permanent refusal fails the reply, and the next one is sent", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1a", "1b"]), clock.now);
    deliveries.queue(parcel(TWO, ["2"]), clock.now);
    courier.sendNext();
    await sent[0]!.answer(refused(131026, { kind: "give_up", alert: false }));
    expect(bodies()).toEqual(["1a", "2"]);
    expect(told).toEqual([[ONE, { state: "failed", ids: [], error: { code: 131026, reason: "No" } }]]);
    expect(lines).toMatchObject([{ level: "warn", event: "delivery_failed", code: 131026 }]);
  });

  it("a refused token or account is logged as an error", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    courier.sendNext();
    await sent[0]!.answer(refused(190, { kind: "give_up", alert: true }));
    expect(lines).toMatchObject([{ level: "error", event: "delivery_failed", code: 190 }]);
  });
});

describe("more than 24 hours after the person wrote", () => {
  const request = { type: "template", template: { name: "come_back", language: { code: "en" } } };
  const template = { request, text: "Come back, Ann" };

  it("a reply outside the service window is not sent without a template", () => {
    isOpen = false;
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    courier.sendNext();
    expect(sent).toEqual([]);
    expect(told).toMatchObject([[ONE, { state: "failed", error: { code: "WINDOW_CLOSED" } }]]);
  });

  it("a reply outside the service window is sent as the template", () => {
    isOpen = false;
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"], template), clock.now);
    courier.sendNext();
    expect(bodies()).toEqual(["template"]);
  });

  it("a reply that the channel refuses for the service window is sent as the template once", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"], template), clock.now);
    courier.sendNext();
    await sent[0]!.answer(refused(131047, { kind: "template" }));
    expect(bodies()).toEqual(["1", "template"]);
    await sent[1]!.answer(refused(131047, { kind: "template" }));
    expect(sent).toHaveLength(2);
    expect(told.at(-1)).toMatchObject([ONE, { state: "failed", error: { code: 131047 } }]);
  });

  it("a template that was sent is named in the delivery and its text is what was sent, whatever the message had of parts", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1a", "1b"], template), clock.now);
    courier.sendNext();
    await sent[0]!.answer(refused(131047, { kind: "template" }));
    expect(contents).toEqual([null]);
    await sent[1]!.answer({ kind: "sent", id: "a", recipient: null });
    expect(told.at(-1)).toEqual([ONE, { state: "sent", ids: ["a"], template: { name: "come_back", language: "en" } }]);
    expect(contents.at(-1)).toBe("Come back, Ann");
    expect(bodies()).toEqual(["1a", "template"]);
    expect(deliveries.waiting()).toBe(0);
  });

  it("a message that failed is sent again when it is queued again, and one that was sent is not", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    courier.sendNext();
    await sent[0]!.answer(refused(131026, { kind: "give_up", alert: false }));
    expect(deliveries.isUnderWay(ONE)).toBe(false);
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    courier.sendNext();
    await sent[1]!.answer({ kind: "sent", id: "a", recipient: null });
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    courier.sendNext();
    expect(bodies()).toEqual(["1", "1"]);
    expect(states()).toEqual(["failed", "sent"]);
  });
});

describe("what left us without an answer", () => {
  it("a reply without a response is unknown and is not sent again", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    courier.sendNext();
    await sent[0]!.answer({ kind: "unknown", error: { code: "NO_ANSWER", reason: "?" } });
    clock.now += DAY_MS;
    courier.resume(clock.now);
    expect(sent).toHaveLength(1);
    expect(states()).toEqual(["unknown"]);
  });

  it("a reply is unknown after a crash and not sent again, and the next one is sent", () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    deliveries.queue(parcel(TWO, ["2"]), clock.now);
    courier.sendNext();
    expect(wakes.at(-1)).toBeGreaterThan(clock.now);
    incarnation().courier.resume(clock.now);
    expect(bodies()).toEqual(["1", "2"]);
    expect(told).toMatchObject([[ONE, { state: "unknown" }]]);
  });

  it("an unknown reply is settled by a status with our reference, also one that arrives first", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    courier.sendNext();
    expect(deliveries.applyStatus({ id: "a", reference: ONE, state: "delivered", error: null })).toBe(ONE);
    await sent[0]!.answer({ kind: "sent", id: "a", recipient: null });
    expect(told.at(-1)).toEqual([ONE, { state: "delivered", ids: ["a"] }]);
  });

  it("a refused reply is not sent again once a status reports its delivery", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    courier.sendNext();
    deliveries.applyStatus({ id: "a", reference: ONE, state: "sent", error: null });
    await sent[0]!.answer(refused(131000, retry("transient")));
    clock.now += DAY_MS;
    courier.resume(clock.now);
    expect(sent).toHaveLength(1);
  });
});

describe("news", () => {
  it("a status without our reference is matched by the channel's message id", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    courier.sendNext();
    await sent[0]!.answer({ kind: "sent", id: "a", recipient: null });
    expect(deliveries.applyStatus({ id: "a", reference: null, state: "read", error: null })).toBe(ONE);
    expect(deliveries.takeChange(ONE)?.delivery.state).toBe("read");
  });

  it("a status of a message sent elsewhere is passed on without an owner", () => {
    const { deliveries } = incarnation();
    expect(deliveries.applyStatus({ id: "b", reference: null, state: "read", error: null })).toBeNull();
    expect(deliveries.applyStatus({ id: "b", reference: TWO, state: "read", error: null })).toBeNull();
  });

  it("a status is awaited for 30 days", () => {
    const { deliveries } = incarnation();
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    expect(deliveries.sweep(clock.now + 30 * DAY_MS - 1)).toBe(clock.now + 30 * DAY_MS);
    expect(deliveries.sweep(clock.now + 30 * DAY_MS)).toBeNull();
  });
});

it("replies are not sent without an access token, and the reason is logged", () => {
  const { deliveries, courier } = incarnation({ isConfigured: false });
  deliveries.queue(parcel(ONE, ["1"]), clock.now);
  courier.sendNext();
  expect(told).toMatchObject([[ONE, { state: "failed", error: { code: "NOT_CONFIGURED" } }]]);
});

describe("a window that was closed when the channel delivered", () => {
  const closed = { code: 131047, reason: "Re-engagement message" };
  const failed = (id: string, messageId = ONE) => ({
    id,
    reference: messageId,
    state: "failed" as const,
    error: closed,
    needsTemplate: true,
  });

  it("a status of a closed service window sends the template once instead of all parts", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1a", "1b"], TEMPLATE), clock.now);
    courier.sendNext();
    for (const id of ["a", "b"]) await sent.at(-1)!.answer({ kind: "sent", id, recipient: null });
    expect(deliveries.applyStatus(failed("a"))).toBe(ONE);
    courier.sendNext();
    await sent.at(-1)!.answer({ kind: "sent", id: "c", recipient: null });
    expect(bodies()).toEqual(["1a", "1b", "template"]);
    // The status of the replaced request, delivered again.
    expect(deliveries.applyStatus(failed("a"))).toBe(ONE);
    expect(deliveries.next()).toBeNull();
    expect(deliveries.applyStatus({ id: "c", reference: ONE, state: "delivered", error: null })).toBe(ONE);
    expect(deliveries.takeChange(ONE)?.delivery).toMatchObject({ state: "delivered", ids: ["c"] });
  });

  it("a message fails when its template is refused for a closed service window", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"], TEMPLATE), clock.now);
    courier.sendNext();
    await sent.at(-1)!.answer({ kind: "sent", id: "a", recipient: null });
    deliveries.applyStatus(failed("a"));
    courier.sendNext();
    await sent.at(-1)!.answer({ kind: "sent", id: "b", recipient: null });
    deliveries.applyStatus(failed("b"));
    courier.sendNext();
    expect(bodies()).toEqual(["1", "template"]);
    expect(deliveries.takeChange(ONE)?.delivery).toMatchObject({ state: "failed", error: closed });
  });

  it("a message outside the service window fails when there is no template", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    courier.sendNext();
    await sent.at(-1)!.answer({ kind: "sent", id: "a", recipient: null });
    deliveries.applyStatus(failed("a"));
    courier.sendNext();
    expect(bodies()).toEqual(["1"]);
    expect(deliveries.takeChange(ONE)?.delivery).toMatchObject({ state: "failed", error: closed });
  });
});

describe("the recipient as the channel names it", () => {
  it("the recipient's id is learned from the response to a message", async () => {
    const { deliveries, courier } = incarnation();
    deliveries.queue(parcel(ONE, ["1"]), clock.now);
    courier.sendNext();
    const recipient = { phone: "+525512345678", userId: "MX.1" };
    await sent.at(-1)!.answer({ kind: "sent", id: "a", recipient });
    expect(learned).toEqual([[ONE, recipient]]);
  });
});
