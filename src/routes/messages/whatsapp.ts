import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import { Uuid } from "../../domain/ids.ts";
import { MessageMetadata } from "../../domain/message.ts";
import { receiveWhatsAppMessage } from "../../flows/receive-whatsapp-message.ts";
import { jsonBody } from "../../http/body.ts";
import type { AppEnv } from "../../http/context.ts";
import { addLogFields } from "../../http/context.ts";
import { requireRequestId } from "../../http/request-ids.ts";
import { json, WITH_KEY } from "../../http/openapi.ts";
import { readCredential } from "../../services/authentication.ts";
import { answer, MESSAGE_RESPONSES } from "./routes.ts";

const PHONE = { type: "string", description: "2 to 15 digits, with or without +", example: "14155550123" } as const;

const WhatsAppMessageRequest = z
  .object({
    // Checked by `requireRequestId`, which also knows the headers.
    request_id: z.unknown().optional().meta({ type: "string" }),
    message: z.looseObject({}).meta({
      type: "object",
      description:
        "A message as it stands inside Meta's webhook: text, media with or without a caption, location, contacts, ...",
      properties: { from: PHONE, to: PHONE, type: { type: "string", example: "text" } },
      required: ["from", "to", "type"],
    }),
    metadata: MessageMetadata.pipe(z.looseObject({ instance_id: Uuid.optional() })).nullish(),
    trace_id: z.string().nullish(),
  })
  .meta({ id: "WhatsAppMessageRequest" });

const route = createRoute({
  method: "post",
  path: "/api/whatsapp/messages",
  security: WITH_KEY,
  summary: "Say something (WhatsApp, taken in by a system of the brand, which takes the answer with it)",
  request: { body: { ...json(WhatsAppMessageRequest), required: true } },
  responses: MESSAGE_RESPONSES,
});

export const whatsappRoutes = new OpenAPIHono<AppEnv>();
whatsappRoutes.openAPIRegistry.registerPath(route);
whatsappRoutes.post(route.path, jsonBody(WhatsAppMessageRequest), async (c) => {
  const { message, metadata } = c.req.valid("json");
  const header = (name: string) => c.req.header(name);
  const requestId = requireRequestId(header, c.var.body);
  addLogFields(c, { channel: "whatsapp", instance_id: metadata?.instance_id });
  const { outcome, brandId, userId } = await receiveWhatsAppMessage(c.var.deps, {
    credential: await readCredential(c.var.deps, header("Authorization")),
    message,
    metadata: metadata ?? {},
    instanceId: metadata?.instance_id ?? null,
    requestId,
    traceId: c.var.traceId,
    receivedAt: c.var.receivedAt,
  });
  addLogFields(c, { outcome: outcome.kind, brand_id: brandId, user_id: userId });
  return answer(c, outcome, requestId);
});
