import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { advance, DELIVERY_STATES, overall, readReference, referenceOf } from "../../src/domain/delivery.ts";
import type { DeliveryState } from "../../src/domain/delivery.ts";

describe("the state of a delivery", () => {
  it.each<[string, DeliveryState[], DeliveryState]>([
    ["climbs", ["sent", "delivered", "read"], "read"],
    ["does not fall when news come out of order", ["read", "sent", "delivered"], "read"],
    ["is read without ever having been delivered", ["sent", "read"], "read"],
    ["is settled by a status after the answer was lost", ["unknown", "sent"], "sent"],
    ["fails after it was sent", ["sent", "failed"], "failed"],
    ["does not fail after it arrived", ["delivered", "failed"], "delivered"],
    ["arrives after it was said to have failed", ["failed", "delivered"], "delivered"],
    ["is played after it was read", ["read", "played", "read"], "played"],
  ])("a delivery state advances: %s", (_what, news, end) => {
    expect(news.reduce(advance, "queued")).toBe(end);
  });

  it("a delivery state is the same for every order of its statuses", () => {
    const news = fc.array(fc.constantFrom(...DELIVERY_STATES));
    fc.assert(
      fc.property(news, news, (some, more) => {
        expect([...some, ...more].reduce(advance, "queued")).toBe([...more, ...some].reduce(advance, "queued"));
      }),
    );
  });

  it("a message in parts has the state of its least advanced part, or failed", () => {
    expect(overall(["read", "sent", "delivered"])).toBe("sent");
    expect(overall(["sent", "failed"])).toBe("failed");
    expect(overall(["read", "failed"])).toBe("failed");
  });
});

describe("a reference", () => {
  const id = "01900000-0000-7000-8000-000000000002";
  const address = "0123456789abcdef012345";

  it.each([1, 2, 117])("a reference names part %i of its message", (part) => {
    expect(readReference(referenceOf(id, part, address))).toEqual({ messageId: id, part, address });
  });

  it("the reference of a single part is the message id and the conversation's address", () => {
    expect(referenceOf(id, 1, address)).toBe(`${id}@${address}`);
  });

  it.each([
    [id, 1],
    [`${id}/3`, 3],
  ])("a reference of a former version has no address: %s", (reference, part) => {
    expect(readReference(reference)).toEqual({ messageId: id, part, address: null });
  });

  it.each([null, "", "something else", `${id}/`, `${id}/x`, `${id} `, `${id}@`, `${id}@not-an-address`])(
    "%j is not a reference of ours",
    (reference) => {
      expect(readReference(reference)).toBeNull();
    },
  );
});
