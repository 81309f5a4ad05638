import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { addMoney, cost } from "../../src/domain/money.ts";

const prices = (inputPricePer1k: string | null, outputPricePer1k: string | null) => ({
  inputPricePer1k,
  outputPricePer1k,
});
const tokens = (promptIn: number, completionOut: number) => ({ promptIn, completionOut });

const count = fc.nat(1_000_000_000);
const amount = fc
  .tuple(fc.nat(1_000_000), fc.stringMatching(/^\d{1,15}$/))
  .map(([whole, fraction]) => `${whole}.${fraction}`);

describe("what an answer costs", () => {
  it.each([
    ["a small answer", prices("0.0005", "0.0015"), tokens(500, 108), "0.000412"],
    ["where a float would drift", prices("0.1", "0.2"), tokens(1, 1), "0.0003"],
    [
      "as many tokens as a number can count",
      prices("0.123456789012345678", "0"),
      tokens(9007199254740991, 0),
      "1111999897984.715757218771248286898",
    ],
    ["a whole amount", prices("2", "3.000"), tokens(1000, 1000), "5"],
    ["nothing", prices("2", "3"), tokens(0, 0), "0"],
  ])("the cost of a turn is exact: %s", (_, price, used, usd) => {
    expect(cost(price, used)).toBe(usd);
  });

  it.each([
    ["input", prices(null, "1")],
    ["output", prices("1", null)],
  ])("the cost of a turn is unknown when the model has no %s price [I3.4]", (_, price) => {
    expect(cost(price, tokens(10, 10))).toBeNull();
  });

  it.each([["NaN"], ["1e-7"], ["-1"], [""]])("the cost of a turn is unknown when a price is invalid: %j", (price) => {
    expect(cost(prices(price, "1"), tokens(10, 10))).toBeNull();
  });

  it("unused tokens need no price", () => {
    expect([cost(prices("1", null), tokens(10, 0)), cost(prices(null, null), tokens(0, 0))]).toEqual(["0.01", "0"]);
  });

  it("the cost of a conversation equals the sum of its turns", () => {
    fc.assert(
      fc.property(amount, amount, count, count, count, count, (input, output, in1, out1, in2, out2) => {
        const price = prices(input, output);
        const [first, second] = [cost(price, tokens(in1, out1)), cost(price, tokens(in2, out2))];
        expect(addMoney(first ?? "", second ?? "")).toBe(cost(price, tokens(in1 + in2, out1 + out2)));
      }),
    );
  });

  it("the cost of 1,000 tokens is the price itself", () => {
    fc.assert(
      fc.property(amount, (price) => {
        expect(cost(prices(price, null), tokens(1000, 0))).toBe(addMoney(price, "0"));
      }),
    );
  });
});

describe("two amounts", () => {
  it.each([
    ["0.1", "0.2", "0.3"],
    ["0.000412", "0", "0.000412"],
    ["1.50", "-1.5", "0"],
    ["-0.05", "0.01", "-0.04"],
    ["99999999999999999999.99", "0.01", "100000000000000000000"],
  ])("the sum of %s and %s is %s", (a, b, sum) => {
    expect(addMoney(a, b)).toBe(sum);
  });

  it("sums are equal in every order and have no exponent or trailing zero", () => {
    fc.assert(
      fc.property(amount, amount, amount, (a, b, c) => {
        const sum = addMoney(addMoney(a, b), c);
        expect(sum).toBe(addMoney(a, addMoney(c, b)));
        expect(sum).toMatch(/^(0|[1-9]\d*)(\.\d*[1-9])?$/);
      }),
    );
  });

  it.each([["1e3"], [""], ["1."], ["0x1"], ["1,5"]])("a sum with an invalid amount is refused: %j", (text) => {
    expect(() => addMoney(text, "1")).toThrow(expect.objectContaining({ code: "VALIDATION_ERROR", status: 400 }));
  });
});
