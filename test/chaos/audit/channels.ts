import type { Evidence } from "../evidence.ts";
import { Finding } from "./finding.ts";

/** The message and part of a reference, without the address of its conversation. */
const partOf = (reference: unknown): string => String(reference).split("@", 1)[0] ?? "";

/** A webhook message is stored once and answered once, and its reply is never sent twice. */
export function auditWhatsApp({ webhookMessages, sends, rows }: Evidence): Finding {
  const finding = new Finding("WhatsApp", "A message is stored once and answered once; no reply is sent twice");
  const kept = Map.groupBy(rows.messages, ({ channelMessageId }) => channelMessageId);
  const replies = new Map(rows.messages.flatMap((row) => (row.role === "assistant" ? [[row.turnId, row]] : [])));
  const taken = Map.groupBy(
    sends.filter(({ id }) => id !== null),
    ({ body }) => partOf(body.biz_opaque_callback_data),
  );
  for (const [reference, calls] of taken) {
    finding.check(calls.length === 1, () => `${reference} was sent ${calls.length} times`);
  }
  for (const { wamid } of webhookMessages) {
    const messages = kept.get(wamid) ?? [];
    finding.check(messages.length === 1, () => `${wamid} is there ${messages.length} times`);
    const reply = replies.get(messages[0]?.turnId ?? "");
    finding.check(reply !== undefined, () => `${wamid} has no answer`);
    if (reply === undefined) continue;
    const wasTaken = taken.has(reply.id);
    const isTrue =
      (reply.delivery === "sent" && wasTaken) ||
      reply.delivery === "unknown" ||
      (reply.delivery === "failed" && !wasTaken);
    finding.check(isTrue, () => `${wamid}: delivery ${reply.delivery}, ${wasTaken ? "taken" : "not taken"}`);
  }
  return finding;
}

/** Every recipient reported as successful has the message once, with the reported id. */
export function auditBroadcasts({ broadcasts, rows }: Evidence): Finding {
  const finding = new Finding("Broadcast", "Every reported recipient has the message, once");
  const userOf = new Map(rows.sessions.map(({ id, userId }) => [id, userId]));
  const states = new Map(rows.recipients.map((row) => [`${row.broadcastId} ${row.userId}`, row]));
  for (const { content, requestId, answers } of broadcasts) {
    const [answer, ...others] = answers;
    finding.check(answer !== undefined, () => `${requestId} never became known`);
    if (answer === undefined) continue;
    for (const other of others) {
      finding.check(JSON.stringify(other) === JSON.stringify(answer), () => `${requestId} was answered in two ways`);
    }
    const rowsOf = Map.groupBy(
      rows.messages.filter((row) => row.content === content),
      ({ sessionId }) => userOf.get(sessionId),
    );
    for (const { user_id, success, message_id } of answer.results) {
      const ids = (rowsOf.get(user_id) ?? []).map(({ id }) => id);
      const state = states.get(`${answer.broadcast_id} ${user_id}`)?.state;
      const isReached = success ? ids.length === 1 && ids[0] === message_id && state === "sent" : ids.length === 0;
      finding.check(isReached, () => `${requestId}: ${user_id} is ${state} and has ${ids.length}`);
    }
  }
  return finding;
}

/** Every transcript message is stored once and unchanged. */
export function auditTranscripts({ transcripts, rows }: Evidence): Finding {
  const finding = new Finding("Transcript", "Every transcript message is in Postgres, once");
  const byId = new Map(rows.messages.map((row) => [row.id, row]));
  for (const { sessionId, messages, answers } of transcripts) {
    const [ids, ...others] = answers;
    finding.check(ids !== undefined, () => `a transcript of ${sessionId} never became known`);
    for (const other of others) finding.check(String(other) === String(ids), () => `${sessionId}: two answers`);
    for (const [index, { role, content }] of messages.entries()) {
      const row = byId.get(ids?.[index] ?? "");
      const isThere = row?.role === role && row.content === content && row.sessionId === sessionId;
      finding.check(isThere, () => `${sessionId}: "${content}" is not there`);
    }
  }
  return finding;
}
