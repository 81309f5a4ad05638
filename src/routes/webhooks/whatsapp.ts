import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import { isSigned } from "../../channels/whatsapp/signature.ts";
import { AppError } from "../../domain/errors.ts";
import { receiveWhatsAppWebhook } from "../../flows/receive-whatsapp-webhook.ts";
import { readBytes } from "../../http/body.ts";
import type { AppEnv } from "../../http/context.ts";
import { addLogFields } from "../../http/context.ts";
import { json, refusals, success, WITH_SIGNATURE } from "../../http/openapi.ts";
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
  summary: "Meta's subscription handshake",
  request: { query: Handshake },
  responses: {
    200: { description: "The challenge", content: { "text/plain": { schema: z.string() } } },
    ...refusals("FORBIDDEN"),
  },
});

const notify = createRoute({
  method: "post",
  path: "/webhooks/whatsapp",
  security: WITH_SIGNATURE,
  summary: "A notification of the WhatsApp Cloud API, signed in X-Hub-Signature-256",
  request: {
    headers: z.object({ "X-Hub-Signature-256": z.string() }),
    body: { ...json(z.looseObject({}).meta({ id: "WhatsAppNotification" })), required: true },
  },
  responses: {
    200: success("Every message of it is kept", Received),
    ...refusals("UNAUTHORIZED", "MALFORMED_JSON", "PAYLOAD_TOO_LARGE", "SERVICE_UNAVAILABLE"),
  },
});

/** What other companies call us at. */
export const webhookRoutes = new OpenAPIHono<AppEnv>();
for (const route of [subscribe, notify]) webhookRoutes.openAPIRegistry.registerPath(route);

webhookRoutes.get(subscribe.path, async (c) => {
  const { whatsappVerifyToken } = c.var.deps.config;
  const isOurs = c.req.query("hub.mode") === "subscribe" && whatsappVerifyToken !== null;
  if (!isOurs || !(await isSameSecret(c.req.query("hub.verify_token") ?? "", whatsappVerifyToken))) {
    throw new AppError("FORBIDDEN", "The verify token is not ours");
  }
  return c.text(c.req.query("hub.challenge") ?? "");
});

webhookRoutes.post(notify.path, async (c) => {
  const { config, log } = c.var.deps;
  const body = await readBytes(c.req.raw, MAX_NOTIFICATION_BYTES);
  if (config.whatsappAppSecrets.length === 0) log.error(EVENT.webhookSecretMissing, { trace_id: c.var.traceId });
  if (!(await isSigned(config.whatsappAppSecrets, c.req.header("X-Hub-Signature-256"), body))) {
    throw new AppError("UNAUTHORIZED", "The signature is missing or wrong");
  }
  const { traceId, receivedAt } = c.var;
  const summary = await receiveWhatsAppWebhook(c.var.deps, parse(body), { traceId, receivedAt });
  addLogFields(c, { channel: "whatsapp", ...summary });
  return c.json({ success: true, data: summary, message: "Notification received" });
});

/** What is no UTF-8 is read as well as it can be: the signature says that it is Meta's. */
function parse(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch (error) {
    throw new AppError("MALFORMED_JSON", "The body is not valid JSON", { cause: error });
  }
}
