import { describe, expect, it } from "vitest";
import { parseJson } from "../../src/domain/json.ts";
import { MessageContent, MessageMetadata, RESERVED_KEYS, sanitizeMetadata } from "../../src/domain/message.ts";

describe("what a person says", () => {
  it("a message may have 10,000 characters, an emoji counting as one [F2.4.1]", () => {
    expect(MessageContent.parse("😀".repeat(10_000))).toBe("😀".repeat(10_000));
  });

  it("a message of 10,001 characters is refused, not cut [F2.4.2]", () => {
    expect(MessageContent.safeParse("x".repeat(10_001)).success).toBe(false);
  });

  it("a message is trimmed before it is measured [F2.4.3]", () => {
    expect(MessageContent.parse(` \n${"x".repeat(10_000)}\t `)).toBe("x".repeat(10_000));
  });

  it.each([["  "], ["\0\x1b"], ["\u202e"], ["\u200b\u3164\u2800"]])("a message of %j is refused as empty", (said) => {
    expect(MessageContent.safeParse(said).success).toBe(false);
  });

  it("a message keeps its HTML", () => {
    expect(MessageContent.parse("<b>hi</b>\0")).toBe("<b>hi</b>");
  });
});

describe("what a client says about a message", () => {
  it("message metadata is kept without secrets and control characters", () => {
    expect(MessageMetadata.parse({ page: " /home\0 ", session: { token: "t" } })).toEqual({
      value: { page: "/home", session: {} },
      warnings: ["metadata.page: characters replaced or removed", "metadata.session.token: removed"],
    });
  });

  it("the metadata warnings name each removed or changed path", () => {
    const sent = parseJson(`{
      "password": "p", "__proto__": {"admin": true}, "constructor": "kept", "prototype": [1], "ok": " trimmed ",
      "list": ${JSON.stringify(Array.from({ length: 150 }, (_, n) => n))},
      "deep": [{"apiKey": "k", "token": 7, "secret": false, "note": "a\\u0000b"}],
      "long": "${"x".repeat(10_003)}", "k\\u0000": 1, "same": 1, "same ": 2
    }`) as Record<string, unknown>;
    const { value, warnings } = sanitizeMetadata(sent);
    expect(value).toEqual({
      constructor: "kept",
      prototype: [1],
      ok: "trimmed",
      list: Array.from({ length: 100 }, (_, n) => n),
      deep: [{ token: 7, secret: false, note: "a b" }],
      long: "x".repeat(10_000),
      k: 1,
      same: 2,
    });
    expect(warnings).toEqual([
      "metadata.password: removed",
      "metadata.__proto__: removed",
      "metadata.list: 50 items left out",
      "metadata.deep.0.apiKey: removed",
      "metadata.deep.0.note: characters replaced or removed",
      "metadata.long: 3 characters left out",
      "metadata.k: key changed",
      "metadata.same: given twice, the last one kept",
    ]);
  });

  it("the metadata warnings name removed entries, and at most 20 changes one by one", () => {
    const entries = (count: number, key: string) =>
      Object.fromEntries(Array.from({ length: count }, (_, n) => [`${key}${n}`, "x"]));
    expect(sanitizeMetadata({ many: entries(130, "k") }).warnings).toEqual(["metadata.many: 30 entries left out"]);
    const { warnings } = sanitizeMetadata({ all: Array.from({ length: 30 }, () => ({ token: "t" })) });
    expect([warnings.length, warnings.at(-1)]).toEqual([21, "metadata: 10 more changes"]);
  });

  it("unchanged metadata has no warnings", () => {
    expect(sanitizeMetadata({ page: 7, tags: ["a"], nested: { deep: [null, true] } }).warnings).toEqual([]);
  });

  it("metadata with an inexact number is refused with its path", () => {
    const result = MessageMetadata.safeParse(parseJson('{"order": {"ids": [1, 9007199254740993]}}'));
    expect(result.error?.issues).toMatchObject([{ path: ["order", "ids", "1"] }]);
    expect(MessageMetadata.parse(parseJson('{"id": 9007199254740991}'))).toMatchObject({
      value: { id: 9_007_199_254_740_991 },
    });
  });

  it.each([[[]], ["x"], [null], [1]])("message metadata of %j is refused", (sent) => {
    expect(MessageMetadata.safeParse(sent).success).toBe(false);
  });

  it("message metadata over 64 KB is refused", () => {
    const sent = (bytes: number) => ({ a: "x".repeat(bytes - '{"a":""}'.length) });
    expect([sent(65_536), sent(65_537)].map((metadata) => MessageMetadata.safeParse(metadata).success)).toEqual([
      true,
      false,
    ]);
  });
});

it("metadata keys that the service writes are removed, with a warning each", () => {
  const sent = Object.fromEntries(RESERVED_KEYS.map((key) => [key, { forged: true }]));
  const { value, warnings } = sanitizeMetadata({ ...sent, page: 7, nested: { delivery: 1 } });
  expect(value).toEqual({ page: 7, nested: { delivery: 1 } });
  expect(warnings).toEqual(RESERVED_KEYS.map((key) => `metadata.${key}: reserved, removed`));
});
