import { describe, expect, it } from "vitest";
import { addressOfSession, createAddresses, newSessionId, sessionIdAt } from "../../src/domain/address.ts";
import { Uuid } from "../../src/domain/ids.ts";
import { addresses } from "../support/addresses.ts";

const [acme, globex] = ["00000000-0000-4000-8000-000000000010", "00000000-0000-4000-8000-000000000030"];
const [ann, bob] = ["01a203c1-5b09-7963-9685-2aef74277b10", "01a203c1-5b09-7963-9685-2aef74277b11"];
const number = { number: "+15550001111", phoneNumberId: "100000000000001" };
const person = { phone: "+15551234567", userId: null };

describe("the address of a conversation", () => {
  it("a conversation's address is the same for the same user and instance, and differs from every other", () => {
    expect(addresses.chat(acme, ann)).toBe(addresses.chat(acme, ann));
    const others = [addresses.chat(acme, bob), addresses.chat(globex, ann), addresses.started(acme, "a")];
    expect(new Set([addresses.chat(acme, ann), ...others, addresses.started(acme, "b")]).size).toBe(5);
  });

  it("a conversation's address is 88 bits in hexadecimal and reveals nothing of the user", () => {
    expect(addresses.chat(acme, ann)).toMatch(/^[0-9a-f]{22}$/);
  });

  it("a conversation's address can't be computed without ADDRESS_KEY", () => {
    const others = createAddresses("another key of at least 32 characters");
    expect(others.chat(acme, ann)).not.toBe(addresses.chat(acme, ann));
    expect(others.started(acme, "a")).not.toBe(addresses.started(acme, "a"));
    expect(others.whatsapp(number, person)).not.toBe(addresses.whatsapp(number, person));
    const address = addresses.chat(acme, ann);
    expect(others.firstSessionId(address)).not.toBe(addresses.firstSessionId(address));
  });

  it("a conversation's address differs for parts that are the same text when joined", () => {
    expect(addresses.started("a", "b:c")).not.toBe(addresses.started("a:b", "c"));
  });
});

describe("the address of a WhatsApp conversation", () => {
  const business = { number: "+15550001111", phoneNumberId: "100" };
  const at = (phone: string) => addresses.whatsapp(business, { phone, userId: null });

  it("a WhatsApp conversation's address is the same with and without the business's display number", () => {
    const person = { phone: "+16505551234", userId: null };
    expect(addresses.whatsapp({ number: null, phoneNumberId: "100" }, person)).toBe(
      addresses.whatsapp(business, person),
    );
    expect(addresses.whatsapp({ ...business, phoneNumberId: "101" }, person)).not.toBe(
      addresses.whatsapp(business, person),
    );
  });

  it.each([
    ["Mexico", "+5215512345678", "+525512345678"],
    ["Argentina", "+5491123456789", "+541123456789"],
    ["Brazil", "+5511987654321", "+551187654321"],
  ])("a WhatsApp conversation's address is the same for both spellings of a number of %s", (_country, long, short) => {
    expect(at(long)).toBe(at(short));
  });

  it.each([
    ["a Brazilian landline", "+5511955554321", "+551155554321"],
    ["a number of another country", "+5315512345678", "+535512345678"],
    ["a shorter number", "+52155123456", "+5255123456"],
  ])("a WhatsApp conversation's address is not shared with %s", (_what, one, other) => {
    expect(at(one)).not.toBe(at(other));
  });
});

describe("the id of a session", () => {
  it("a session id is a UUID that holds the address of its conversation", () => {
    const address = addresses.chat(acme, ann);
    for (const id of [sessionIdAt(address, 1), newSessionId(address), addresses.firstSessionId(address)]) {
      expect(Uuid.parse(id)).toBe(id);
      expect(addressOfSession(id)).toBe(address);
    }
  });

  it("a session id is the same for two callers that begin a conversation at once", () => {
    const address = addresses.chat(acme, ann);
    expect(addresses.firstSessionId(address)).toBe(addresses.firstSessionId(address));
  });

  it("a session id can't be derived from an earlier one of the same conversation", () => {
    const address = addresses.chat(acme, ann);
    const numbers = Array.from({ length: 100 }, () => newSessionId(address).slice(0, 8));
    expect(new Set(numbers).size).toBe(100);
    // Neither the time of day nor a count: the first byte alone takes many values.
    expect(new Set(numbers.map((digits) => digits.slice(0, 2))).size).toBeGreaterThan(30);
  });

  it.each(["01a203c1-5b09-7963-9685-2aef74277b10", "b7f9b0a2-6f0e-4d58-8d8e-0c5f4a4f0b1e", "no uuid"])(
    "a session id of another service has no address: %s",
    (id) => {
      expect(addressOfSession(id)).toBeNull();
    },
  );
});
