import type { ChannelSender, Remedy } from "../channels/channel.ts";
import { identity, phoneOf, userIdOf } from "../channels/whatsapp/contact.ts";
import { record, records, text } from "../channels/whatsapp/json.ts";
import { readError } from "../channels/whatsapp/status.ts";
import { withDeadline } from "../domain/deadline.ts";
import type { DeliveryError } from "../domain/delivery.ts";
import type { ChannelIdentity } from "../domain/inbound-message.ts";

const FINAL: Remedy = { kind: "give_up", alert: false };
const STOP: Remedy = { kind: "give_up", alert: true };
const RATE: Remedy = { kind: "retry", pace: "rate" };
const TRANSIENT: Remedy = { kind: "retry", pace: "transient" };

/**
 * By code, never by title. https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
 * Other codes are handled by their HTTP status.
 */
const REMEDIES: Readonly<Record<number, Remedy>> = {
  // Token, permission or account.
  ...table(STOP, [0, 190, 3, 10, 131031, 368, 130497, 131048, 131064]),
  ...table(RATE, [4, 80007, 130429]),
  131056: { kind: "retry", pace: "pair" },
  131047: { kind: "template" },
  ...table(TRANSIENT, [2, 131000, 131016, 131052, 131057, 133004, 133005]),
  // This message or recipient: undeliverable, opted out, in an experiment, wrong type or form.
  ...table(FINAL, [131026, 131049, 131050, 130472, 131051, 131053, 131008, 131009, 100, 33, 131021, 131030, 131062]),
  ...table(FINAL, [132000, 132001, 132005, 132007, 132008, 132012, 132015, 132016, 132068, 132069]),
};

function table(remedy: Remedy, codes: number[]): Record<number, Remedy> {
  return Object.fromEntries(codes.map((code) => [code, remedy]));
}

/** The remedy for an error of the Graph API. Codes 200 to 299 are missing permissions. */
export function remedyFor(status: number, { code }: Pick<DeliveryError, "code">, isTransient = false): Remedy {
  const known = typeof code === "number" ? REMEDIES[code] : undefined;
  if (known !== undefined) return known;
  if (typeof code === "number" && code >= 200 && code <= 299) return STOP;
  if (isTransient || status >= 500) return TRANSIENT;
  if (status === 429) return RATE;
  return status === 401 || status === 403 ? STOP : FINAL;
}

type Options = {
  /** Without a trailing slash. */
  base: string;
  version: string;
  /** null for an endpoint without authentication. */
  token: string | null;
  timeoutMs: number;
};

/** Statuses of a gateway in front of the API, which may have sent the message. 521 to 523 mean that the API was not reached. */
const AMBIGUOUS = [502, 504, 520, 524];

export const createWhatsAppSender =
  ({ base, version, token, timeoutMs }: Options): ChannelSender =>
  async (phoneNumberId, request) => {
    const answer = await withDeadline(timeoutMs, async (signal) => {
      const response = await fetch(`${base}/${version}/${encodeURIComponent(phoneNumberId)}/messages`, {
        method: "POST",
        headers: {
          "Content-Type": "application/json",
          ...(token === null ? {} : { Authorization: `Bearer ${token}` }),
        },
        body: JSON.stringify(request),
        redirect: "manual",
        signal,
      });
      return { response, body: record(await response.json().catch(() => null)) };
    }).catch(() => null);
    if (answer === null) {
      // workerd does not distinguish a refused connection from a lost answer or a timeout: never sent again.
      return { kind: "unknown", error: { code: "NO_ANSWER", reason: "The Graph API did not answer" } };
    }
    const { response, body } = answer;
    const [message] = Array.isArray(body.messages) ? body.messages : [];
    const id = text(record(message).id);
    if (response.ok && id !== null) return { kind: "sent", id, recipient: recipientOf(body.contacts) };
    if (response.ok || (body.error === undefined && AMBIGUOUS.includes(response.status))) {
      return { kind: "unknown", error: { code: "NO_ANSWER", reason: `HTTP ${response.status} without a message id` } };
    }
    const error = body.error === undefined ? unnamed(response.status) : readError(record(body.error));
    return {
      kind: "refused",
      error,
      remedy: remedyFor(response.status, error, record(body.error).is_transient === true),
      retryAfterMs: retryAfterOf(response.headers.get("Retry-After")),
    };
  };

/** The recipient by the ids of the response, which may differ from the one the message was sent to. */
function recipientOf(contacts: unknown): ChannelIdentity | null {
  const [contact, ...others] = records(contacts);
  if (contact === undefined || others.length > 0) return null;
  return identity(phoneOf(contact.wa_id), userIdOf(contact.user_id));
}

const unnamed = (status: number): DeliveryError => ({ code: `HTTP_${status}`, reason: "No reason was given" });

/** Seconds only; a date counts as none. */
function retryAfterOf(header: string | null): number | null {
  const seconds = Number(header ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : null;
}
