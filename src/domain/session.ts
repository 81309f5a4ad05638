import type { Channel } from "./channel.ts";
import { invalid } from "./errors.ts";
import { isRecent } from "./time.ts";
import type { InstanceConfig } from "./instance.ts";
import type { TokenPlan } from "./token-plan.ts";

/** A conversation in the API's terms: the messages of one user and one instance until the inactivity timeout. */
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
  /** null until the first message, which plans it. */
  tokenPlan: TokenPlan | null;
  /** Metadata given when the conversation was started. */
  metadata?: Record<string, unknown>;
};

/** Whether the session has had no message for longer than the timeout. */
export const isOver = (session: Pick<Session, "lastMessageAt">, timeoutMs: number, now: number): boolean =>
  !isRecent(session.lastMessageAt, timeoutMs, now);

/** Times of a session that a message may update. */
const SESSION_TIMES: readonly string[] = ["lastMessageAt", "lastAssistantMessageAt"] satisfies (keyof Session)[];

/** Sets one of the session's times to now, but never to an earlier time. Refuses (400) any other field. */
export function stamped<T extends Pick<Session, "lastMessageAt" | "lastAssistantMessageAt">>(
  session: T,
  field: "lastMessageAt" | "lastAssistantMessageAt",
  now: number,
): T {
  if (!SESSION_TIMES.includes(field)) throw invalid("field", "A session has no such time");
  return { ...session, [field]: Math.max(now, session[field] ?? now) };
}

/** When a session ended, by request or by timeout; null while it is open. Epoch milliseconds. */
export const endOf = (
  session: Pick<Session, "lastMessageAt">,
  expiredAt: number | null,
  timeoutMs: number,
  now: number,
): number | null => expiredAt ?? (isOver(session, timeoutMs, now) ? session.lastMessageAt + timeoutMs : null);

/** Minutes from a moment to now, rounded to hundredths. Never negative, even when clocks differ. */
export const minutesSince = (moment: number, now: number): number =>
  Math.max(0, Math.round((now - moment) / 600) / 100);

/** Inactivity timeout of a session in milliseconds: the instance's setting, else the default of the deploy. */
export const sessionTimeoutMs = (
  instance: Pick<InstanceConfig, "sessionTimeoutMinutes"> | null,
  defaultMinutes: number,
): number => (instance?.sessionTimeoutMinutes ?? defaultMinutes) * 60_000;
