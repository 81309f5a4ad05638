import { AppError } from "../../domain/errors.ts";
import type { Answer, SubmitOutcome } from "../../domain/submission.ts";
import type { AppContext } from "../../http/context.ts";
import { addLogFields } from "../../http/context.ts";
import { duplicate, mismatch, replay } from "../../http/idempotency.ts";
import { respond } from "../../http/respond.ts";
import type { MessageReply } from "./schemas.ts";

/** The response to a submitted message. `replyOf` adds the fields that only this caller gets. */
export async function respondTo(
  c: AppContext,
  outcome: SubmitOutcome,
  requestId: string,
  replyOf: (answer: Answer) => Promise<MessageReply> = (answer) => Promise.resolve(answer),
) {
  switch (outcome.kind) {
    case "answered":
      return processed(c, await replyOf(outcome.answer));
    case "accepted": {
      const { sessionId, inboundMessageId } = outcome;
      const data = { request_id: requestId, session_id: sessionId, inbound_message_id: inboundMessageId };
      return respond(c, 202, data, "Message accepted");
    }
    case "completed": {
      const first = await replyOf(outcome.answer);
      replay(c, requestId, first);
      return processed(c, first);
    }
    case "in_progress":
      throw duplicate(requestId, { state: "in_progress", retry_after_ms: outcome.retryAfterMs });
    case "mismatch":
      throw mismatch(c, requestId);
    case "limited":
      throw new AppError("RATE_LIMITED", "Too many messages", {
        details: { scope: outcome.scope, retry_after_ms: outcome.retryAfterMs },
      });
    case "refused":
      throw new AppError(outcome.code, outcome.message, { details: outcome.details });
    default:
      return outcome satisfies never;
  }
}

function processed(c: AppContext, data: MessageReply) {
  addLogFields(c, { session_id: data.session_id, fallback: data.fallback, tokens: data.token_usage.total });
  return respond(c, 200, data, "Message processed");
}
