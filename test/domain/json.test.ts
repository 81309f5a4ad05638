import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InexactNumber, inexactPath, parseJson } from "../../src/domain/json.ts";

const inexact = (source: string): boolean => inexactPath(parseJson(source)) !== null;

describe("a number in JSON", () => {
  it.each([
    "0",
    "-0.0",
    "9007199254740991",
    "-9007199254740992",
    "1e21",
    "1.50e3",
    "0.1",
    "0.30000000000000004",
    "5e-324",
    "1.7976931348623157e308",
    "100000000000000000000",
    "12.000000000000000000",
  ])("%s is kept", (source) => {
    expect([inexact(source), parseJson(source)]).toEqual([false, Number(source)]);
  });

  it.each([
    "9007199254740993",
    "-12345678901234567890",
    "1e400",
    "-1e999",
    "1e-400",
    "0.1234567890123456789",
    "12345678901234567.5",
    "1.00000000000000000001",
  ])("%s is not kept as another number", (source) => {
    expect(parseJson(`{"a": [${source}]}`)).toEqual({ a: [new InexactNumber(source)] });
  });

  it("a JSON number is inexact exactly when this runtime would write another one", () => {
    // Below 10^21 an integer is written without an exponent.
    const integers = fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n });
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), integers, (double, integer) => {
        expect(inexact(JSON.stringify(double))).toBe(false);
        expect(inexact(String(integer))).toBe(String(Number(integer)) !== String(integer));
      }),
    );
  });

  it("an inexact JSON number is replaced as the caller says, and digits in a string are kept", () => {
    expect(parseJson('{"id": 12345678901234567890, "text": "12345678901234567890"}', (source) => source)).toEqual({
      id: "12345678901234567890",
      text: "12345678901234567890",
    });
  });
});

it("a text that is not JSON is refused, with long numbers or without", () => {
  expect(() => parseJson("{")).toThrow(SyntaxError);
  expect(() => parseJson("{12345678901234567890")).toThrow(SyntaxError);
});

it("the path of an inexact number leads through lists and objects", () => {
  expect(inexactPath(parseJson('{"a": [{"b": 1}, {"c": 12345678901234567890}]}'))).toEqual(["a", "1", "c"]);
  expect(inexactPath(parseJson('{"a": [1, null, "12345678901234567890"]}'))).toBeNull();
});
