import type { Refused } from "../../src/rpc/conversation.ts";
import { AppError, notFound } from "../../src/domain/errors.ts";

/** The refusal a check throws, as the value that goes across RPC; null when it has nothing against it. */
export function toRefused(check: () => void): Refused | null {
  try {
    check();
    return null;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { kind: "refused", code: error.code, message: error.message, details: error.details };
  }
}

/** An erased session is no session, to anybody. */
export function sessionNotFound(sessionId: string): Refused {
  const { code, message, details } = notFound("conversation", sessionId);
  return { kind: "refused", code, message, details };
}
