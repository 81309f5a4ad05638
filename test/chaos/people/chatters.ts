import { ACME, ACME_KEY, GLOBEX, GLOBEX_KEY, INSTANCE } from "../../support/demo.ts";
import { tokenFor } from "../../support/tokens.ts";
import { BUSINESS } from "../../support/whatsapp.ts";
import { call, untilKnown } from "../caller.ts";
import { POISON } from "../world.ts";
import { goOn } from "./scene.ts";
import type { Scene } from "./scene.ts";
import { answerIn, begin, say } from "./turn.ts";
import type { Line } from "./turn.ts";

const bearer = (credential: string) => ({ Authorization: `Bearer ${credential}` });

/** A client of one conversation. */
type Voice = {
  brandId: string;
  path: string;
  headers: Record<string, string>;
  /** The request body for a message. */
  around: (requestId: string, content: string) => Record<string, unknown>;
  /** Credential that may read the conversation; null without one. */
  reader: Record<string, string> | null;
  /** Takes the guest token from an answer. */
  hear?: (guestToken: string) => void;
};

/** A new user. */
type Newcomer = (scene: Scene, name: string) => Promise<Voice>;

/** A brand's key and its instance for chats. */
const houseOf = (brandId: string) =>
  brandId === ACME ? { key: ACME_KEY, instanceId: INSTANCE.chat } : { key: GLOBEX_KEY, instanceId: INSTANCE.globex };

/** A brand's server sends messages for a user identified by a device id. */
const throughServer =
  (brandId: string): Newcomer =>
  async (_scene, name) => {
    const { key, instanceId } = houseOf(brandId);
    return {
      brandId,
      path: "/api/messages",
      headers: bearer(key),
      around: (request_id, content) => ({ instance_id: instanceId, request_id, content, user: { device_id: name } }),
      reader: bearer(key),
    };
  };

/** A user with a token. */
const withToken =
  (brandId: string, path: string): Newcomer =>
  async ({ world }) => {
    const insert = "insert into users (brand_id, tier) values ($1, 'standard') returning id";
    const [row] = await world.query(insert, [brandId]);
    const headers = bearer(await tokenFor(row?.["id"] ?? "", brandId));
    const { instanceId: instance_id } = houseOf(brandId);
    return {
      brandId,
      path,
      headers,
      around: (request_id, content) => ({ instance_id, request_id, content }),
      reader: headers,
    };
  };

/** An anonymous guest, who receives a token with the first answer. */
const asGuest =
  (path: string): Newcomer =>
  async () => {
    let token: string | null = null;
    return {
      brandId: ACME,
      path,
      headers: {},
      around: (request_id, content) => ({
        instance_id: INSTANCE.chat,
        request_id,
        content,
        ...(token === null ? {} : { user: { auth_token: token } }),
      }),
      reader: null,
      hear: (guestToken) => {
        token = guestToken;
      },
    };
  };

/** A brand's own system that forwards WhatsApp messages and receives the reply. */
const inHouse: Newcomer = async ({ random }) => {
  const from = `1415${String(Math.floor(random() * 1e7)).padStart(7, "2")}`;
  return {
    brandId: ACME,
    path: "/api/whatsapp/messages",
    headers: bearer(ACME_KEY),
    around: (request_id, body) => ({
      request_id,
      message: { from, to: BUSINESS.number, type: "text", text: { body } },
    }),
    reader: bearer(ACME_KEY),
  };
};

/** Clients by the prefix of their request ids. Two brands use the same ids, which must never meet. */
const CAST: readonly [name: string, newcomer: Newcomer][] = [
  ["twin", throughServer(ACME)],
  ["twin", throughServer(GLOBEX)],
  ["server", throughServer(ACME)],
  ["web", withToken(ACME, "/web/messages")],
  ["app", withToken(GLOBEX, "/app/messages")],
  ["guest", asGuest("/web/messages")],
  ["visitor", asGuest("/app/messages")],
  ["house", inHouse],
];

/** A guest who repeats a request is the same guest only with an id of 22 characters or more. */
const requestIdOf = (name: string, line: number): string => `${name}-${line}-as-long-as-a-random-id`;

/** Messages per user before a new user starts, since faults affect first contacts most. */
const LINES_EACH = 12;
const PAUSE_MS = 150;

/** Runs all clients, each in its own conversation. */
export const chatters = (scene: Scene): Promise<void>[] =>
  CAST.map(async ([name, newcomer]) => {
    let lines = 0;
    let voice: Voice | null = null;
    await goOn(scene, PAUSE_MS, async () => {
      if (voice === null || lines % LINES_EACH === 0) {
        voice = await newcomer(scene, `${name}-${Math.floor(lines / LINES_EACH)}`);
        // A guest sends one message at a time until it has a token.
        lines += 1;
        return speak(scene, voice, line(scene, voice, requestIdOf(name, lines)));
      }
      const count = scene.random() < 0.15 ? 3 : 1;
      const speaking = voice;
      const more = Array.from({ length: count }, () => line(scene, speaking, requestIdOf(name, (lines += 1))));
      await Promise.all(more.map((one) => speak(scene, speaking, one)));
    });
  });

/** A client's next message; poisoned while that fault is active. */
function line({ random, isPoisoned }: Scene, { brandId, path, headers, around }: Voice, requestId: string): Line {
  const poison = isPoisoned && random() < 0.3;
  const content = `${requestId} of ${brandId.slice(-2)} ${poison ? POISON : "says something"}`;
  return { brandId, requestId, content, poison, path, headers, body: around(requestId, content) };
}

async function speak(scene: Scene, { reader, hear }: Voice, line: Line): Promise<void> {
  const answer = await say(scene, line);
  if (answer?.guest_token !== undefined) hear?.(answer.guest_token);
  if (answer && reader !== null && !line.poison && scene.random() < 0.2) {
    await readBack(scene, reader, answer.session_id, answer.message_id);
  }
}

/** An answered message is in the history at once, before it is in Postgres. */
async function readBack(
  { world, journal }: Scene,
  headers: Record<string, string>,
  sessionId: string,
  messageId: string,
) {
  const path = `/api/v1/conversations/${sessionId}/messages?limit=50`;
  const reply = await call(world, journal, { method: "GET", path, headers });
  if (reply?.status !== 200) return;
  journal.look("I2");
  const ids: string[] = reply.body.data.messages.map(({ id }: { id: string }) => id);
  if (!ids.includes(messageId))
    journal.breach("I2", `${sessionId}: ${messageId} was answered and is not in the history`);
}

/** Sends many concurrent requests with one id. Returns their number. */
export async function crowd(scene: Scene, requestId: string, size: number): Promise<number> {
  const voice = await throughServer(ACME)(scene, requestId);
  const ask = begin(scene, line({ ...scene, isPoisoned: false }, voice, requestId));
  await Promise.all(Array.from({ length: size }, ask));
  await untilKnown(scene.journal, ask, answerIn);
  return size;
}
