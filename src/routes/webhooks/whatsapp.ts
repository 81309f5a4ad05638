import { createRoute, z } from "@hono/zod-openapi";
import { isSigned } from "../../channels/whatsapp/signature.ts";
import { AppError } from "../../domain/errors.ts";
import { receiveWhatsAppWebhook } from "../../flows/receive-whatsapp-webhook.ts";
import { readBytes } from "../../http/body.ts";
import { addLogFields } from "../../http/context.ts";
import { body, PUBLIC, refusals, SERVICE_REFUSALS, success, WITH_SIGNATURE } from "../../http/openapi.ts";
import { respond } from "../../http/respond.ts";
import { createRouter } from "../../http/router.ts";
import { isSameSecret } from "../../services/authentication.ts";
import { EVENT } from "../../telemetry/events.ts";

/** Meta batches up to 3 MB. */
const MAX_NOTIFICATION_BYTES = 3 * 1024 * 1024;

const Handshake = z.object({
  "hub.mode": z.string().optional(),
  "hub.verify_token": z.string().optional(),
  "hub.challenge": z.string().optional(),
});

const Received = z
  .object({ messages: z.int(), duplicates: z.int(), statuses: z.int(), skipped: z.int() })
  .meta({ id: "NotificationReceived" });

const subscribe = createRoute({
  method: "get",
  path: "/webhooks/whatsapp",
  operationId: "verifyWhatsAppWebhook",
  tags: ["Webhooks"],
  security: PUBLIC,
  summary: "Answer Meta's subscription handshake",
  request: { query: Handshake },
  responses: {
    200: { description: "The challenge", content: { "text/plain": { schema: z.string() } } },
    ...refusals("FORBIDDEN", "INTERNAL_ERROR", "SERVICE_UNAVAILABLE"),
  },
});

const notify = createRoute({
  method: "post",
  path: "/webhooks/whatsapp",
  operationId: "receiveWhatsAppWebhook",
  tags: ["Webhooks"],
  security: WITH_SIGNATURE,
  summary: "Receive a webhook of the WhatsApp Cloud API",
  description: "Answered once every message is saved, before the orchestrator is called.",
  request: { body: body(z.looseObject({}).meta({ id: "WhatsAppWebhook" })) },
  responses: {
    200: success("Every message is saved", Received),
    ...refusals("UNAUTHORIZED", "MALFORMED_JSON", "PAYLOAD_TOO_LARGE", ...SERVICE_REFUSALS),
  },
});

/** Endpoints that Meta calls. */
export const webhookRoutes = createRouter()
  .openapi(subscribe, async (c) => {
    const { whatsappVerifyToken } = c.var.deps.config;
    const query = c.req.valid("query");
    const isOurs = query["hub.mode"] === "subscribe" && whatsappVerifyToken !== null;
    if (!isOurs || !(await isSameSecret(query["hub.verify_token"] ?? "", whatsappVerifyToken))) {
      throw new AppError("FORBIDDEN", "The verify token is wrong");
    }
    return c.text(query["hub.challenge"] ?? "", 200);
  })
  .openapi(notify, async (c) => {
    const { deps, traceId, receivedAt } = c.var;
    const { config, log } = deps;
    const bytes = await readBytes(c.req.raw, MAX_NOTIFICATION_BYTES);
    if (config.whatsappAppSecrets.length === 0) log.error(EVENT.webhookSecretMissing, { trace_id: traceId });
    if (!(await isSigned(config.whatsappAppSecrets, c.req.header("X-Hub-Signature-256"), bytes))) {
      throw new AppError("UNAUTHORIZED", "The signature is missing or wrong");
    }
    const summary = await receiveWhatsAppWebhook(deps, parse(bytes), { traceId, receivedAt });
    addLogFields(c, { channel: "whatsapp", ...summary });
    return respond(c, 200, summary, "Webhook received");
  });

/** Malformed UTF-8 is replaced, not refused: the signature proves that Meta sent it. */
function parse(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch (error) {
    throw new AppError("MALFORMED_JSON", "The body is not valid JSON", { cause: error });
  }
}
