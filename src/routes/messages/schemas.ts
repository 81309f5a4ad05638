import { z } from "@hono/zod-openapi";
import { Uuid } from "../../domain/ids.ts";
import { Identifiers } from "../../domain/identity.ts";
import { MessageContent, MessageMetadata } from "../../domain/message.ts";
import { Answer } from "../../domain/submission.ts";
import { RequestIdField } from "../../http/request-ids.ts";
import { BODY_REFUSALS, refusals, SERVICE_REFUSALS, success } from "../../http/openapi.ts";

export const MessageRequest = z
  .object({
    instance_id: Uuid,
    request_id: RequestIdField,
    content: MessageContent,
    user: Identifiers.nullish(),
    trace_id: z.string().nullish(),
    metadata: MessageMetadata.nullish(),
    ...Identifiers.shape,
  })
  .meta({ id: "MessageRequest" });
export type MessageRequest = z.output<typeof MessageRequest>;

export const MESSAGE_EXAMPLE = {
  instance_id: "7f1d0a52-3c5e-4f0e-9a5e-0d6c1c1b2a10",
  request_id: "order-42-question-1",
  content: "Where is my order?",
  user: { email: "ann@example.com" },
  metadata: { page: "/orders/42" },
};

const InstanceId = Uuid.optional();
const PHONE = { type: "string", description: "2 to 15 digits, with or without +", example: "14155550123" } as const;

export const WhatsAppMessageRequest = z
  .object({
    request_id: RequestIdField,
    message: z.looseObject({}).meta({
      type: "object",
      description: "The message object of Meta's webhook: text, media with or without caption, location, contacts, ...",
      properties: { from: PHONE, to: PHONE, type: { type: "string", example: "text" } },
      required: ["from", "to", "type"],
      additionalProperties: true,
    }),
    metadata: MessageMetadata.refine(({ value }) => InstanceId.safeParse(value.instance_id).success, {
      path: ["instance_id"],
      message: "must be a UUID",
    }).nullish(),
    trace_id: z.string().nullish(),
  })
  .meta({ id: "WhatsAppMessageRequest" });

export const WHATSAPP_EXAMPLE = {
  request_id: "wamid.HBgLMTQxNTU1NTAxMjM",
  message: { from: "14155550123", to: "15550001111", type: "text", text: { body: "Where is my order?" } },
};

/** What the caller of a turn gets: the turn's answer, and for a guest the token that continues as the same guest. */
export const MessageReply = Answer.extend({
  guest_token: z
    .string()
    .optional()
    .meta({ description: "For guests: send it as `auth_token` to stay the same guest" }),
}).meta({ id: "MessageReply" });
export type MessageReply = z.infer<typeof MessageReply>;

export const MessageAccepted = z
  .object({ request_id: z.string(), session_id: Uuid, inbound_message_id: Uuid })
  .meta({ id: "MessageAccepted" });

/** Responses of every message channel. */
export const MESSAGE_RESPONSES = {
  200: success("The reply", MessageReply),
  202: success(
    "The message is saved and waits behind other turns; the same request id returns its state",
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
    ...SERVICE_REFUSALS,
  ),
};
