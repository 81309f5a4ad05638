import { createServer } from "node:http";
import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { APP_SECRET, change, newWamid, notification, sign } from "./whatsapp.ts";

/** One POST to `/{version}/{phone_number_id}/messages`. */
export type GraphCall = {
  path: string;
  phoneNumberId: string;
  headers: IncomingHttpHeaders;
  body: Record<string, any>;
  at: number;
  /** Set when it was taken: the id it was given. */
  id: string | null;
};

export type Behaviour = (call: GraphCall, response: ServerResponse) => void | Promise<void>;

export type GraphApi = {
  url: string;
  calls: GraphCall[];
  /** The calls that were taken. */
  sent: () => GraphCall[];
  /** The next calls are answered so, one each; then messages are taken again. */
  next(...behaviours: Behaviour[]): void;
  /** From now on; null for taking them again. */
  always(behaviour: Behaviour | null): void;
  /** How long after a message to a person the next one is refused with 131056; 0 for never. */
  pairWindowMs: number;
  /** Where notifications go. */
  webhook: string;
  /** Sends a signed notification; the status of the answer. */
  notify(payload: unknown): Promise<number>;
  /** Statuses of what was taken, in one notification and in the order given. */
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

/** Takes the message and says so. */
export const take: Behaviour = (call, response) => {
  call.id = newWamid();
  const input = call.body.to ?? call.body.recipient;
  json(response, 200, {
    messaging_product: "whatsapp",
    contacts: [{ input, wa_id: input }],
    messages: [{ id: call.id }],
  });
};

/** Takes the message, and the answer is lost on its way. */
export const takeSilently: Behaviour = (call, response) => {
  call.id = newWamid();
  response.socket?.destroy();
};

/** Takes the message and never says anything. */
export const hang: Behaviour = (call) => {
  call.id = newWamid();
};

/** A local server in the place of graph.facebook.com: gives ids, keeps people apart by pair rate, sends signed webhooks back. */
export async function startGraphApi(): Promise<GraphApi> {
  const calls: GraphCall[] = [];
  const planned: Behaviour[] = [];
  let standing: Behaviour | null = null;
  const server = createServer(async (request, response) => {
    // Whoever died in the middle of the request has sent nothing.
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
