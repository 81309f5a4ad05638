import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { newestFirst, pageOf, savedWindow } from "../../src/domain/history.ts";

type Item = { createdAt: number; seq: number };

describe("a page of history", () => {
  it("a page of history is the same whichever of its messages are saved", () => {
    const items = fc.uniqueArray(fc.record({ createdAt: fc.nat(20), seq: fc.nat(5) }), {
      selector: ({ createdAt, seq }) => `${createdAt}.${seq}`,
      maxLength: 40,
    });
    fc.assert(
      fc.property(
        items,
        fc.infiniteStream(fc.boolean()),
        fc.nat(45),
        fc.integer({ min: 1, max: 10 }),
        (all, coin, offset, limit) => {
          const sorted = all.toSorted(newestFirst);
          const unsaved: Item[] = [];
          const saved: Item[] = [];
          for (const item of sorted) (coin.next().value === true ? unsaved : saved).push(item);
          // What the object is asked for, and what Postgres then is.
          const newest = unsaved.slice(0, offset + limit);
          const window = savedWindow(newest.length, offset, limit);
          const others = sorted.filter((item) => !newest.includes(item) && saved.includes(item));
          const found = others.slice(window.offset, window.offset + window.limit);
          expect(pageOf(newest, found, { offset, limit })).toEqual(sorted.slice(offset, offset + limit));
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it("Postgres is asked for exactly one page when nothing is unsaved", () => {
    expect(savedWindow(0, 40, 21)).toEqual({ offset: 40, limit: 21 });
  });

  it("nothing older than the messages that were left out is on a page", () => {
    const at = (createdAt: number) => ({ createdAt, seq: createdAt });
    const unsaved = [at(9), at(7)];
    const page = { offset: 0, limit: 5 };
    expect(pageOf(unsaved, [at(8), at(6), at(5)], page, at(7))).toEqual([at(9), at(8), at(7)]);
    expect(pageOf(unsaved, [at(8), at(6), at(5)], { offset: 5, limit: 5 }, at(7))).toEqual([]);
  });
});
