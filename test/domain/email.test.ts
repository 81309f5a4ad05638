import { describe, expect, it } from "vitest";
import { Email } from "../../src/domain/identity.ts";

describe("an e-mail address", () => {
  it.each([
    ["Ann@Example.COM", "ann@example.com"],
    ["a&b=c@example.com", "a&b=c@example.com"],
    ["!#$%&'*+-/=?^_`{|}~@example.com", "!#$%&'*+-/=?^_`{|}~@example.com"],
    ['"john doe"@example.com', '"john doe"@example.com'],
    ['"a\\"b@c"@example.com', '"a\\"b@c"@example.com'],
    ["иван@пример.рф", "иван@xn--e1afmkfd.xn--p1ai"],
    ["用户@例子.广告", "用户@xn--fsqu00a.xn--4rr70v"],
    ["ann@müller.de", "ann@xn--mller-kva.de"],
    ["ann@xn--mller-kva.de", "ann@xn--mller-kva.de"],
    ["ann@ｅxample。com", "ann@example.com"],
    ["ann@mail.example.co.uk", "ann@mail.example.co.uk"],
  ])("the e-mail address %s is stored as %s", (sent, address) => {
    expect(Email.parse(sent)).toBe(address);
  });

  it("an e-mail address is the same in any spelling of its domain", () => {
    const spellings = ["ann@MÜLLER.de", "ann@mu\u0308ller.de", "ANN@xn--mller-kva.DE"];
    expect(new Set(spellings.map((spelling) => Email.parse(spelling))).size).toBe(1);
  });

  it.each([
    "ann",
    "@example.com",
    "ann@",
    "ann@localhost",
    "ann@127.0.0.1",
    "ann@1.2",
    "ann@[127.0.0.1]",
    "ann@example.com.",
    "ann@-example.com",
    "ann@example..com",
    "ann@example.com/x",
    "ann@exa%6dple.com",
    "ann@user@example.com:80",
    "a..b@example.com",
    ".ann@example.com",
    "ann.@example.com",
    "an n@example.com",
    'an"n@example.com',
    "ann@exam ple.com",
    `a@${"b".repeat(64)}.com`,
  ])("%s is no e-mail address", (sent) => {
    expect(Email.safeParse(sent).success).toBe(false);
  });
});
