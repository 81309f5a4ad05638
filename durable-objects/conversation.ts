import { DurableObject } from "cloudflare:workers";
import type {
  Answer,
  Arrival,
  Beginning,
  Begun,
  Ending,
  Erased,
  Expired,
  Conversation as ConversationPort,
  JoinOutcome,
  Recall,
  Recalled,
  Received,
  Recording,
  RecordOutcome,
  Refused,
  Submission,
  SubmitOutcome,
  Transcript,
  Unknown,
} from "../src/domain/conversation.ts";
import { inboundMessageIdOf } from "../src/domain/ids.ts";
import type { LedgerPull } from "../src/domain/ledger.ts";
import { isOver } from "../src/domain/session.ts";
import { createObjectDeps } from "../src/deps.ts";
import type { ObjectDeps } from "../src/deps.ts";
import { answerTurn } from "../src/flows/answer-turn.ts";
import { sessionTimeoutMs } from "../src/services/session.ts";
import { admit } from "./conversation/admit.ts";
import { Alarm } from "./conversation/alarm.ts";
import { join } from "./conversation/alias.ts";
import { begin } from "./conversation/begin.ts";
import { Bell } from "./conversation/bell.ts";
import { Correspondence } from "./conversation/correspondence.ts";
import { erase, sweepTombstones, TOMBSTONE_MS } from "./conversation/erase.ts";
import { endIsRememberedUntil, expire } from "./conversation/expire.ts";
import { FactStore } from "./conversation/facts.ts";
import { WEBHOOK_MEMORY_MS } from "./conversation/inbound.ts";
import { Outbox } from "./conversation/outbox.ts";
import { recall } from "./conversation/recall.ts";
import { forgetRecorded, record, transcribe } from "./conversation/record.ts";
import { gone } from "./conversation/refusal.ts";
import { Runner } from "./conversation/runner.ts";
import { settle } from "./conversation/settle.ts";
import { MIGRATIONS } from "./conversation/tables.ts";
import { Turns } from "./conversation/turns.ts";
import type { StoredTurn } from "./conversation/turns.ts";
import { unsaved } from "./conversation/unsaved.ts";
import { migrate } from "./migrate.ts";

/** After a turn began or waits: late enough to cost nothing, early enough that nobody waits for an orphan. */
const WATCH_MS = 10_000;

/**
 * One conversation: the single writer that decides what runs, in which order, once. Addressed by `src/domain/address.ts`.
 * It never waits for Postgres, but for one thing: a message of a webhook, which is answered before anything is looked up.
 */
export class Conversation extends DurableObject<Env> implements ConversationPort {
  readonly #deps: ObjectDeps;
  #state: State | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#deps = createObjectDeps(env);
  }

  async submit(message: Submission): Promise<SubmitOutcome> {
    const { config, now } = this.#deps;
    const { runner, alarm, turns, facts } = this.#open();
    const home = facts.get("movedTo");
    if (home !== null) return this.#deps.conversation(home).submit(message);
    const entrance = admit({ storage: this.ctx.storage, facts, turns }, message, {
      address: this.#address,
      held: runner.holds,
      sessionTimeoutMs: sessionTimeoutMs(message.bundle.config, config),
      turnsPerMinute: config.rateLimitUserPerMinute,
      now: now(),
    });
    if (entrance.kind !== "enter") return entrance;
    alarm.noLaterThan(now() + WATCH_MS);
    const answer = await runner.wait(entrance.turnId, () => turns.isQueued(entrance.turnId));
    if (answer === "dropped") return gone(entrance.sessionId);
    if (answer !== "queued") return { kind: "answered", answer };
    return {
      kind: "accepted",
      sessionId: entrance.sessionId,
      inboundMessageId: inboundMessageIdOf(entrance.turnId),
    };
  }

  async receive(arrival: Arrival): Promise<Received> {
    if (arrival.messages.length === 0 && this.#isBlank()) return { fresh: 0, duplicates: 0, unheard: arrival.news };
    const { correspondence, runner, alarm } = this.#open();
    const home = await correspondence.home(arrival.aliases);
    if (home !== null) return this.#deps.conversation(home).receive(arrival);
    const received = correspondence.receive(arrival);
    alarm.noLaterThan(this.#deps.now() + WATCH_MS);
    runner.pump();
    return received;
  }

  async recall(request: Recall): Promise<Recalled | Unknown> {
    if (this.#isBlank()) return { kind: "unknown" };
    const { facts, turns, runner } = this.#open();
    const home = facts.get("movedTo");
    if (home !== null) return this.#deps.conversation(home).recall(request);
    return recall({ facts, turns }, request, { address: this.#address, held: runner.holds, now: this.#deps.now() });
  }

  async join(main: string, established: boolean): Promise<JoinOutcome> {
    return join(this.#open(), this.#address, main, established);
  }

  async record(recording: Recording): Promise<RecordOutcome> {
    const { facts, turns, outbox, bell, alarm, correspondence } = this.#open();
    const home = facts.get("movedTo");
    if (home !== null) return this.#deps.conversation(home).record(recording);
    const now = this.#deps.now();
    const parts = { storage: this.ctx.storage, facts, turns, outbox };
    const outcome = record(parts, recording, { address: this.#address, now });
    if (outcome.kind !== "recorded") return outcome;
    const { messages, outbound = null } = recording;
    if (outbound !== null) for (const message of messages) correspondence.send(message, outbound, null);
    alarm.noLaterThan(bell.ring(now));
    return outcome;
  }

  async begin(beginning: Beginning): Promise<Begun | Refused> {
    const { facts, outbox, bell, alarm } = this.#open();
    const now = this.#deps.now();
    const outcome = begin({ storage: this.ctx.storage, facts, outbox }, beginning, { address: this.#address, now });
    if (outcome.kind === "begun") alarm.noLaterThan(bell.ring(now));
    return outcome;
  }

  async transcribe(transcript: Transcript): Promise<RecordOutcome | Unknown> {
    if (this.#isBlank() && transcript.session === null) return { kind: "unknown" };
    const { facts, turns, outbox, bell, alarm } = this.#open();
    const now = this.#deps.now();
    const parts = { storage: this.ctx.storage, facts, turns, outbox };
    const outcome = transcribe(parts, transcript, { address: this.#address, now });
    if (outcome.kind === "recorded") alarm.noLaterThan(bell.ring(now));
    return outcome;
  }

  async expire(ending: Ending): Promise<Expired | Unknown | Refused> {
    if (this.#isBlank() && ending.session === null) return { kind: "unknown" };
    const { facts, outbox, bell, alarm } = this.#open();
    const now = this.#deps.now();
    const outcome = expire({ storage: this.ctx.storage, facts, outbox }, ending, { address: this.#address, now });
    if (outcome.kind === "expired") alarm.noLaterThan(bell.ring(now));
    return outcome;
  }

  async erase(ending: Ending): Promise<Erased | Unknown | Refused> {
    if (this.#isBlank() && ending.session === null) return { kind: "unknown" };
    const { facts, outbox, runner, alarm } = this.#open();
    const now = this.#deps.now();
    const options = { now, rememberMs: WEBHOOK_MEMORY_MS };
    const { outcome, turnIds } = erase({ storage: this.ctx.storage, facts, outbox }, ending, options);
    if (outcome.kind !== "erased") return outcome;
    alarm.noLaterThan(now + TOMBSTONE_MS);
    runner.drop(turnIds);
    return outcome;
  }

  async unsaved(request: Parameters<ConversationPort["unsaved"]>[0]): ReturnType<ConversationPort["unsaved"]> {
    if (this.#isBlank()) return { kind: "unknown" };
    return unsaved(this.#open(), request);
  }

  async pull(maxBytes: number): Promise<LedgerPull> {
    const { outbox, bell } = this.#open();
    bell.answered();
    return outbox.pull(maxBytes);
  }

  async confirm(upTo: number): Promise<{ waiting: number }> {
    const { outbox } = this.#open();
    outbox.confirm(upTo);
    return { waiting: outbox.waiting() };
  }

  /** Starts what is due and waits for nothing. */
  override async alarm(): Promise<void> {
    this.#open().alarm.ring(this.#deps.now());
  }

  /** True for an object that has nothing to tell: one that emptied itself, or that nobody ever said anything to. */
  #isBlank(): boolean {
    if (this.#state !== null) return false;
    // Whoever only asks must not leave tables behind, which nothing would ever clear away.
    return this.ctx.storage.sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'migrations'").toArray().length === 0;
  }

  /** The parts over this object's storage, made when they are first needed: an object that has emptied itself starts anew. */
  #open(): State {
    return (this.#state ??= this.#create());
  }

  #create(): State {
    const { storage } = this.ctx;
    migrate(storage, MIGRATIONS);
    const facts = new FactStore(storage);
    const turns = new Turns(storage);
    const outbox = new Outbox(storage);
    const bell = new Bell(outbox, () => this.#send());
    const wake = (at: number) => alarm.noLaterThan(at);
    const background = (work: Promise<void>) => this.ctx.waitUntil(work);
    const correspondence = new Correspondence({
      ...{ storage, facts, turns, outbox, wake, background },
      address: this.#address,
      deps: this.#deps,
      ring: () => wake(bell.ring(this.#deps.now())),
    });
    const runner = new Runner({
      turns,
      leaseMs: this.#deps.config.lockExpirySeconds * 1000,
      now: this.#deps.now,
      prepare: (turn, attempt) => correspondence.prepare(turn, attempt),
      run: (turn, signal) => this.#run(turn, signal),
      wake,
      background,
      report: (error, turn) =>
        this.#deps.log.error("turn_failed", { error, turn_id: turn.turnId, trace_id: turn.work?.traceId }),
    });
    const alarm = new Alarm(
      [runner.resume, correspondence.courier.work, bell.repeat, (now) => this.#sweep(now)],
      (at) => this.ctx.waitUntil(storage.setAlarm(at)),
      (error) => this.#deps.log.error("alarm_failed", { error, address: this.#address }),
    );
    return { facts, turns, outbox, bell, correspondence, runner, alarm };
  }

  async #run(turn: StoredTurn, signal: AbortSignal): Promise<Answer | null> {
    const { facts, turns, outbox, bell, alarm, correspondence } = this.#open();
    const { work } = turn;
    const session = facts.get("session");
    const bundle = facts.get("bundle");
    if (work === null || session === null || bundle === null) throw new Error("A turn lacks what it is run with");
    const adapter = {
      ...work,
      bundle,
      session,
      message: { ...work, id: inboundMessageIdOf(turn.turnId) },
      history: outbox.history(session.id).map(({ role, content }) => ({ role, content })),
      now: this.#deps.now(),
    };
    const result = await answerTurn(this.#deps, { turn, adapter, signal });

    const now = this.#deps.now();
    const lifetimeMs = work.origin ? WEBHOOK_MEMORY_MS : this.#deps.config.idempotencyTtlMinutes * 60_000;
    const options = { address: this.#address, lifetimeMs, now };
    const answer = settle({ storage: this.ctx.storage, facts, turns, outbox }, turn, work, result, options);
    if (answer === null) return null;
    if (work.origin) {
      const reply = { id: answer.message_id, content: answer.text };
      correspondence.send(reply, work.origin, work.origin.channelMessageId);
    }
    alarm.noLaterThan(bell.ring(now));
    return answer;
  }

  #send(): void {
    const sent = this.#deps.ringLedger(this.#address);
    // A ring that failed is repeated by the alarm.
    this.ctx.waitUntil(
      sent.catch((error: unknown) => this.#deps.log.warn("ring_failed", { error, address: this.#address })),
    );
  }

  /** A duty: forgets what is over, and the whole object once nothing of it matters any more. */
  #sweep(now: number): number | null {
    const { facts, turns, outbox, correspondence } = this.#open();
    const nextExpiry = [
      turns.sweep(now),
      correspondence.deliveries.sweep(now),
      sweepTombstones(facts, now),
      endIsRememberedUntil(facts, now),
    ].reduce(earliest);
    if (outbox.waiting() === 0) forgetRecorded(this.ctx.storage, now);
    if (turns.waiting() > 0 || outbox.waiting() > 0) return nextExpiry;
    const session = facts.get("session");
    const timeoutMs = sessionTimeoutMs(facts.get("bundle")?.config ?? null, this.#deps.config);
    if (session !== null && !isOver(session, timeoutMs, now)) {
      const sessionEnd = session.lastMessageAt + timeoutMs + 1;
      return earliest(nextExpiry, sessionEnd);
    }
    outbox.forgetHistory();
    // An address that passes on has nothing else to remember, and that for good.
    if (nextExpiry === null && facts.get("movedTo") === null) this.#empty();
    return nextExpiry;
  }

  #empty(): void {
    this.#state = null;
    this.ctx.waitUntil(this.ctx.storage.deleteAll());
  }

  get #address(): string {
    const { name } = this.ctx.id;
    if (name === undefined) throw new Error("A conversation is addressed by name");
    return name;
  }
}

type State = {
  facts: FactStore;
  turns: Turns;
  outbox: Outbox;
  bell: Bell;
  correspondence: Correspondence;
  runner: Runner;
  alarm: Alarm;
};

const earliest = (a: number | null, b: number | null): number | null =>
  a === null || b === null ? (a ?? b) : Math.min(a, b);
