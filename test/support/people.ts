import { ACME, ACME_KEY, GLOBEX, GLOBEX_KEY, INSTANCE } from "./demo.ts";
import type { Gateway } from "./gateway.ts";
import { tokenFor } from "./tokens.ts";

/** A known user of a brand with a token. */
export type Person = Awaited<ReturnType<typeof somebody>>;

export async function somebody(gateway: Gateway, { brandId = ACME, instanceId = INSTANCE.chat } = {}) {
  const [row] = await gateway.database.query(
    "insert into users (brand_id, tier) values ($1, 'standard') returning id",
    [brandId],
  );
  const userId = row?.["id"] ?? "";
  const token = await tokenFor(userId, brandId);
  const at = (id: string, rest = ""): string => `/api/v1/conversations/${id}${rest}`;
  return {
    userId,
    token,
    /** Starts a conversation and returns its id. */
    async start(body: Record<string, unknown> = {}): Promise<string> {
      const path = "/api/v1/conversations/start";
      const reply = await gateway.send("POST", path, { instance_id: instanceId, ...body }, token);
      if (reply.status !== 201) throw new Error(JSON.stringify(reply.body));
      return reply.body.data.conversation_id;
    },
    /** Sends a message and returns the answer's data. */
    async say(content: string, body: Record<string, unknown> = {}): Promise<any> {
      const message = { instance_id: instanceId, request_id: crypto.randomUUID(), content, ...body };
      const reply = await gateway.send("POST", "/web/messages", message, token);
      if (reply.status !== 200) throw new Error(JSON.stringify(reply.body));
      return reply.body.data;
    },
    /** Saves a transcript: with the brand's key where it has words of the assistant, else with the user's own token. */
    transcribe: (id: string, body: unknown) =>
      gateway.send("POST", at(id, "/messages"), body, isOfAssistant(body) ? keyOf(brandId) : token),
    history: (id: string, query = "") => gateway.get(at(id, `/messages${query}`), token),
    details: (id: string) => gateway.get(at(id), token),
    usage: (id: string) => gateway.get(at(id, "/usage"), token),
    expire: (id: string) => gateway.send("POST", at(id, "/expire"), undefined, token),
    erase: (id: string) => gateway.send("DELETE", at(id), undefined, token),
    list: (query = "") => gateway.get(`/api/v1/conversations${query}`, token),
  };
}

const isOfAssistant = (body: unknown): boolean => /"assistant|"interrupted"/.test(JSON.stringify(body));
const keyOf = (brandId: string): string => (brandId === GLOBEX ? GLOBEX_KEY : ACME_KEY);

/** Contents of a history page, newest first. */
export const contents = (reply: { body: any }): string[] =>
  reply.body.data.messages.map((message: { content: string }) => message.content);
