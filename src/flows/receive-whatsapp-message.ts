import { describe } from "../channels/whatsapp/message.ts";
import { text } from "../channels/whatsapp/json.ts";
import { phoneOf } from "../channels/whatsapp/contact.ts";
import type { Deps } from "../deps.ts";
import { AppError, invalid } from "../domain/errors.ts";
import { fingerprint } from "../domain/idempotency.ts";
import { MAX_CONTENT } from "../domain/message.ts";
import type { SanitizedMetadata } from "../domain/message.ts";
import { brandOf } from "../domain/principal.ts";
import { codePoints } from "../domain/text.ts";
import { authorize, instanceOf } from "../domain/authorization.ts";
import { awaitAll } from "../isolate/cache.ts";
import { authenticate, requireKey } from "../services/authentication.ts";
import type { Credential } from "../services/authentication.ts";
import type { Sender } from "../services/identity.ts";
import {
  findInstance,
  findInstanceByChannel,
  requireReady,
  requireSameKind,
  requireTokensOfBrand,
} from "../services/instance.ts";
import type { ReadyBundle } from "../services/instance.ts";
import { findWhatsAppUsers, resolveWhatsAppUser } from "../services/whatsapp-user.ts";
import { submitMessage } from "./submit-message.ts";
import type { SubmitOutcome } from "../domain/submission.ts";

/** A WhatsApp message received by the brand's own system: the inner object of Meta's webhook. */
export type IncomingWhatsAppMessage = {
  credential: Credential;
  message: Record<string, unknown>;
  /** The caller's metadata. */
  metadata: SanitizedMetadata;
  /** The instance, if it is not the one with the number `to`. */
  instanceId: string | null;
  requestId: string;
  traceId: string;
  /** Epoch milliseconds. */
  receivedAt: number;
};

/** `userId` is null for a duplicate, which needs no lookup. */
export type WhatsAppReceipt = { outcome: SubmitOutcome; brandId: string; userId: string | null };

/**
 * Runs a turn for a WhatsApp message that the brand's own system received, and returns the answer to it. A duplicate is
 * answered by its conversation without a query, where this isolate knows the number's endpoint; else by its admission.
 */
export async function receiveWhatsAppMessage(deps: Deps, incoming: IncomingWhatsAppMessage): Promise<WhatsAppReceipt> {
  const { message, metadata, requestId, instanceId } = incoming;
  requireKey(deps.config, incoming.credential);
  const from = requirePhone("from", message.from);
  const to = requirePhone("to", message.to);
  if (from === to) throw invalid("from", "from must not be the number of the business");
  if (text(message.group_id) !== null) throw invalid("message", "Messages of groups are not answered");
  const { content, details, files } = requireContent(message);
  const person = { phone: from, userId: null };
  const print = await fingerprint({ message, metadata: metadata.value, instanceId });
  const endpoint = deps.caches.endpoints.peek(instanceId ?? to);
  const status =
    endpoint &&
    (await deps
      .conversation(deps.addresses.whatsapp(endpoint, person))
      .requestStatus({ requestId, fingerprint: print, instanceId }));
  if (status?.kind === "status") {
    const principal = await authenticate(deps, incoming.credential);
    if (principal.kind === "anonymous") return { ...status, userId: null };
    // Another brand's server gets the answer it would get if the conversation did not exist.
    if (principal.brandId === status.brandId) {
      authorize(principal, "messages:write", instanceOf({ id: instanceId ?? to, brandId: status.brandId }));
      return { ...status, userId: null };
    }
  }

  const { bundle, sender, address } = await identify(deps, { ...incoming, from, to });
  const { user, authState, openSession } = sender;
  const outcome = await submitMessage(deps, address, {
    ...{ requestId, traceId: incoming.traceId, content, fingerprint: print, user, authState, bundle, openSession },
    channel: "whatsapp",
    metadata: { ...metadata.value, ...files, whatsapp: { ...details, person } },
    replyTo: typeof details.reply_to === "string" ? details.reply_to : null,
    warnings: metadata.warnings,
    receivedAt: incoming.receivedAt,
  });
  return { outcome, brandId: bundle.instance.brandId, userId: user.id };
}

type Parties = Pick<IncomingWhatsAppMessage, "credential" | "instanceId"> & { from: string; to: string };

/** Looks up instance, sender and address. One round trip for a known sender. */
async function identify(
  deps: Deps,
  { credential, from, to, instanceId }: Parties,
): Promise<{ bundle: ReadyBundle; sender: Sender; address: string }> {
  const person = { phone: from, userId: null };
  const key = instanceId === null ? { channel: "whatsapp" as const, recipientNumber: to } : { id: instanceId };
  const finding = instanceId === null ? findInstanceByChannel(deps, "whatsapp", to) : findInstance(deps, instanceId);
  const named = deps.caches.endpoints.peek(instanceId ?? to) ?? { number: to, phoneNumberId: null };
  const [principal, found, users] = await awaitAll([
    authenticate(deps, credential),
    finding,
    findWhatsAppUsers(deps, { instance: key, address: deps.addresses.whatsapp(named, person), person }),
  ]);
  requireSameKind(found, instanceId ?? to, "whatsapp");
  requireTokensOfBrand(found, [principal]);
  const bundle = requireReady(found, instanceId ?? to, brandOf(principal));
  if (principal.kind !== "anonymous") authorize(principal, "messages:write", instanceOf(bundle.instance));
  if (deps.orchestrator === null) throw new AppError("ORCHESTRATION_ERROR", "No orchestrator is configured");
  const { recipientNumber: number, phoneNumberId, id } = bundle.instance;
  // The instance's own number counts, whatever `to` says. An instance without any number is addressed by its id.
  const endpoint = { number, phoneNumberId: phoneNumberId ?? (number === null ? id : null) };
  deps.caches.endpoints.set(instanceId ?? to, endpoint);
  const address = deps.addresses.whatsapp(endpoint, person);
  const sender = await resolveWhatsAppUser(deps, bundle.instance, { instance: key, address, person }, users);
  if (sender === null) throw new AppError("UNAUTHORIZED", "The sender is unknown and guests are not accepted");
  return { bundle, sender, address };
}

/** The phone number in E.164. Refuses (400) a missing or invalid number. */
function requirePhone(field: "from" | "to", value: unknown): string {
  if (value === undefined || value === null || value === "") throw invalid(field, `${field} is required`);
  // Unlike in a webhook, the caller can correct an invalid number.
  const phone = typeof value === "string" ? phoneOf(value) : null;
  if (phone === null) throw invalid(field, `${field} must be a phone number: 2 to 15 digits, with or without +`);
  return phone;
}

/** The message's content. Refuses (400) an unknown type and content over the limit of a message. */
function requireContent(message: Record<string, unknown>): ReturnType<typeof describe> {
  const described = describe(message);
  if (described.kind === "unsupported") throw invalid("message", "The message has no content of a known type");
  if (codePoints(described.content) > MAX_CONTENT) {
    throw invalid("message", `The message is longer than ${MAX_CONTENT} characters`);
  }
  return described;
}
