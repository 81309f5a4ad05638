import { describe, expect, it } from "vitest";
import { isSigned } from "../../../src/channels/whatsapp/signature.ts";
import { sign } from "../../support/whatsapp.ts";

const bytes = (text: string) => new Uint8Array(new TextEncoder().encode(text));
const SECRET = "an app secret";

describe("a signature is checked over the bytes as they came", () => {
  it.each([
    ["escapes as Meta writes them", bytes(String.raw`{"a":"\u00e9 \ud83d\ude2e","url":"https:\/\/x"}`)],
    ["raw UTF-8", bytes('{"a":"é 😮"}')],
    ["line ends and indentation", bytes('{\r\n  "a": 1\r\n}\r\n')],
    ["a byte order mark", new Uint8Array([0xef, 0xbb, 0xbf, ...bytes('{"a":1}')])],
    ["a byte that is no UTF-8", new Uint8Array([...bytes('{"a":"'), 0xff, ...bytes('"}')])],
    ["nothing at all", new Uint8Array()],
  ])("the signature check gives the expected verdict: %s", async (_what, body) => {
    expect(await isSigned([SECRET], sign(body, SECRET), body)).toBe(true);
    const changed = new Uint8Array([...body, 0x20]);
    expect(await isSigned([SECRET], sign(body, SECRET), changed)).toBe(false);
  });
});

describe("the app secret", () => {
  const body = bytes("{}");

  it("a signature with any of several app secrets is accepted", async () => {
    expect(await isSigned(["new", SECRET], sign(body, SECRET), body)).toBe(true);
    expect(await isSigned(["new", "newer"], sign(body, SECRET), body)).toBe(false);
  });

  it("without an app secret every signature is refused, also one made with an empty secret", async () => {
    expect(await isSigned([], sign(body, ""), body)).toBe(false);
  });
});

it.each([
  ["no header", undefined],
  ["an empty one", ""],
  ["another algorithm", `sha1=${"0".repeat(40)}`],
  ["no prefix", sign("{}", SECRET).slice(7)],
  ["a digit too few", sign("{}", SECRET).slice(0, -1)],
  ["a digit too many", `${sign("{}", SECRET)}0`],
  ["what is no hex", `sha256=${"g".repeat(64)}`],
  ["somebody else's", sign("{}", "another")],
])("a request with %s counts as unsigned", async (_what, header) => {
  expect(await isSigned([SECRET], header, bytes("{}"))).toBe(false);
});
