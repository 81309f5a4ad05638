import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { stamped } from "../../src/domain/session.ts";
import { formatIso, isRecent, parseIso } from "../../src/domain/time.ts";

const NOON = Date.UTC(2026, 10, 22, 12);

describe("a moment in a message", () => {
  it.each([["2026-11-22T12:00:00"], ["2026-11-22 12:00"]])("a time without a zone is UTC: %s [F3.1.1]", (text) => {
    expect(parseIso(text)).toBe(NOON);
  });

  it.each([["2026-11-22T14:00:00+02:00"], ["2026-11-22T06:30:00-0530"], ["2026-11-22 13:00:00+01"]])(
    "a time is the same instant in every zone: %s [F3.1.2]",
    (text) => {
      expect(parseIso(text)).toBe(NOON);
    },
  );

  it("a missing time is null [F3.1.3]", () => {
    expect([parseIso(null), parseIso(undefined), parseIso("")]).toEqual([null, null, null]);
  });

  it("a time is read to the millisecond [F3.2.1]", () => {
    expect(parseIso("2026-11-22T12:00:00.123987+00:00")).toBe(NOON + 123);
  });

  it("a time with Z or +00:00 is UTC [F3.2.2]", () => {
    expect([parseIso("2026-11-22T12:00:00Z"), parseIso("2026-11-22T12:00:00+00:00")]).toEqual([NOON, NOON]);
  });

  it.each([
    ["yesterday"],
    ["1763812800000"],
    ["2026-02-30T00:00:00Z"],
    ["2026-11-22T25:00:00Z"],
    ["2026-11-22T12:00:00+2"],
  ])("a time that is not ISO 8601 or not on the calendar is null: %s [F3.2.3]", (text) => {
    expect(parseIso(text)).toBeNull();
  });
});

describe("a moment we tell", () => {
  it("a time is written as ISO 8601 in UTC [F3.3.1]", () => {
    expect(formatIso(NOON + 7)).toBe("2026-11-22T12:00:00.007Z");
  });

  it("a time is written without its fraction when asked [F3.3.2]", () => {
    expect(formatIso(NOON + 7, { milliseconds: false })).toBe("2026-11-22T12:00:00Z");
  });

  it("a missing time is written as null [F3.3.3]", () => {
    expect(formatIso(null)).toBeNull();
  });

  it("a written time is read back as the same instant with its zone [F3.4.1]", () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date(0), max: new Date("9999-12-31T23:59:59.999Z"), noInvalidDate: true }),
        (date) => {
          const told = formatIso(date.getTime());
          expect([told.endsWith("Z"), parseIso(told)]).toEqual([true, date.getTime()]);
        },
      ),
    );
  });
});

describe("a conversation that was active", () => {
  it.each([
    ["just now", NOON],
    ["a window ago to the millisecond", NOON - 1000],
    ["a moment ahead of our clock", NOON + 5],
  ])("a conversation active %s ago is recent [F3.5.1]", (_, ms) => {
    expect(isRecent(ms, 1000, NOON)).toBe(true);
  });

  it("a conversation active before the window is not recent [F3.5.2]", () => {
    expect(isRecent(NOON - 1001, 1000, NOON)).toBe(false);
  });

  it("a conversation that was never active is not recent [F3.5.3]", () => {
    expect(isRecent(null, 1000, NOON)).toBe(false);
  });
});

describe("a conversation in which something is said", () => {
  const session = { id: "s", lastMessageAt: NOON, lastAssistantMessageAt: null };

  it("a message moves one time of its session to now [F3.6.1]", () => {
    expect(stamped(session, "lastAssistantMessageAt", NOON + 5)).toEqual({
      ...session,
      lastAssistantMessageAt: NOON + 5,
    });
  });

  it("a message never moves a session's time back", () => {
    expect(stamped(session, "lastMessageAt", NOON - 5).lastMessageAt).toBe(NOON);
  });

  it("an unknown time column is refused [F3.6.2]", () => {
    // @ts-expect-error the compiler refuses it too
    expect(() => stamped(session, "id", NOON)).toThrow(expect.objectContaining({ code: "VALIDATION_ERROR" }));
  });
});
