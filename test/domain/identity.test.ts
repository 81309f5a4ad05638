import { describe, expect, it } from "vitest";
import { channelOf } from "../../src/channels/registry.ts";
import { CHANNELS } from "../../src/domain/channel.ts";
import { Identifiers, presented, tierFor, userTypeFor, validateIdentifier } from "../../src/domain/identity.ts";

const required = { required: true };
const optional = { required: false };
const refusalOf = (field: string) =>
  expect.objectContaining({
    code: "VALIDATION_ERROR",
    status: 400,
    details: { fields: [expect.objectContaining({ field })] },
  });

describe("a person's phone number", () => {
  it.each([
    ["+14155550123", "+14155550123"],
    [" +1 (415) 555-01.23 ", "+14155550123"],
    ["\u202a+49\u00a0151\u20111234567\u202c", "+491511234567"],
    ["+12", "+12"],
    ["+123456789012345", "+123456789012345"],
  ])("a phone number is accepted in common spellings: %s [F2.1.1]", (written, number) => {
    expect(validateIdentifier("phone_e164", written, required)).toBe(number);
  });

  it.each([
    ["without its +", "14155550123", "F2.1.2"],
    ["with letters", "+1415CALLNOW", "F2.1.3"],
    ["with other digits than 0 to 9", "+١٢٣٤٥٦٧", "F2.1.3"],
    ["of 16 digits", "+1234567890123456", "F2.1.4"],
    ["of one digit", "+1", "F2.1.5"],
  ])("a phone number is refused %s (%s) [%s]", (_, written) => {
    expect(() => validateIdentifier("phone_e164", written, required)).toThrow(refusalOf("phone_e164"));
  });

  it.each([[""], ["  "], [null], [undefined]])("a required phone number may not be empty: %j [F2.1.6]", (written) => {
    expect(() => validateIdentifier("phone_e164", written, required)).toThrow(refusalOf("phone_e164"));
  });

  it.each([[""], ["  "], [null], [undefined]])("an optional phone number may be empty: %j [F2.1.7]", (written) => {
    expect(validateIdentifier("phone_e164", written, optional)).toBeNull();
  });
});

describe("a person's e-mail address", () => {
  it.each([
    ["ann@example.com", "ann@example.com"],
    ["  Ann.B+x@Example.COM ", "ann.b+x@example.com"],
    ["ａｎｎ@example.com", "ann@example.com"],
    [`${"a".repeat(116)}@example.com`, `${"a".repeat(116)}@example.com`],
  ])("an e-mail address is normalised: %s [F2.2.1]", (written, address) => {
    expect(validateIdentifier("email", written, required)).toBe(address);
  });

  it.each([
    ["without an @", "ann.example.com", "F2.2.2"],
    ["without a domain", "ann@", "F2.2.3"],
    ["of 129 characters", `${"a".repeat(117)}@example.com`, "F2.2.4"],
    ["that needs one and has none", " ", "F2.2.5"],
  ])("an e-mail address is refused %s (%s) [%s]", (_, written) => {
    expect(() => validateIdentifier("email", written, required)).toThrow(refusalOf("email"));
  });

  it("an optional e-mail address may be empty [F2.2.6]", () => {
    expect(validateIdentifier("email", "", optional)).toBeNull();
  });
});

describe("a person's device", () => {
  it.each([["ios-4F2A"], ["x".repeat(128)], ["gerät 1"]])("a device id is any visible text: %s [F2.3.1]", (id) => {
    expect(validateIdentifier("device_id", ` ${id} `, required)).toBe(id);
  });

  it("a device id of 129 characters is refused [F2.3.2]", () => {
    expect(() => validateIdentifier("device_id", "x".repeat(129), required)).toThrow(refusalOf("device_id"));
  });

  it.each([["a\0b"], ["a\nb"], ["a\u200bb"], ["a\u2028b"]])(
    "a device id with invisible characters is refused: %j",
    (id) => {
      expect(() => validateIdentifier("device_id", id, required)).toThrow(refusalOf("device_id"));
    },
  );

  it("a required device id may not be missing [F2.3.3]", () => {
    expect(() => validateIdentifier("device_id", "", required)).toThrow(refusalOf("device_id"));
  });

  it("an optional device id may be missing [F2.3.4]", () => {
    expect(validateIdentifier("device_id", null, optional)).toBeNull();
  });
});

describe("who a caller says the person is", () => {
  it("an empty identifier counts as left out", () => {
    const sent = { phone_e164: "", email: null, device_id: " ", auth_token: null };
    expect(presented(Identifiers.parse(sent))).toEqual([]);
  });

  it("identifiers are normalised and sorted from the strongest", () => {
    const sent = { auth_token: "t", device_id: " d ", email: "A@B.co", phone_e164: "+1 415 555 0123" };
    expect(presented(Identifiers.parse(sent))).toEqual([
      { type: "phone_e164", value: "+14155550123" },
      { type: "email", value: "a@b.co" },
      { type: "device_id", value: "d" },
    ]);
  });

  it("identifiers are validated again below the route", () => {
    expect(() => presented({ phone_e164: "nope" })).toThrow(refusalOf("phone_e164"));
  });

  it("every malformed identifier is reported", () => {
    const result = Identifiers.safeParse({ phone_e164: "415", email: "x", device_id: 7, auth_token: "t" });
    expect(result.error?.issues.map((issue) => issue.path[0])).toEqual(["phone_e164", "email", "device_id"]);
  });
});

describe("how well a person is known", () => {
  it("an identifier is verified on WhatsApp and claimed on every other channel", () => {
    expect(CHANNELS.filter((channel) => tierFor(channelOf(channel)) === "verified")).toEqual(["whatsapp"]);
  });

  it.each([
    ["guest", "guest"],
    ["standard", "verified"],
    ["verified", "verified"],
  ] as const)("a %s identifier gives a %s user", (tier, userType) => {
    expect(userTypeFor(tier)).toBe(userType);
  });
});
