import { isDeepStrictEqual } from "node:util";
import type { Evidence, MessageRow } from "../evidence.ts";
import { NOTICES } from "../journal.ts";
import type { Turn } from "../journal.ts";
import { Finding } from "./finding.ts";

/** Key of a brand's request id. Clients never reuse one, except a client of another brand that copies it. */
export const turnKey = ({ brandId, requestId }: { brandId: string; requestId: string | null }): string =>
  `${brandId} ${requestId}`;

/** Rows of turns, without transcripts and broadcasts. */
export const turnRows = ({ rows }: Evidence): MessageRow[] => rows.messages.filter(({ turnId }) => turnId !== null);

/** One user message and at most one assistant message for a request id. */
export function auditOnce(evidence: Evidence): Finding {
  const finding = new Finding("I1", "One message and at most one answer for a request id");
  for (const [key, rows] of Map.groupBy(turnRows(evidence), turnKey)) {
    const count = (role: string) => rows.filter((row) => row.role === role).length;
    const told = () => `${key} has ${count("user")} messages and ${count("assistant")} answers`;
    finding.check(count("user") === 1 && count("assistant") <= 1 && rows.length <= 2, told);
  }
  return finding;
}

/** All answers to one request id are the same, in Postgres too. */
export function auditAgreement({ turns, rows }: Evidence): Finding {
  const finding = new Finding("I3", "All answers to a request id agree, in Postgres too");
  const kept = new Map(rows.locks.map((lock) => [lock.turnId, lock]));
  for (const { requestId, answers } of turns) {
    const [first, ...others] = answers;
    if (first === undefined) continue;
    for (const other of others) {
      finding.check(isDeepStrictEqual(other, first), () => `${requestId}: ${told(first)}, then ${told(other)}`);
    }
    const lock = kept.get(`${first.message_id.slice(0, -1)}0`);
    if (lock === undefined) continue;
    finding.check(lock.messageId === first.message_id, () => `${requestId}: Postgres keeps ${lock.messageId}`);
  }
  return finding;
}

const told = ({ message_id, text }: { message_id: string; text: string }) => `${message_id} "${text.slice(0, 60)}"`;

/** Every answered turn is in Postgres unchanged; a refused one is a complete dead letter. */
export function auditKept({ turns, rows }: Evidence): Finding {
  const finding = new Finding("I2", "Every answered request is in Postgres");
  const messages = new Map(rows.messages.map((row) => [row.id, row]));
  const deadLetters = new Map(rows.deadLetters.map((row) => [row.id, row]));
  for (const turn of turns) {
    const [answer] = turn.answers;
    if (answer === undefined) {
      finding.check(false, () => `${turn.requestId} never became known`);
    } else if (turn.poison) {
      const deadLetter = deadLetters.get(`${answer.message_id.slice(0, -1)}0`);
      const isDeadLetter = deadLetter?.reason === "23514" && deadLetter.payload.includes(turn.content);
      finding.check(isDeadLetter, () => `${turn.requestId} is poison, and no dead letter`);
      finding.check(!messages.has(answer.message_id), () => `${turn.requestId} is poison, and written`);
    } else {
      finding.check(
        isSaid(messages.get(answer.inbound_message_id), turn),
        () => `${turn.requestId}: its words are not there`,
      );
      const reply = messages.get(answer.message_id);
      const isThere =
        reply?.role === "assistant" && reply.content === answer.text && reply.requestId === turn.requestId;
      finding.check(isThere, () => `${turn.requestId}: its answer is not there`);
    }
  }
  const poisoned = turns.filter(({ poison }) => poison).length;
  finding.check(
    deadLetters.size === poisoned,
    () => `${deadLetters.size} dead letters for ${poisoned} poisoned messages`,
  );
  return finding;
}

const isSaid = (row: MessageRow | undefined, { requestId, content, brandId }: Turn): boolean =>
  row?.role === "user" && row.content === content && row.requestId === requestId && row.brandId === brandId;

/** Every row in Postgres comes from a client or the orchestrator. */
export function auditNothingElse(evidence: Evidence): Finding {
  const { turns, webhookMessages, transcripts, broadcasts, runs, defaultReplies, rows } = evidence;
  const finding = new Finding("I2", "Nothing else is in Postgres");
  const said = new Map<string | null, string>([
    ...turns.map((turn): [string, string] => [turnKey(turn), turn.content]),
    ...webhookMessages.map(({ wamid, content }): [string, string] => [wamid, content]),
  ]);
  const replies = new Map(runs.map((run) => [replyOf(run), run.turnId]));
  const recorded = new Map([
    ...transcripts.flatMap(({ answers: [ids = []], messages }) =>
      ids.map((id, index): [string, string] => [id, messages[index]?.content ?? ""]),
    ),
    ...broadcasts.flatMap(({ answers: [answer], content }) =>
      (answer?.results ?? []).map(({ message_id = "" }): [string, string] => [message_id, content]),
    ),
  ]);
  for (const row of rows.messages) {
    const { turnId, role, content, channelMessageId } = row;
    const isExplained =
      role === "system"
        ? NOTICES.includes(content)
        : turnId === null
          ? recorded.get(row.id) === content
          : role === "user"
            ? said.get(channelMessageId ?? turnKey(row)) === content
            : row.fallback
              ? defaultReplies.includes(content)
              : replies.get(content) === turnId;
    finding.check(isExplained, () => `nobody said ${role} "${content.slice(0, 60)}" (${row.id})`);
  }
  return finding;
}

/** The reply of a run of the orchestrator's stand-in; every run has its own. */
export const replyOf = ({ number, content }: { number: number; content: string }): string =>
  `answer ${number} to ${content}`;
