import { randomUUID } from "node:crypto";
import { ACME, ACME_KEY, INSTANCE } from "../../support/demo.ts";
import { change as webhookChange, messages, notification, sign, text } from "../../support/whatsapp.ts";
import { call, untilKnown } from "../caller.ts";
import { sentNow } from "../journal.ts";
import type { WebhookMessage, Transcript } from "../journal.ts";
import { pick } from "../random.ts";
import { goOn } from "./scene.ts";
import type { Scene } from "./scene.ts";

const KEY = { Authorization: `Bearer ${ACME_KEY}` };
const VOICE_INSTANCE = "00000000-0000-4000-8000-000000000021";

const PEOPLE_ON_WHATSAPP = 4;
const WHATSAPP_PAUSE_MS = 200;
const TRANSCRIPT_PAUSE_MS = 250;
const BROADCAST_PAUSE_MS = 2_500;
const AUDIENCE = 15;

/**
 * Meta's webhooks, which repeat unacknowledged messages and some acknowledged ones. Users write by number, by id and by
 * both; they change both, and the notices of that arrive late, repeated and in random order.
 */
export async function whatsapp(scene: Scene): Promise<void> {
  const { world, journal, random } = scene;
  const newPhone = () => `1650${String(Math.floor(random() * 1e7)).padStart(7, "3")}`;
  const newId = () => `US.${Math.floor(random() * 1e12)}`;
  const contacts = Array.from({ length: PEOPLE_ON_WHATSAPP }, () => ({ phone: newPhone(), userId: newId() }));
  const notices: object[] = [];
  const sendTo = (payload: object) => {
    const body = JSON.stringify(payload);
    return () =>
      call(world, journal, { path: "/webhooks/whatsapp", body, headers: { "X-Hub-Signature-256": sign(body) } });
  };
  let written = 0;
  await goOn(scene, WHATSAPP_PAUSE_MS, async () => {
    const contact = pick(random, contacts);
    if (random() < 0.1)
      notices.push(changeIdentity(contact, random() < 0.3 ? { phone: newPhone() } : { userId: newId() }));
    if (notices.length > 0 && random() < 0.3) await sendTo(pick(random, notices))();
    if (notices.length > 5) notices.shift();

    const { phone, userId } = contact;
    const content = `webhook ${(written += 1)} from ${phone}`;
    const message = text(pick(random, [{ phone }, { userId }, { phone, userId }]), content);
    const entry: WebhookMessage = { wamid: message["id"], phone, content, ...sentNow() };
    journal.webhookMessages.push(entry);
    const notify = sendTo(messages(message));
    const acknowledged = await untilKnown(journal, notify, ({ status }) => (status === 200 ? true : undefined));
    if (acknowledged) entry.knownAt = Date.now();
    while (random() < 0.3) await notify();
  });
}

/** Gives a contact another number or id. Returns Meta's notice of it. */
function changeIdentity(
  contact: { phone: string; userId: string },
  change: { phone: string } | { userId: string },
): object {
  const before = { ...contact };
  Object.assign(contact, change);
  if ("userId" in change) {
    const user_id = { previous: before.userId, current: change.userId };
    return notification(webhookChange({ user_id_update: [{ wa_id: before.phone, user_id }] }, "user_id_update"));
  }
  const system = { type: "user_changed_number", wa_id: change.phone, user_id: contact.userId, body: "changed" };
  return messages({ id: `wamid.${randomUUID()}`, from: before.phone, type: "system", system });
}

/** A voice pipeline: starts a call and saves its transcript. */
export async function pipeline(scene: Scene): Promise<void> {
  const { world, journal, random } = scene;
  const [user] = await world.query("insert into users (brand_id, tier) values ($1, 'standard') returning id", [ACME]);
  const begin = async (): Promise<string | null> => {
    const requestId = randomUUID();
    const headers = { ...KEY, "X-Request-ID": requestId };
    const body = { instance_id: VOICE_INSTANCE, user_id: user?.["id"] };
    const ask = () => call(world, journal, { path: "/api/v1/conversations/start", body, headers });
    return untilKnown(journal, ask, ({ status, body }) => (status === 201 ? body.data.conversation_id : undefined));
  };
  let sessionId: string | null = null;
  let said = 0;
  await goOn(scene, TRANSCRIPT_PAUSE_MS, async () => {
    if (sessionId === null || random() < 0.1) sessionId = await begin();
    if (sessionId === null) return;
    const spoken = Array.from({ length: 1 + Math.floor(random() * 4) }, (_, index) => ({
      role: index % 2 === 0 ? "user" : "assistant",
      content: `word ${(said += 1)} of a call`,
    }));
    const transcript: Transcript = { brandId: ACME, sessionId, messages: spoken, answers: [], ...sentNow() };
    journal.transcripts.push(transcript);
    const headers = { ...KEY, "X-Request-ID": randomUUID() };
    const ask = () =>
      call(world, journal, { path: `/api/v1/conversations/${sessionId}/messages`, body: spoken, headers });
    const kept = async () => {
      const ids = await untilKnown(journal, ask, ({ status, body }) =>
        status === 202 ? (body.data.ids as string[]) : undefined,
      );
      if (ids === null) return;
      transcript.answers.push(ids);
      transcript.knownAt ??= Date.now();
    };
    await kept();
    if (random() < 0.3) await kept();
  });
}

/** A brand that sends broadcasts, the last one early enough for its claims to expire before the end. */
export async function broadcaster(scene: Scene, mayBegin: () => boolean): Promise<void> {
  const { world, journal, random } = scene;
  const insert =
    "insert into users (brand_id, tier) select $1::uuid, 'standard' from generate_series(1, $2::int) returning id";
  const people = (await world.query(insert, [ACME, String(AUDIENCE)])).map(({ id }) => id ?? "");
  const nobody = "00000000-0000-4000-8000-0000000fffff";
  let sent = 0;
  await goOn(scene, BROADCAST_PAUSE_MS, async () => {
    if (!mayBegin()) return;
    const requestId = `broadcast-${(sent += 1)}`;
    const content = `news ${sent} for everybody`;
    const user_ids = [...people.filter(() => random() < 0.8), nobody];
    const broadcast = { brandId: ACME, requestId, content, answers: [] as any[], ...sentNow() };
    journal.broadcasts.push(broadcast);
    const body = { instance_id: INSTANCE.chat, request_id: requestId, content, user_ids };
    const ask = () => call(world, journal, { path: "/api/broadcast", headers: KEY, body });
    const known = async () => {
      const answer = await untilKnown(journal, ask, ({ status, body }) =>
        status === 200 ? body.data : body?.error?.details?.cached_response,
      );
      if (answer) broadcast.answers.push(answer);
    };
    await known();
    if (random() < 0.5) await known();
  });
}
