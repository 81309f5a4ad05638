/**
 * Inside, a moment is a number: epoch milliseconds, which has no time zone to forget. At the edges it is ISO 8601 in UTC.
 */

const ISO =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?(?:Z|([+-])([01]\d|2[0-3])(?::?([0-5]\d))?)?)?$/i;

/**
 * Epoch milliseconds of an ISO 8601 date or date and time (Postgres's spelling too). Without an offset it is UTC; what
 * is finer than a millisecond is dropped. null for anything else, for a day no calendar has, and for null.
 */
export function parseIso(text: string | null | undefined): number | null {
  const parts = ISO.exec(text?.trim() ?? "");
  if (parts === null) return null;
  const [, date, time = "00:00", seconds = "00", fraction = "", sign, hours = "0", minutes = "0"] = parts;
  const local = `${date}T${time}:${seconds}.${fraction.padEnd(3, "0").slice(0, 3)}Z`;
  const instant = Date.parse(local);
  // Date.parse takes 30 February for 2 March; the way back tells.
  if (Number.isNaN(instant) || new Date(instant).toISOString() !== local) return null;
  const offset = (Number(hours) * 60 + Number(minutes)) * 60_000;
  return sign === "-" ? instant + offset : instant - offset;
}

/** ISO 8601 in UTC, "2026-11-22T14:19:00.123Z"; without the fraction if asked; null for null. */
export function formatIso(ms: number, options?: { milliseconds?: boolean }): string;
export function formatIso(ms: number | null, options?: { milliseconds?: boolean }): string | null;
export function formatIso(ms: number | null, { milliseconds = true } = {}): string | null {
  if (ms === null) return null;
  const iso = new Date(ms).toISOString();
  return milliseconds ? iso : iso.replace(/\.\d{3}Z$/, "Z");
}

/** Whether a moment is at most `windowMs` ago. Clocks differ, so a moment just ahead of ours is recent too. */
export const isRecent = (ms: number | null, windowMs: number, now: number): boolean =>
  ms !== null && now - ms <= windowMs;
