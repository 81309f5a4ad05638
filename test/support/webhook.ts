import { vi } from "vitest";
import { messageIdOf } from "./graph-api.ts";
import type { GraphCall } from "./graph-api.ts";
import { APP_SECRET, change, messages, newNumber, notification, sign, text } from "./whatsapp.ts";
import { gatewayTest } from "./fixtures.ts";
import { PATIENCE } from "./patience.ts";

const PATH = "/webhooks/whatsapp";

export type Stored = {
  id: string;
  role: string;
  content: string;
  session_id: string;
  user_id: string | null;
  metadata: any;
};

export const webhookTest = () =>
  gatewayTest()
    .extend("env", { scope: "file" }, ({ orchestrator, graph }) => ({
      ORCHESTRATOR_URL: orchestrator.url,
      RATE_LIMIT_INSTANCE_PER_MINUTE: "0",
      WHATSAPP_APP_SECRET: `a-former-secret,${APP_SECRET}`,
      WHATSAPP_VERIFY_TOKEN: "verify-me",
      WHATSAPP_API_BASE: graph.url,
      WHATSAPP_ACCESS_TOKEN: "EAAtoken",
    }))
    .extend(
      "post",
      { scope: "file" },
      ({ gateway }) =>
        (body: string, signature: string) =>
          gateway.request(PATH, { method: "POST", headers: { "X-Hub-Signature-256": signature }, body }),
    )
    .extend("notify", { scope: "file" }, ({ post }) => (payload: unknown) => {
      const body = JSON.stringify(payload);
      return post(body, sign(body));
    })
    .extend(
      "replyTo",
      { scope: "file" },
      ({ graph }) =>
        (wamid: string): GraphCall | undefined =>
          graph.sent().find(({ body }) => body.context?.message_id === wamid),
    )
    .extend(
      "waitForReply",
      { scope: "file" },
      ({ replyTo }) =>
        (wamid: string) =>
          vi.waitUntil(() => replyTo(wamid), PATIENCE),
    )
    /** The messages of a channel's ids as Postgres has them, once it has them. */
    .extend("stored", { scope: "file" }, ({ gateway }) => async (...wamids: string[]): Promise<Stored[]> => {
      await gateway.flush();
      const rows = await gateway.database.query(
        `select id, role, content, session_id, user_id, metadata_json from messages
     where channel_message_id in (select jsonb_array_elements_text($1::jsonb)) order by created_at, seq`,
        [JSON.stringify(wamids)],
      );
      return rows.map(({ metadata_json, ...row }) => ({ ...row, metadata: JSON.parse(metadata_json!) }) as Stored);
    })
    .extend(
      "waitForStored",
      { scope: "file" },
      ({ stored }) =>
        (...wamids: string[]) =>
          vi.waitUntil(async () => {
            const rows = await stored(...wamids);
            return rows.length === wamids.length && rows;
          }, PATIENCE),
    )
    .extend(
      "ask",
      { scope: "file" },
      ({ gateway }) =>
        (query: string) =>
          gateway.get(`${PATH}?${query}`),
    )
    /** Somebody writes and is answered. */
    .extend(
      "conversation",
      { scope: "file" },
      ({ notify, waitForReply }) =>
        async (body = "Hello", from = newNumber()) => {
          const message = text({ phone: from }, body);
          await notify(messages(message));
          const reply = await waitForReply(message.id);
          return { reply, from, messageId: messageIdOf(reply) };
        },
    )
    .extend("delivery", { scope: "file" }, ({ gateway }) => async (messageId: string) => {
      await gateway.flush();
      const [row] = await gateway.database.query("select metadata_json from messages where id = $1", [messageId]);
      return JSON.parse(row?.metadata_json ?? "{}").delivery;
    })
    .extend(
      "waitForDelivery",
      { scope: "file" },
      ({ delivery }) =>
        (messageId: string, state: string) =>
          vi.waitUntil(async () => {
            const news = await delivery(messageId);
            return news?.state === state && news;
          }, PATIENCE),
    )
    .extend(
      "report",
      { scope: "file" },
      ({ notify }) =>
        (...statuses: Record<string, unknown>[]) =>
          notify(notification(change({ statuses }))),
    )
    .extend(
      "speak",
      { scope: "file" },
      ({ notify, waitForReply, waitForStored }) =>
        async (from: { phone?: string; userId?: string }, body: string, contacts?: unknown[]) => {
          const message = text(from, body);
          await notify(notification(change({ messages: [message], ...(contacts ? { contacts } : {}) })));
          await waitForReply(message.id);
          const [row] = await waitForStored(message.id);
          return { user: row!.user_id, session: row!.session_id };
        },
    );
