import type { Channel } from "./channel.ts";
import { invalid } from "./errors.ts";
import { isRecent } from "./time.ts";
import type { InstanceConfig } from "./instance.ts";
import type { TokenPlan } from "./token-plan.ts";

/** A conversation as the API calls it: what one person and one instance say to each other until it has been quiet too long. */
export type Session = {
  id: string;
  brandId: string;
  instanceId: string;
  userId: string;
  channel: Channel;
  /** Epoch milliseconds, like every time below. */
  startedAt: number;
  lastMessageAt: number;
  lastAssistantMessageAt: number | null;
  /** null until the first message has planned it. */
  tokenPlan: TokenPlan | null;
  /** What was said of it when it was started. */
  metadata?: Record<string, unknown>;
};

/** A session is over when nothing was said for longer than the timeout. */
export const isOver = (session: Pick<Session, "lastMessageAt">, timeoutMs: number, now: number): boolean =>
  !isRecent(session.lastMessageAt, timeoutMs, now);

/** The times of a session that something said may move. */
const SESSION_TIMES: readonly string[] = ["lastMessageAt", "lastAssistantMessageAt"] satisfies (keyof Session)[];

/** The session with one of its times set to now; never back, whatever two clocks say. Refuses (400) any other field. */
export function stamped<T extends Pick<Session, "lastMessageAt" | "lastAssistantMessageAt">>(
  session: T,
  field: "lastMessageAt" | "lastAssistantMessageAt",
  now: number,
): T {
  if (!SESSION_TIMES.includes(field)) throw invalid("field", "A session has no such time");
  return { ...session, [field]: Math.max(now, session[field] ?? now) };
}

/** When a session ended: by hand, or by itself after the timeout; null while it is open. Epoch milliseconds. */
export const endOf = (
  session: Pick<Session, "lastMessageAt">,
  expiredAt: number | null,
  timeoutMs: number,
  now: number,
): number | null => expiredAt ?? (isOver(session, timeoutMs, now) ? session.lastMessageAt + timeoutMs : null);

/** Minutes from a moment to now, to the hundredth; never negative, whatever two clocks say. */
export const minutesSince = (moment: number, now: number): number =>
  Math.max(0, Math.round((now - moment) / 600) / 100);

/** Inactivity timeout of a session in milliseconds: the instance's own setting, else the deploy's default. */
export const sessionTimeoutMs = (
  instance: Pick<InstanceConfig, "sessionTimeoutMinutes"> | null,
  defaultMinutes: number,
): number => (instance?.sessionTimeoutMinutes ?? defaultMinutes) * 60_000;
