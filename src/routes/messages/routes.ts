import { createRoute } from "@hono/zod-openapi";
import type { Deps } from "../../deps.ts";
import type { Channel } from "../../domain/channel.ts";
import { NO_METADATA } from "../../domain/message.ts";
import type { Identifiers } from "../../domain/identity.ts";
import type { Answer } from "../../domain/submission.ts";
import { receiveMessage } from "../../flows/receive-message.ts";
import type { Receipt } from "../../flows/receive-message.ts";
import { jsonBody } from "../../http/body.ts";
import type { AppContext } from "../../http/context.ts";
import { addLogFields } from "../../http/context.ts";
import { body, IdempotencyHeaders, WITH_KEY, WITH_OR_WITHOUT_CREDENTIAL } from "../../http/openapi.ts";
import { requireRequestId } from "../../http/request-ids.ts";
import { createRouter } from "../../http/router.ts";
import { readCredential } from "../../services/authentication.ts";
import { guestToken } from "../../services/user-token.ts";
import { respondTo } from "./respond.ts";
import { MESSAGE_EXAMPLE, MESSAGE_RESPONSES, MessageRequest } from "./schemas.ts";
import type { MessageReply } from "./schemas.ts";

const contract = <Path extends string>(path: Path, channel: Channel, operationId: string) =>
  createRoute({
    method: "post",
    path,
    operationId,
    tags: ["Messages"],
    security: channel === "api" ? WITH_KEY : WITH_OR_WITHOUT_CREDENTIAL,
    summary: `Send a message (${channel} channel)`,
    description:
      "Runs one turn and returns the assistant's reply. Turns of one conversation run one after the other. The same request id never runs twice.",
    middleware: jsonBody(MessageRequest),
    request: { headers: IdempotencyHeaders, body: body(MessageRequest, MESSAGE_EXAMPLE) },
    responses: MESSAGE_RESPONSES,
  });

/** The chat channels: one request and one reply, told apart by path. */
export const messageRoutes = createRouter()
  .openapi(contract("/api/messages", "api", "sendApiMessage"), (c) => answer(c, "api", c.req.valid("json")))
  .openapi(contract("/web/messages", "web", "sendWebMessage"), (c) => answer(c, "web", c.req.valid("json")))
  .openapi(contract("/app/messages", "app", "sendAppMessage"), (c) => answer(c, "app", c.req.valid("json")));

async function answer(c: AppContext, channel: Channel, message: MessageRequest) {
  const header = (name: string) => c.req.header(name);
  const requestId = requireRequestId(header, c.var.body);
  addLogFields(c, { channel, instance_id: message.instance_id });
  const receipt = await receiveMessage(c.var.deps, {
    channel,
    credential: await readCredential(c.var.deps, header("Authorization")),
    instanceId: message.instance_id,
    requestId,
    traceId: c.var.traceId,
    content: message.content,
    metadata: message.metadata ?? NO_METADATA,
    identifiers: identifiersOf(message),
    clientAddress: header("CF-Connecting-IP") ?? "unknown",
    receivedAt: c.var.receivedAt,
  });
  addLogFields(c, { outcome: receipt.outcome.kind, brand_id: receipt.brandId, user_id: receipt.userId });
  return respondTo(c, receipt.outcome, requestId, (first) => withGuestToken(c.var.deps, first, receipt));
}

/** The sender's identifiers: those in `user` first, else those at the top level of the body. */
const identifiersOf = ({ user, ...top }: MessageRequest): Identifiers => ({
  phone_e164: user?.phone_e164 ?? top.phone_e164,
  email: user?.email ?? top.email,
  device_id: user?.device_id ?? top.device_id,
  auth_token: user?.auth_token ?? top.auth_token,
});

async function withGuestToken(
  { config }: Pick<Deps, "config">,
  data: Answer,
  { brandId, userId, isGuest }: Receipt,
): Promise<MessageReply> {
  const token = isGuest ? await guestToken(config, { userId, brandId, turnId: data.inbound_message_id }) : null;
  return token === null ? data : { ...data, guest_token: token };
}
