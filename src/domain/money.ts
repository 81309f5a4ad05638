import { invalid } from "./errors.ts";

/**
 * Money is a decimal string in USD, computed exactly and never as a float. Results have the shortest exact form: no
 * exponent, no trailing zeros ("0.000412", "0"), no rounding. Postgres stores them as `numeric`.
 */

/** units / 10 ** scale */
type Decimal = { units: bigint; scale: number };

function parse(text: string): Decimal | null {
  const parts = /^(-?\d+)(?:\.(\d+))?$/.exec(text.trim());
  if (parts === null) return null;
  const [, whole = "", fraction = ""] = parts;
  return { units: BigInt(whole + fraction), scale: fraction.length };
}

function format({ units, scale }: Decimal): string {
  const digits = (units < 0n ? -units : units).toString().padStart(scale + 1, "0");
  const point = digits.length - scale;
  const fraction = digits.slice(point).replace(/0+$/, "");
  return `${units < 0n ? "-" : ""}${digits.slice(0, point)}${fraction === "" ? "" : `.${fraction}`}`;
}

const add = (a: Decimal, b: Decimal): Decimal => {
  const scale = Math.max(a.scale, b.scale);
  const at = (decimal: Decimal): bigint => decimal.units * 10n ** BigInt(scale - decimal.scale);
  return { units: at(a) + at(b), scale };
};

/** USD per 1,000 tokens as decimal strings; null when not set. */
export type Prices = { inputPricePer1k: string | null; outputPricePer1k: string | null };

const NOTHING: Decimal = { units: 0n, scale: 0 };

/** null when tokens were used and the price is missing or invalid. */
function charge(pricePer1k: string | null, tokens: number): Decimal | null {
  if (tokens === 0) return NOTHING;
  const price = pricePer1k === null ? null : parse(pricePer1k);
  if (price === null || price.units < 0n) return null;
  return { units: price.units * BigInt(tokens), scale: price.scale + 3 };
}

/**
 * The cost of a call in USD; tokens are non-negative integers. null when a required price is missing or no decimal: an
 * unknown cost is never reported as 0.
 */
export function cost(prices: Prices, tokens: { promptIn: number; completionOut: number }): string | null {
  const input = charge(prices.inputPricePer1k, tokens.promptIn);
  const output = charge(prices.outputPricePer1k, tokens.completionOut);
  return input === null || output === null ? null : format(add(input, output));
}

/** The exact sum of two amounts. Refuses (400) strings that are no decimals. */
export function addMoney(a: string, b: string): string {
  const [left, right] = [parse(a), parse(b)];
  if (left === null || right === null) throw invalid("amount", "an amount is a decimal string");
  return format(add(left, right));
}
