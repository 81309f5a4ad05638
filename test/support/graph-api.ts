import { createServer } from "node:http";
import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { readReference } from "../../src/domain/delivery.ts";
import { APP_SECRET, change, newWamid, notification, sign } from "./whatsapp.ts";

/** One POST to `/{version}/{phone_number_id}/messages`. */
export type GraphCall = {
  path: string;
  phoneNumberId: string;
  headers: IncomingHttpHeaders;
  body: Record<string, any>;
  at: number;
  /** The id of an accepted message. */
  id: string | null;
};

/** The id of the message a call sent. */
export const messageIdOf = ({ body }: Pick<GraphCall, "body">): string =>
  readReference(body.biz_opaque_callback_data)?.messageId ?? "";

export type Behaviour = (call: GraphCall, response: ServerResponse) => void | Promise<void>;

export type GraphApi = {
  url: string;
  calls: GraphCall[];
  /** Accepted calls. */
  sent: () => GraphCall[];
  /** Sets the behaviour of the next calls, one each; then messages are accepted again. */
  next(...behaviours: Behaviour[]): void;
  /** Sets the behaviour of all calls; null accepts messages again. */
  always(behaviour: Behaviour | null): void;
  /** Time after a message to a user in which the next one is refused with 131056; 0 for never. */
  pairWindowMs: number;
  /** URL that webhooks are sent to. */
  webhook: string;
  /** Sends a signed webhook and returns the status of the response. */
  notify(payload: unknown): Promise<number>;
  /** Sends statuses of accepted messages in one webhook, in the order given. */
  report(...statuses: [call: GraphCall, status: string, more?: Record<string, unknown>][]): Promise<number>;
  close(): Promise<void>;
};

const json = (response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void => {
  response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(JSON.stringify(body));
};

/** Refuses as the Graph API does: https://developers.facebook.com/docs/graph-api/guides/error-handling */
export const refuse =
  (status: number, code: number, details = "No", headers: Record<string, string> = {}): Behaviour =>
  (_call, response) =>
    json(
      response,
      status,
      {
        error: {
          message: `(#${code}) ${details}`,
          type: "OAuthException",
          code,
          error_data: { messaging_product: "whatsapp", details },
          fbtrace_id: "A1",
        },
      },
      headers,
    );

/** Accepts the message. */
export const take: Behaviour = (call, response) => {
  call.id = newWamid();
  const input = call.body.to ?? call.body.recipient;
  json(response, 200, {
    messaging_product: "whatsapp",
    contacts: [{ input, wa_id: input }],
    messages: [{ id: call.id }],
  });
};

/** Accepts the message, but the response is lost. */
export const takeSilently: Behaviour = (call, response) => {
  call.id = newWamid();
  response.socket?.destroy();
};

/** Accepts the message and never responds. */
export const hang: Behaviour = (call) => {
  call.id = newWamid();
};

/** A local stand-in for graph.facebook.com with message ids, the pair rate limit and signed webhooks. */
export async function startGraphApi(): Promise<GraphApi> {
  const calls: GraphCall[] = [];
  const planned: Behaviour[] = [];
  let standing: Behaviour | null = null;
  const server = createServer(async (request, response) => {
    // A caller that died during the request has sent nothing.
    const sent = await text(request).catch(() => null);
    if (sent === null) return;
    const path = request.url ?? "";
    const [, , phoneNumberId = ""] = path.split("/");
    const body = JSON.parse(sent);
    const person = body.to ?? body.recipient;
    const call: GraphCall = { path, phoneNumberId, headers: request.headers, body, at: Date.now(), id: null };
    const tooSoon = calls.some(
      (other) =>
        other.id !== null &&
        (other.body.to ?? other.body.recipient) === person &&
        call.at - other.at < api.pairWindowMs,
    );
    calls.push(call);
    const behaviour = planned.shift() ?? standing ?? (tooSoon ? refuse(400, 131056, "Pair rate limit hit") : take);
    await behaviour(call, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;

  const api: GraphApi = {
    url: `http://127.0.0.1:${port}`,
    calls,
    sent: () => calls.filter(({ id }) => id !== null),
    next: (...behaviours) => planned.push(...behaviours),
    always: (behaviour) => {
      standing = behaviour;
    },
    pairWindowMs: 0,
    webhook: "",
    notify: async (payload) => {
      const body = JSON.stringify(payload);
      const response = await fetch(api.webhook, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Hub-Signature-256": sign(body, APP_SECRET) },
        body,
      });
      await response.arrayBuffer();
      return response.status;
    },
    report: (...statuses) =>
      api.notify(
        notification(
          change({
            statuses: statuses.map(([call, status, more = {}]) => ({
              id: call.id,
              status,
              timestamp: String(Math.floor(Date.now() / 1000)),
              ...(call.body.to === undefined
                ? { recipient_user_id: call.body.recipient }
                : { recipient_id: call.body.to }),
              biz_opaque_callback_data: call.body.biz_opaque_callback_data,
              ...more,
            })),
          }),
        ),
      ),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return api;
}
