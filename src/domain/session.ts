import type { Channel } from "./channel.ts";
import type { TokenPlan } from "./token.ts";

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
};

/** A session is over when nothing was said for longer than the timeout. */
export const isOver = (session: Pick<Session, "lastMessageAt">, timeoutMs: number, now: number): boolean =>
  session.lastMessageAt < now - timeoutMs;
