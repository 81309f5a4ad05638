import fc from "fast-check";

/** Unexpected values: any JSON, nothing, text of any bytes. */
export const strange = fc.oneof(fc.jsonValue(), fc.constant(undefined), fc.string({ unit: "binary" }));

/** One of the values with a random part replaced by an unexpected value. */
export const mangled = (values: readonly unknown[]): fc.Arbitrary<unknown> =>
  fc.tuple(fc.constantFrom(...values), fc.nat(), strange).map(([value, place, by]) => mangle(value, place, by));

function mangle(value: unknown, place: number, by: unknown): unknown {
  let left = place % countParts(value);
  const visit = (part: unknown): unknown => {
    left -= 1;
    if (left === -1) return by;
    if (Array.isArray(part)) return part.map(visit);
    if (typeof part !== "object" || part === null) return part;
    return Object.fromEntries(Object.entries(part).map(([key, item]) => [key, visit(item)]));
  };
  return visit(value);
}

const countParts = (value: unknown): number =>
  typeof value === "object" && value !== null
    ? Object.values(value).reduce((sum: number, part) => sum + countParts(part), 1)
    : 1;
