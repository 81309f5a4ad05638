import { describe, expect, it } from "vitest";
import { fitMetadata, sanitizeData, sanitizeString } from "../../src/domain/sanitize.ts";
import { isSensitiveKey } from "../../src/domain/sensitive.ts";
import { redact, redactString } from "../../src/domain/redact.ts";

const nested = (depth: number): unknown => (depth === 0 ? "deep" : { in: nested(depth - 1) });

describe("a string somebody sent", () => {
  it("a string is trimmed [F4.2.1]", () => {
    expect(sanitizeString(" \n hello\t ")).toBe("hello");
  });

  it("a string for a page has its tags escaped [F4.2.2]", () => {
    expect(sanitizeString("<b>1 & 2</b>", { html: true })).toBe("&lt;b&gt;1 &amp; 2&lt;/b&gt;");
  });

  it("a string for storage or a model keeps its tags", () => {
    expect(sanitizeString("if a < b && c")).toBe("if a < b && c");
  });

  it("a string loses control characters without joining its words, and keeps line breaks and tabs [F4.2.3]", () => {
    expect(sanitizeString("a\0b\x1b[31m\x07\tc\nd")).toBe("a b [31m\tc\nd");
  });

  it("a string is cut at the limit before it is escaped [F4.2.4]", () => {
    expect(sanitizeString("<<<<", { html: true, maxString: 2 })).toBe("&lt;&lt;");
  });

  it("a sanitised string is unchanged when sanitised again", () => {
    const once = sanitizeString("ab cd", { maxString: 3 });
    expect([once, sanitizeString(once, { maxString: 3 })]).toEqual(["ab", "ab"]);
  });
});

describe("data somebody sent", () => {
  it("every string of an object is trimmed, limited and escaped when asked [F4.1.1]", () => {
    expect(sanitizeData([" <i> ", "x".repeat(10_001)], { html: true })).toEqual(["&lt;i&gt;", "x".repeat(10_000)]);
  });

  it("objects are sanitised at every depth, without secrets and within their limit [F4.1.2]", () => {
    const sent = { name: " Ann ", login: { password: "hunter2", ok: true }, c: 1, d: 2 };
    expect(sanitizeData(sent, { maxItems: 3 })).toEqual({ name: "Ann", login: { ok: true }, c: 1 });
  });

  it("lists are sanitised item by item and cut [F4.1.3]", () => {
    expect(sanitizeData([" a ", { token: "t" }, "c"], { maxList: 2 })).toEqual(["a", {}]);
  });

  it("no control character is left in any value or key [F4.1.4]", () => {
    expect(sanitizeData({ "k\0": ["v\0"] })).toEqual({ k: ["v"] });
  });

  it("text is in Unicode normalisation form C [F4.1.5]", () => {
    expect(sanitizeData({ city: "Zu\u0308rich" })).toEqual({ city: "Zürich" });
  });

  it("a value can't run a script on a page [G4.2.1]", () => {
    const shown = sanitizeData({ bio: "<script>alert(1)</script>", '"><img src=x>': 1 }, { html: true });
    expect(JSON.stringify(shown)).not.toMatch(/[<>]/);
  });

  it("a secret is removed however its key is spelled [F4.3.1]", () => {
    const sent = {
      password: "1",
      Token: "2",
      apiKey: "3",
      "X-Api-Key": "4",
      refresh_token: "5",
      clientSecret: "6",
      kept: "7",
    };
    expect(sanitizeData(sent)).toEqual({ kept: "7" });
  });

  it("keys are sanitised, or kept when asked [F4.3.2]", () => {
    const sent = { " <k>\x07 ": 1 };
    expect([sanitizeData(sent, { html: true }), sanitizeData(sent, { keys: false })]).toEqual([
      { "&lt;k&gt;": 1 },
      sent,
    ]);
  });

  it("an object keeps its first 100 entries [F4.3.3]", () => {
    const sent = Object.fromEntries(Array.from({ length: 101 }, (_, index) => [`k${index}`, index]));
    expect(Object.keys(sanitizeData(sent))).toEqual(Object.keys(sent).slice(0, 100));
  });

  it("objects within lists within objects are sanitised [F4.3.4]", () => {
    expect(sanitizeData({ a: [{ b: { c: " x ", secret: "s" } }] })).toEqual({ a: [{ b: { c: "x" } }] });
  });

  it("a list keeps its first 100 items [F4.4.1]", () => {
    expect(sanitizeData(Array.from({ length: 101 }, (_, index) => index))).toHaveLength(100);
  });

  it("lists within lists are sanitised [F4.4.2]", () => {
    expect(sanitizeData([[[" x ", { cookie: "c" }]]])).toEqual([[["x", {}]]]);
  });

  it("a value under a secret's name is kept when it is a boolean, a number or an object, and removed when it is text", () => {
    const sent = {
      password: true,
      pin_token: 12,
      credentials: { kind: "key", secret: "s" },
      cookies: ["a=b"],
      jwt: [1],
    };
    expect(sanitizeData(sent)).toEqual({ password: true, pin_token: 12, credentials: { kind: "key" }, jwt: [1] });
  });

  it("a key can't reach a prototype, and other names of the language are kept as data", () => {
    const sent: unknown = JSON.parse(
      '{"__proto__":{"admin":true},"constructor":1,"prototype":2,"__proto__\\u0000":{},"a":3}',
    );
    const kept = sanitizeData(sent);
    expect([Object.getOwnPropertyNames(kept), Object.getPrototypeOf(kept)]).toEqual([
      ["constructor", "prototype", "a"],
      Object.prototype,
    ]);
  });

  it("a key that becomes dangerous or secret when cut is removed", () => {
    const long = (name: string) => `${name}${" ".repeat(256)}x`;
    const kept = sanitizeData(JSON.parse(`{"${long("__proto__")}":{"admin":true},"${long("token")}":"t","a":3}`));
    expect([Object.getOwnPropertyNames(kept), Object.getPrototypeOf(kept)]).toEqual([["a"], Object.prototype]);
  });

  it("sanitising stops at depth 32 and at a circular reference", () => {
    const circle: Record<string, unknown> = { name: "x" };
    circle.self = circle;
    expect([JSON.stringify(sanitizeData(nested(40))).split("in").length - 1, sanitizeData(circle)]).toEqual([
      32,
      { name: "x", self: null },
    ]);
  });

  it("a value that is not JSON becomes JSON", () => {
    const when = new Date(0);
    expect(sanitizeData({ a: undefined, b: Number.NaN, c: 10n, d: () => 1, when })).toEqual({
      b: null,
      c: "10",
      d: null,
      when: "1970-01-01T00:00:00.000Z",
    });
  });
});

describe("a key", () => {
  it.each([
    "password",
    "user_password_hash",
    "passwd",
    "pwd",
    "secret",
    "client_secret",
    "token",
    "accessToken",
    "auth_token",
    "id_token",
    "CSRF-Token",
    "api_key",
    "APIKEY",
    "privateKey",
    "Authorization",
    "Proxy-Authorization",
    "cookie",
    "Set-Cookie",
    "credit_card_number",
    "cardNumber",
    "cvv",
    "jwt",
    "ｐａｓｓｗｏｒｄ",
    "pass\u200bword",
    "pass\0word",
    "Pass Word",
  ])("the key %s names a secret", (key) => {
    expect(isSensitiveKey(key)).toBe(true);
  });

  it.each([
    "token_plan",
    "token_usage",
    "total_tokens",
    "max_tokens",
    "budget_tokens",
    "prompt_tokens",
    "tokens",
    "paid_tokens",
    "secretary",
    "monkey",
    "cookie_recipe",
    "author",
    "compass",
    "business_card",
    "keys",
  ])("the key %s names no secret", (key) => {
    expect(isSensitiveKey(key)).toBe(false);
  });
});

describe("a log line", () => {
  it("a log line shows HTML as text [G4.2.2]", () => {
    expect(redact({ msg: "<script>x</script>", "<b>": 1 })).toEqual({
      msg: "&lt;script&gt;x&lt;/script&gt;",
      "&lt;b&gt;": 1,
    });
  });

  it.each([
    ["in a field", { user: { password: "hunter2" } }],
    ["in the address of a database", "postgres://app:hunter2@db.example.com/x"],
    ["in a query", "GET /login?password=hunter2&a=1"],
    ["in JSON that was logged as text", '{"password": "hunter2"}'],
  ])("a log line holds no password %s [G4.3.1]", (_, logged) => {
    expect(JSON.stringify(redact(logged))).not.toContain("hunter2");
  });

  it.each([
    ["a user's JWT", "sent eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "sent [redacted]"],
    ["a bearer token", "Authorization: bearer abc.DEF-1", "Authorization: Bearer [redacted]"],
    ["one of our keys", "key parley_dev_acme refused", "key [redacted] refused"],
    ["a provider's key", "used sk-proj-abcdefgh12", "used [redacted]"],
    ["a token in an address", "/cb?access_token=abc&x=1", "/cb?access_token=[redacted]&amp;x=1"],
  ])("a log line holds no token: %s [G4.3.2]", (_, logged, line) => {
    expect(redact(logged)).toBe(line);
  });

  it("a log line shows that a secret was removed and keeps the rest readable [G4.3.3]", () => {
    expect(redact({ auth: [{ api_key: "k", note: "ok" }], total_tokens: 12 })).toEqual({
      auth: [{ api_key: "[redacted]", note: "ok" }],
      total_tokens: 12,
    });
  });

  it.each([
    ["ann.o'neil+x@mail.example.co.uk wrote", "o'neil"],
    ["call +1 (415) 555-0123 now", "0123"],
    ["from:+4915112345678", "4915112345678"],
  ])("a log line identifies no person: %s", (logged, personal) => {
    expect(redactString(logged)).not.toContain(personal);
  });

  it("a log line keeps times and ids readable", () => {
    const line = "2026-11-22T14:19:00+01:00 turn 0193b1f2-7c1e-7b1a-9c3d-2f6a8e1b4c50 took 12 ms";
    expect(redact(line)).toBe(line);
  });
});

describe("what is kept about a message", () => {
  const half = "x".repeat(40_000);

  it("stored metadata is complete up to 64 KB [F2.5.1]", () => {
    const metadata = { a: "x".repeat(65_536 - '{"a":""}'.length) };
    expect(fitMetadata(metadata)).toEqual({ value: metadata, truncated: false });
  });

  it("stored metadata over 64 KB keeps the entries that fit and says so [F2.5.2]", () => {
    expect(fitMetadata({ a: half, b: half, c: "ü" })).toEqual({ value: { a: half, c: "ü" }, truncated: true });
  });

  it("stored metadata is measured in bytes", () => {
    expect(fitMetadata({ a: "ü" }, 9)).toEqual({ value: {}, truncated: true });
  });

  it.each([[null], ["text"], [7], [["list"]], [new Date(0)], [undefined]])(
    "stored metadata of %j is refused [F2.5.3]",
    (sent) => {
      expect(() => fitMetadata(sent)).toThrow(expect.objectContaining({ code: "VALIDATION_ERROR", status: 400 }));
    },
  );

  it("stored metadata that can't be serialised is refused [F2.5.4]", () => {
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    for (const sent of [circle, { amount: 1n }]) {
      expect(() => fitMetadata(sent)).toThrow(expect.objectContaining({ code: "VALIDATION_ERROR", status: 400 }));
    }
  });
});
