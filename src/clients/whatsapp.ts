import { record, text } from "../channels/whatsapp/json.ts";
import { readError } from "../channels/whatsapp/webhook.ts";
import type { DeliveryError } from "../domain/delivery.ts";

/** What to do about a message the Graph API did not take. */
export type Remedy =
  /** Nothing: it will never be taken. `alert` when nothing else will be taken either until somebody has seen to it. */
  | { kind: "give_up"; alert: boolean }
  /** Later: too much at once, too much to this person, or something of theirs is broken for the moment. */
  | { kind: "retry"; pace: "rate" | "pair" | "transient" }
  /** More than 24 hours: only a template is let through. */
  | { kind: "template" };

export type SendOutcome =
  | { kind: "sent"; id: string }
  | { kind: "refused"; error: DeliveryError; remedy: Remedy; retryAfterMs: number | null }
  /** It left us, and what became of it is not known: only a status will tell. */
  | { kind: "unknown"; error: DeliveryError };

/** Sends one request body to `/{phone_number_id}/messages`. Never throws. */
export type WhatsAppSender = (phoneNumberId: string, request: Record<string, unknown>) => Promise<SendOutcome>;

const FINAL: Remedy = { kind: "give_up", alert: false };
const STOP: Remedy = { kind: "give_up", alert: true };
const RATE: Remedy = { kind: "retry", pace: "rate" };
const TRANSIENT: Remedy = { kind: "retry", pace: "transient" };

/**
 * By code, never by title. https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
 * What isn't here is told by the HTTP status.
 */
const REMEDIES: Readonly<Record<number, Remedy>> = {
  // The token, the permission, the account.
  ...table(STOP, [0, 190, 3, 10, 131031, 368, 130497, 131048, 131064]),
  ...table(RATE, [4, 80007, 130429]),
  131056: { kind: "retry", pace: "pair" },
  131047: { kind: "template" },
  ...table(TRANSIENT, [2, 131000, 131016, 131052, 131057, 133004, 133005]),
  // This message, this person: undeliverable, opted out, in an experiment, of a wrong type or form.
  ...table(FINAL, [131026, 131049, 131050, 130472, 131051, 131053, 131008, 131009, 100, 33, 131021, 131030, 131062]),
  ...table(FINAL, [132000, 132001, 132005, 132007, 132008, 132012, 132015, 132016, 132068, 132069]),
};

function table(remedy: Remedy, codes: number[]): Record<number, Remedy> {
  return Object.fromEntries(codes.map((code) => [code, remedy]));
}

/** The remedy for an answer of the Graph API. 200 to 299 are missing permissions. */
export function remedyFor(status: number, { code }: Pick<DeliveryError, "code">, isTransient = false): Remedy {
  const known = typeof code === "number" ? REMEDIES[code] : undefined;
  if (known !== undefined) return known;
  if (typeof code === "number" && code >= 200 && code <= 299) return STOP;
  if (isTransient || status >= 500) return TRANSIENT;
  if (status === 429) return RATE;
  return status === 401 || status === 403 ? STOP : FINAL;
}

type Options = {
  /** Without a slash at its end. */
  base: string;
  version: string;
  /** null for an endpoint that asks for none. */
  token: string | null;
  timeoutMs: number;
};

/** A gateway's own answers, when what stands behind it may have sent the message. 521 to 523 mean that nobody was reached. */
const AMBIGUOUS = [502, 504, 520, 524];

export const createWhatsAppSender =
  ({ base, version, token, timeoutMs }: Options): WhatsAppSender =>
  async (phoneNumberId, request) => {
    let response: Response;
    let body: Record<string, unknown>;
    try {
      response = await fetch(`${base}/${version}/${encodeURIComponent(phoneNumberId)}/messages`, {
        method: "POST",
        headers: {
          "Content-Type": "application/json",
          ...(token === null ? {} : { Authorization: `Bearer ${token}` }),
        },
        body: JSON.stringify(request),
        redirect: "manual",
        signal: AbortSignal.timeout(timeoutMs),
      });
      body = record(await response.json().catch(() => null));
    } catch {
      // Refused, cut off and too late look alike in workerd, so none of them is a reason to send it again.
      return { kind: "unknown", error: { code: "NO_ANSWER", reason: "The Graph API did not answer" } };
    }
    const [message] = Array.isArray(body.messages) ? body.messages : [];
    const id = text(record(message).id);
    if (response.ok && id !== null) return { kind: "sent", id };
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

const unnamed = (status: number): DeliveryError => ({ code: `HTTP_${status}`, reason: "No reason was given" });

/** Seconds; a date is as good as nothing. */
function retryAfterOf(header: string | null): number | null {
  const seconds = Number(header ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : null;
}
