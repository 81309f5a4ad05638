import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import type { Deps } from "../../deps.ts";
import type { Channel } from "../../domain/channel.ts";
import { AppError } from "../../domain/errors.ts";
import { Uuid } from "../../domain/ids.ts";
import { Identifiers } from "../../domain/identity.ts";
import { MessageContent, MessageMetadata } from "../../domain/message.ts";
import { receiveMessage } from "../../flows/receive-message.ts";
import type { Receipt } from "../../flows/receive-message.ts";
import { jsonBody } from "../../http/body.ts";
import type { AppContext, AppEnv } from "../../http/context.ts";
import { addLogFields } from "../../http/context.ts";
import { duplicate, mismatch, replay } from "../../http/idempotency.ts";
import { requireRequestId } from "../../http/request-ids.ts";
import { BODY_REFUSALS, json, refusals, success, WITH_KEY, WITH_OR_WITHOUT_CREDENTIAL } from "../../http/openapi.ts";
import { readCredential } from "../../services/authentication.ts";
import { guestToken } from "../../services/user-token.ts";
import type { Answer, SubmitOutcome } from "../../domain/submission.ts";

const MessageRequest = z
  .object({
    instance_id: Uuid,
    // Checked by `requireRequestId`, which also knows the headers.
    request_id: z.unknown().optional().meta({
      type: "string",
      description: "1 to 128 of A-Z a-z 0-9 . _ : -; or the header X-Request-ID or Idempotency-Key",
    }),
    content: MessageContent,
    user: Identifiers.nullish(),
    trace_id: z.string().nullish(),
    metadata: MessageMetadata.nullish(),
    ...Identifiers.shape,
  })
  .meta({ id: "MessageRequest" });

const MessageReply = z
  .object({
    request_id: z.string(),
    session_id: Uuid,
    user_id: Uuid,
    is_guest: z.boolean(),
    inbound_message_id: Uuid,
    message_id: Uuid,
    text: z.string(),
    token_usage: z.object({
      prompt_in: z.int(),
      completion_out: z.int(),
      total: z.int(),
      cost_usd: z.string().nullable(),
    }),
    fallback: z.boolean(),
    timing_ms: z.object({ total: z.number(), admission: z.number(), orchestrator: z.number() }),
    guest_token: z.string().optional(),
  })
  .meta({ id: "MessageReply" });

const MessageAccepted = z
  .object({ request_id: z.string(), session_id: Uuid, inbound_message_id: Uuid })
  .meta({ id: "MessageAccepted" });

/** What any channel of messages can answer. */
export const MESSAGE_RESPONSES = {
  200: success("The reply", MessageReply),
  202: success(
    "Still waiting behind other turns of the conversation; ask again with the same request id",
    MessageAccepted,
  ),
  ...refusals(
    ...BODY_REFUSALS,
    "MISSING_REQUEST_ID",
    "INVALID_REQUEST_ID",
    "UNAUTHORIZED",
    "FORBIDDEN",
    "RESOURCE_NOT_FOUND",
    "DUPLICATE_REQUEST",
    "RATE_LIMITED",
    "ORCHESTRATION_ERROR",
    "SERVICE_UNAVAILABLE",
    "INTERNAL_ERROR",
  ),
};

const route = (path: string, channel: Channel) =>
  createRoute({
    method: "post",
    path,
    security: channel === "api" ? WITH_KEY : WITH_OR_WITHOUT_CREDENTIAL,
    summary: `Say something (${channel})`,
    request: { body: { ...json(MessageRequest), required: true } },
    responses: MESSAGE_RESPONSES,
  });

/** The three channels that are one: the same message, known by where it came in. */
export const messageRoutes = new OpenAPIHono<AppEnv>();
for (const channel of ["api", "web", "app"] as const) {
  const path = `/${channel}/messages`;
  messageRoutes.openAPIRegistry.registerPath(route(path, channel));
  messageRoutes.post(path, jsonBody(MessageRequest), async (c) => {
    const body = c.req.valid("json");
    const header = (name: string) => c.req.header(name);
    const requestId = requireRequestId(header, c.var.body);
    addLogFields(c, { channel, instance_id: body.instance_id });
    const receipt = await receiveMessage(c.var.deps, {
      channel,
      credential: await readCredential(c.var.deps, header("Authorization")),
      instanceId: body.instance_id,
      requestId,
      traceId: c.var.traceId,
      content: body.content,
      metadata: body.metadata ?? {},
      identifiers: identifiersOf(body),
      clientAddress: header("CF-Connecting-IP") ?? "unknown",
      receivedAt: c.var.receivedAt,
    });
    addLogFields(c, { outcome: receipt.outcome.kind, brand_id: receipt.brandId, user_id: receipt.userId });
    return answer(c, receipt.outcome, requestId, (first) => withGuestToken(c.var.deps, first, receipt));
  });
}

/** What names the speaker, and nothing else of the body: in `user`, or left out there at the top level. */
const identifiersOf = ({ user, ...top }: z.output<typeof MessageRequest>): Identifiers => ({
  phone_e164: user?.phone_e164 ?? top.phone_e164,
  email: user?.email ?? top.email,
  device_id: user?.device_id ?? top.device_id,
  auth_token: user?.auth_token ?? top.auth_token,
});

/** What a caller is told of their turn; `replyOf` adds what only this caller gets. A bug if an outcome is forgotten. */
export async function answer(
  c: AppContext,
  outcome: SubmitOutcome,
  requestId: string,
  replyOf: (answer: Answer) => Promise<Reply> = (answer) => Promise.resolve(answer),
): Promise<Response> {
  switch (outcome.kind) {
    case "answered":
      return processed(c, await replyOf(outcome.answer));
    case "accepted": {
      const data = {
        request_id: requestId,
        session_id: outcome.sessionId,
        inbound_message_id: outcome.inboundMessageId,
      };
      return c.json({ success: true, data, message: "Message accepted" }, 202);
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

type Reply = Answer & { guest_token?: string };

const processed = (c: AppContext, data: Reply): Response => {
  addLogFields(c, { session_id: data.session_id, fallback: data.fallback, tokens: data.token_usage.total });
  return c.json({ success: true, data, message: "Message processed" });
};

/** A guest is handed what they need to go on as the same guest. */
async function withGuestToken(
  { config }: Pick<Deps, "config">,
  data: Answer,
  { brandId, userId, isGuest }: Receipt,
): Promise<Reply> {
  const token = isGuest ? await guestToken(config, { userId, brandId, turnId: data.inbound_message_id }) : null;
  return token === null ? data : { ...data, guest_token: token };
}
