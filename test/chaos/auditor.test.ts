import { describe, expect, it } from "vitest";
import { sessionIdAt } from "../../src/domain/address.ts";
import { inboundMessageIdOf, newTurnId, replyMessageIdOf } from "../../src/domain/ids.ts";
import { ACME, GLOBEX } from "../support/demo.ts";
import { audit } from "./auditor.ts";
import { replyOf } from "./audit/turns.ts";
import type { Evidence } from "./evidence.ts";
import { POISON } from "./world.ts";

const ADDRESS = "0123456789abcdef012345";
const SESSION = sessionIdAt(ADDRESS, 0);
const CALL = sessionIdAt("fedcba9876543210fedcba", 0);
const USER = "00000000-0000-4000-8000-00000000000a";
const SORRY = "Sorry";

/** A small conversation in which every guarantee holds: two turns, one poisoned, a webhook message, a transcript, a broadcast. */
function sound() {
  const said = ["first", "second", `third ${POISON}`, "webhook"].map((content, index) => {
    const at = 1_000_000 * (index + 1);
    const turnId = newTurnId(at);
    const run = {
      number: index + 1,
      turnId,
      sessionId: SESSION,
      brandId: ACME,
      content,
      arrivedAt: at + 10,
      answeredAt: at + 20,
      usage: { prompt: 100 + index, completion: 10 + index },
    };
    const text = replyOf(run);
    const ids = { user: inboundMessageIdOf(turnId), assistant: replyMessageIdOf(turnId) };
    const answer = {
      request_id: `r${index}`,
      session_id: SESSION,
      user_id: USER,
      is_guest: false,
      inbound_message_id: ids.user,
      message_id: ids.assistant,
      text,
      token_usage: { prompt_in: 1, completion_out: 1, total: 2, cost_usd: null },
      fallback: false,
      timing_ms: { total: 1, admission: 0, orchestrator: 1 },
    };
    const isWebhook = content === "webhook";
    const row = {
      brandId: ACME,
      sessionId: SESSION,
      turnId,
      requestId: isWebhook ? "wamid.1" : `r${index}`,
      fallback: false,
    };
    return {
      turn: {
        ...{
          brandId: ACME,
          requestId: `r${index}`,
          content,
          poison: content.includes(POISON),
          sentAt: at,
          knownAt: at + 30,
        },
        answers: [answer, structuredClone(answer)],
      },
      run,
      usage: { turnId, brandId: ACME, sessionId: SESSION, sent: run.usage.prompt, received: run.usage.completion },
      lock: { key: `k${index}`, brandId: ACME, sessionId: SESSION, turnId, messageId: ids.assistant },
      messages: [
        {
          ...row,
          id: ids.user,
          role: "user",
          content,
          seq: index * 10,
          createdAt: at,
          channelMessageId: isWebhook ? "wamid.1" : null,
          delivery: null,
        },
        {
          ...row,
          id: ids.assistant,
          role: "assistant",
          content: text,
          seq: index * 10 + 1,
          createdAt: at + 20,
          channelMessageId: null,
          delivery: isWebhook ? "sent" : null,
        },
      ],
      deadLetter: { id: turnId, brandId: ACME, reason: "23514", payload: JSON.stringify({ content }) },
    };
  });
  const [first, second, poisoned, webhook] = said as [
    (typeof said)[0],
    (typeof said)[0],
    (typeof said)[0],
    (typeof said)[0],
  ];
  const written = [first, second, webhook];
  const loose = (id: string, sessionId: string, content: string) => ({
    ...{
      id,
      sessionId,
      content,
      brandId: ACME,
      turnId: null,
      role: "user",
      seq: 90,
      createdAt: 9_000_000,
      requestId: null,
    },
    ...{ channelMessageId: null, fallback: false, delivery: null },
  });
  return {
    turns: [first.turn, second.turn, poisoned.turn],
    webhookMessages: [{ wamid: "wamid.1", phone: "1", content: "webhook", sentAt: 4_000_000, knownAt: 4_000_001 }],
    transcripts: [
      {
        ...{ brandId: ACME, sessionId: CALL, sentAt: 1, knownAt: 2 },
        messages: [{ role: "user", content: "word" }],
        answers: [["t1"], ["t1"]],
      },
    ],
    broadcasts: [
      {
        ...{ brandId: ACME, requestId: "b", content: "news", sentAt: 1, knownAt: 2 },
        answers: [
          {
            broadcast_id: "b1",
            results: [
              { user_id: USER, success: true, message_id: "m1" },
              { user_id: "nobody", success: false },
            ],
          },
        ],
      },
    ],
    looks: new Map(["I2", "I6", "I7", "I9"].map((invariant) => [invariant, 1])),
    breaches: [] as { invariant: string; what: string }[],
    runs: said.map(({ run }) => run),
    sends: [{ id: "wamid.out", body: { biz_opaque_callback_data: webhook.messages[1]?.id } }],
    interruptions: [] as { at: number; address: string | null }[],
    leaseMs: 1_000,
    defaultReplies: [SORRY],
    rows: {
      messages: [
        ...written.flatMap(({ messages }) => messages),
        loose("t1", CALL, "word"),
        loose("m1", SESSION, "news"),
      ],
      sessions: [SESSION, CALL].map((id) => ({
        id,
        brandId: ACME,
        instanceBrandId: ACME,
        userBrandId: ACME,
        userId: USER,
      })),
      usage: written.map(({ usage }) => usage),
      locks: written.map(({ lock }) => lock),
      deadLetters: [poisoned.deadLetter],
      recipients: [{ broadcastId: "b1", brandId: ACME, userId: USER, messageId: "m1", state: "sent" }],
    },
  } satisfies Evidence;
}

type Sound = ReturnType<typeof sound>;
const broken = (evidence: Evidence): string[] => [
  ...new Set(audit(evidence).flatMap(({ invariant, violations }) => (violations.length === 0 ? [] : [invariant]))),
];
const planted = (plant: (evidence: Sound) => void): string[] => {
  const evidence = sound();
  plant(evidence);
  return broken(evidence);
};

describe("the auditor", () => {
  it("the auditor checks every guarantee and reports nothing when all hold", () => {
    const findings = audit(sound());
    expect(findings.filter(({ violations }) => violations.length > 0)).toEqual([]);
    expect(findings.filter(({ checked }) => checked === 0)).toEqual([]);
  });

  it.each<[string, string, (evidence: Sound) => void]>([
    [
      "a message that is there twice",
      "I1",
      ({ rows }) => void rows.messages.push({ ...rows.messages[0]!, id: "x", seq: 5 }),
    ],
    ["a turn with two answers", "I1", ({ rows }) => void rows.messages.push({ ...rows.messages[1]!, id: "x", seq: 5 })],
    ["an answer without its row", "I2", ({ rows }) => void rows.messages.splice(1, 1)],
    ["words without their row", "I2", ({ rows }) => void rows.messages.splice(0, 1)],
    [
      "a row that says something else than was answered",
      "I2",
      ({ rows }) => void (rows.messages[1]!.content = "other"),
    ],
    ["a turn that never became known", "I2", ({ turns }) => void (turns[0]!.answers = [])],
    ["words that nobody said", "I2", ({ turns }) => void turns.splice(0, 1)],
    ["an answer of no run", "I2", ({ runs }) => void runs.splice(0, 1)],
    ["a default reply of no instance", "I2", ({ rows }) => void Object.assign(rows.messages[1]!, { fallback: true })],
    ["poison that lies nowhere", "I2", ({ rows }) => void rows.deadLetters.splice(0, 1)],
    [
      "a neighbour of the poison that was buried with it",
      "I2",
      ({ rows }) => void rows.deadLetters.push({ ...rows.deadLetters[0]!, id: "x" }),
    ],
    ["a history without what was answered", "I2", ({ breaches }) => void breaches.push({ invariant: "I2", what: "" })],
    ["two answers to one id", "I3", ({ turns }) => void (turns[0]!.answers[1]!.text = "other")],
    ["another answer kept than given", "I3", ({ rows }) => void (rows.locks[0]!.messageId = "x")],
    [
      "a turn before one that was admitted earlier",
      "I4",
      ({ rows }) => void (rows.messages[3]!.seq = rows.messages[2]!.seq = -5),
    ],
    [
      "words that were said later than what follows",
      "I4",
      ({ rows }) => void (rows.messages[0]!.createdAt = 8_000_000),
    ],
    [
      "a turn before one that was answered before it was asked",
      "I4",
      ({ turns }) => void (turns[0]!.sentAt = 3_000_000),
    ],
    ["two runs at once", "I4", ({ runs }) => void (runs[0]!.answeredAt = runs[1]!.arrivedAt + 5)],
    ["usage written twice", "I5", ({ rows }) => void rows.usage.push({ ...rows.usage[0]! })],
    ["usage of another run", "I5", ({ rows }) => void (rows.usage[0]!.sent += 1)],
    ["usage that is missing", "I5", ({ rows }) => void rows.usage.splice(0, 1)],
    ["a row of another brand", "I6", ({ rows }) => void (rows.messages.at(-1)!.brandId = GLOBEX)],
    ["a session of another brand's person", "I6", ({ rows }) => void (rows.sessions[0]!.userBrandId = GLOBEX)],
    ["a run that was told another brand", "I6", ({ runs }) => void (runs[0]!.brandId = GLOBEX)],
    [
      "an unauthorised caller that saw something",
      "I6",
      ({ breaches }) => void breaches.push({ invariant: "I6", what: "" }),
    ],
    ["an error outside the envelope", "I7", ({ breaches }) => void breaches.push({ invariant: "I7", what: "" })],
    ["a request without an end", "I9", ({ breaches }) => void breaches.push({ invariant: "I9", what: "" })],
    [
      "a webhook message that is lost",
      "WhatsApp",
      ({ webhookMessages }) => void webhookMessages.push({ ...webhookMessages[0]!, wamid: "wamid.2" }),
    ],
    ["a reply that was sent twice", "WhatsApp", ({ sends }) => void sends.push({ ...sends[0]! })],
    ["a reply that counts as sent and was not", "WhatsApp", ({ sends }) => void sends.splice(0, 1)],
    [
      "a reply that counts as failed and was sent",
      "WhatsApp",
      ({ rows }) => void (rows.messages[5]!.delivery = "failed"),
    ],
    ["somebody who was not reached", "Broadcast", ({ rows }) => void (rows.recipients[0]!.state = "pending")],
    [
      "somebody who was reached twice",
      "Broadcast",
      ({ rows }) => void rows.messages.push({ ...rows.messages.at(-1)!, id: "m2" }),
    ],
    [
      "a broadcast that was answered in two ways",
      "Broadcast",
      ({ broadcasts }) => void broadcasts[0]!.answers.push({ ...broadcasts[0]!.answers[0]!, broadcast_id: "b2" }),
    ],
    ["a word of a call that is lost", "Transcript", ({ rows }) => void rows.messages.splice(6, 1)],
    ["a transcript that was kept twice", "Transcript", ({ transcripts }) => void (transcripts[0]!.answers[1] = ["t2"])],
  ])("the auditor reports %s (%s)", (_what, invariant, plant) => {
    expect(planted(plant)).toContain(invariant);
  });

  it("the auditor accepts two runs at once when the first object lost its lock", () => {
    const overlap = (address: string | null) =>
      planted(({ runs, interruptions }) => {
        runs[0]!.answeredAt = runs[1]!.arrivedAt + 5;
        interruptions.push({ at: runs[0]!.arrivedAt + 1, address });
      });
    expect([overlap(null), overlap(ADDRESS), overlap("another")]).toEqual([[], [], ["I4"]]);
  });

  it("the auditor accepts a second run of a turn only after the first lease expired", () => {
    const again = (afterMs: number) =>
      planted(({ runs }) => {
        const [first] = runs;
        first!.answeredAt = first!.arrivedAt + 2_000;
        runs.push({ ...first!, number: 99, arrivedAt: first!.arrivedAt + afterMs, answeredAt: first!.answeredAt + 1 });
      });
    expect([again(1_000), again(999)]).toEqual([[], ["I4"]]);
  });
});
