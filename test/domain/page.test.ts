import fc from "fast-check";
import { expect, it } from "vitest";
import { encodeCursor, MessagePageQuery } from "../../src/domain/page.ts";

it("every cursor that is given is taken, of times before 1970 too", () => {
  const instant = fc.integer({ min: -8_640_000_000_000_000, max: 8_640_000_000_000_000 });
  fc.assert(
    fc.property(instant, fc.nat(), (at, tie) => {
      const { before } = MessagePageQuery.parse({ before: encodeCursor({ at, tie }) });
      expect(before).toEqual({ at, tie });
    }),
  );
});
