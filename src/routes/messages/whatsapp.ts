import { createRoute } from "@hono/zod-openapi";
import { Uuid } from "../../domain/ids.ts";
import { NO_METADATA } from "../../domain/message.ts";
import { receiveWhatsAppMessage } from "../../flows/receive-whatsapp-message.ts";
import { jsonBody } from "../../http/body.ts";
import { addLogFields } from "../../http/context.ts";
import { body, IdempotencyHeaders, WITH_KEY } from "../../http/openapi.ts";
import { requireRequestId } from "../../http/request-ids.ts";
import { createRouter } from "../../http/router.ts";
import { readCredential } from "../../services/authentication.ts";
import { respondTo } from "./respond.ts";
import { MESSAGE_RESPONSES, WHATSAPP_EXAMPLE, WhatsAppMessageRequest } from "./schemas.ts";

const send = createRoute({
  method: "post",
  path: "/api/whatsapp/messages",
  operationId: "sendWhatsAppMessage",
  tags: ["Messages"],
  security: WITH_KEY,
  summary: "Send a WhatsApp message received by your own system",
  description: "Runs one turn and returns the reply; your system delivers it. Nothing is sent through the Graph API.",
  middleware: jsonBody(WhatsAppMessageRequest),
  request: { headers: IdempotencyHeaders, body: body(WhatsAppMessageRequest, WHATSAPP_EXAMPLE) },
  responses: MESSAGE_RESPONSES,
});

export const whatsappRoutes = createRouter().openapi(send, async (c) => {
  const { message, metadata } = c.req.valid("json");
  const header = (name: string) => c.req.header(name);
  const requestId = requireRequestId(header, c.var.body);
  const instanceId = Uuid.nullable()
    .catch(null)
    .parse(metadata?.value.instance_id ?? null);
  addLogFields(c, { channel: "whatsapp", instance_id: instanceId });
  const { outcome, brandId, userId } = await receiveWhatsAppMessage(c.var.deps, {
    credential: await readCredential(c.var.deps, header("Authorization")),
    message,
    metadata: metadata ?? NO_METADATA,
    instanceId,
    requestId,
    traceId: c.var.traceId,
    receivedAt: c.var.receivedAt,
  });
  addLogFields(c, { outcome: outcome.kind, brand_id: brandId, user_id: userId });
  return respondTo(c, outcome, requestId);
});
