/**
 * Times are epoch milliseconds inside the service and ISO 8601 in UTC at its edges.
 */

const ISO =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?(?:Z|([+-])([01]\d|2[0-3])(?::?([0-5]\d))?)?)?$/i;

/**
 * Parses an ISO 8601 date or date and time (Postgres's spelling too) to epoch milliseconds. UTC without an offset;
 * fractions of a millisecond are dropped. null for anything else, invalid days included.
 */
export function parseIso(text: string | null | undefined): number | null {
  const parts = ISO.exec(text?.trim() ?? "");
  if (parts === null) return null;
  const [, date, time = "00:00", seconds = "00", fraction = "", sign, hours = "0", minutes = "0"] = parts;
  const local = `${date}T${time}:${seconds}.${fraction.padEnd(3, "0").slice(0, 3)}Z`;
  const instant = Date.parse(local);
  // Date.parse reads 30 February as 2 March: format the result and compare.
  if (Number.isNaN(instant) || new Date(instant).toISOString() !== local) return null;
  const offset = (Number(hours) * 60 + Number(minutes)) * 60_000;
  return sign === "-" ? instant + offset : instant - offset;
}

/** Formats as ISO 8601 in UTC, "2026-11-22T14:19:00.123Z", with or without the fraction; null for null. */
export function formatIso(ms: number, options?: { milliseconds?: boolean }): string;
export function formatIso(ms: number | null, options?: { milliseconds?: boolean }): string | null;
export function formatIso(ms: number | null, { milliseconds = true } = {}): string | null {
  if (ms === null) return null;
  const iso = new Date(ms).toISOString();
  return milliseconds ? iso : iso.replace(/\.\d{3}Z$/, "Z");
}

/** Whether a moment is at most `windowMs` ago. A moment in the future is recent too, since clocks differ. */
export const isRecent = (ms: number | null, windowMs: number, now: number): boolean =>
  ms !== null && now - ms <= windowMs;
