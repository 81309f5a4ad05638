import { describe, expect, it } from "vitest";
import {
  addressOfSession,
  chatAddress,
  numberOfSession,
  sessionIdAt,
  startedAddress,
  whatsappAddress,
} from "../../src/domain/address.ts";
import { Uuid } from "../../src/domain/ids.ts";

const [acme, globex] = ["00000000-0000-4000-8000-000000000010", "00000000-0000-4000-8000-000000000030"];
const [ann, bob] = ["01a203c1-5b09-7963-9685-2aef74277b10", "01a203c1-5b09-7963-9685-2aef74277b11"];

describe("the address of a conversation", () => {
  it("is one for a person and an instance, and another for anybody and anything else", () => {
    expect(chatAddress(acme, ann)).toBe(chatAddress(acme, ann));
    const others = [chatAddress(acme, bob), chatAddress(globex, ann), startedAddress(acme, "a")];
    expect(new Set([chatAddress(acme, ann), ...others, startedAddress(acme, "b")]).size).toBe(5);
  });

  it("says nothing of whose it is", () => {
    expect(chatAddress(acme, ann)).toMatch(/^[0-9a-f]{22}$/);
  });
});

describe("the address of a WhatsApp conversation", () => {
  const business = { number: "+15550001111", phoneNumberId: "100" };
  const at = (phone: string) => whatsappAddress(business, { phone, userId: null });

  it("is the same with and without the business's display number", () => {
    const person = { phone: "+16505551234", userId: null };
    expect(whatsappAddress({ number: null, phoneNumberId: "100" }, person)).toBe(whatsappAddress(business, person));
    expect(whatsappAddress({ ...business, phoneNumberId: "101" }, person)).not.toBe(whatsappAddress(business, person));
  });

  it.each([
    ["Mexico", "+5215512345678", "+525512345678"],
    ["Argentina", "+5491123456789", "+541123456789"],
    ["Brazil", "+5511987654321", "+551187654321"],
  ])("is the same for both spellings of a number of %s", (_country, long, short) => {
    expect(at(long)).toBe(at(short));
  });

  it.each([
    ["a Brazilian landline", "+5511955554321", "+551155554321"],
    ["a number of another country", "+5315512345678", "+535512345678"],
    ["a shorter number", "+52155123456", "+5255123456"],
  ])("is not shared with %s", (_what, one, other) => {
    expect(at(one)).not.toBe(at(other));
  });
});

describe("the id of a session", () => {
  it("is a UUID that tells where the session lives", () => {
    const address = chatAddress(acme, ann);
    const id = sessionIdAt(address, 1_795_357_000);
    expect(Uuid.parse(id)).toBe(id);
    expect([addressOfSession(id), numberOfSession(id)]).toEqual([address, 1_795_357_000]);
  });

  it("sorts by the second in which it began", () => {
    const address = chatAddress(acme, ann);
    const ids = [0, 1, 255, 4096, 1_795_357_000, 4_294_967_295].map((number) => sessionIdAt(address, number));
    expect(ids.toSorted()).toEqual(ids);
  });

  it.each(["01a203c1-5b09-7963-9685-2aef74277b10", "b7f9b0a2-6f0e-4d58-8d8e-0c5f4a4f0b1e", "no uuid"])(
    "tells nothing when it was not made here: %s",
    (id) => {
      expect(addressOfSession(id)).toBeNull();
    },
  );
});
