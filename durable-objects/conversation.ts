import { DurableObject } from "cloudflare:workers";
import type * as rpc from "../src/rpc/conversation.ts";
import type { LedgerPull, WrittenEntries } from "../src/domain/ledger.ts";
import type { ObjectDeps } from "../src/deps.ts";
import { submit } from "./conversation/turns/submit.ts";
import { accept, isKnown, knownMessages } from "./conversation/channel/accept.ts";
import { FORWARDING_LOOP, route } from "./conversation/channel/route.ts";
import { recordAndSend } from "./conversation/channel/record-outbound.ts";
import { acceptAlias, assignNumber, releaseNumber } from "./conversation/channel/forwarding.ts";
import { start } from "./conversation/sessions/start.ts";
import { erase, TOMBSTONE_MS } from "./conversation/sessions/erase.ts";
import { expire } from "./conversation/sessions/expire.ts";
import { createConversation } from "./conversation/create.ts";
import type { Components } from "./conversation/create.ts";
import { requestStatus } from "./conversation/turns/status.ts";
import { isRecorded } from "./conversation/sessions/record.ts";
import { transcribe } from "./conversation/sessions/transcribe.ts";
import { unsaved } from "./conversation/sessions/unsaved.ts";
import type { Refused } from "../src/domain/errors.ts";
import type { WireSubmission, SubmitOutcome } from "../src/domain/submission.ts";
import { sessionTimeoutMs } from "../src/domain/session.ts";
import { WEBHOOK_MEMORY_MS } from "../src/domain/inbound-message.ts";
import { EVENT } from "../src/telemetry/events.ts";
import { createObjectDeps, startupLog } from "../src/compose.ts";
import { isUnused } from "./conversation/stores.ts";
import { AFTER_FAILURE_MS } from "./runtime/alarm.ts";

/**
 * The RPC surface of one conversation: forwards to another address, calls one verb, notifies the ledger. The object is the
 * only writer of its conversation. It waits for Postgres only to resolve webhook messages.
 */
export class Conversation extends DurableObject<Env> implements rpc.Conversation {
  #dependencies: ObjectDeps | null = null;
  #conversation: Components | null = null;
  /** The platform's alarm as this incarnation found it. */
  #alarmAt: number | null = null;
  /** True while nothing is known to be stored: the object was blank when its first call came. */
  #isNew = false;
  #calls = 0;

  /** Does not throw on an unreadable configuration: the platform would stop retrying the alarm and work would be lost. */
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    void ctx.blockConcurrencyWhile(async () => {
      this.#alarmAt = await ctx.storage.getAlarm();
    });
  }

  async submit(submission: WireSubmission): Promise<SubmitOutcome> {
    return this.#call((conversation) => {
      const next = route(conversation, submission.via);
      if (next.kind === "loop") return FORWARDING_LOOP;
      if (next.kind === "here" || isKnown(conversation, submission.requestId)) {
        return submit(conversation, this.#deps, submission);
      }
      return this.#deps.conversation(next.to).submit({ ...submission, openSession: null, via: next.via });
    });
  }

  async receive(arrival: rpc.WebhookBatch): Promise<rpc.Received> {
    const { messages, statuses: unmatched } = arrival;
    if (messages.length === 0 && this.#isBlank()) return { accepted: 0, duplicates: 0, unmatched };
    return this.#call((conversation) => accept(conversation, arrival));
  }

  async requestStatus(request: rpc.StatusQuery): Promise<rpc.RequestStatus | rpc.Unknown> {
    if (this.#isBlank()) return { kind: "unknown" };
    return this.#call((conversation) => {
      const next = route(conversation, request.via);
      if (next.kind === "forward" && !isKnown(conversation, request.requestId)) {
        return this.#deps.conversation(next.to).requestStatus({ ...request, via: next.via });
      }
      const { runner, address } = conversation;
      return requestStatus(conversation, request, { address, hasWaiter: runner.hasWaiter, now: this.#deps.now() });
    });
  }

  async acceptAlias(...claim: Parameters<rpc.Conversation["acceptAlias"]>): Promise<rpc.AliasOutcome> {
    return this.#call((conversation) => acceptAlias(conversation, ...claim));
  }

  async assignNumber(primary: rpc.PrimaryAddress): Promise<rpc.AssignOutcome> {
    return this.#call((conversation) => assignNumber(conversation, primary));
  }

  async releaseNumber(path: readonly string[]): Promise<void> {
    return this.#call((conversation) => releaseNumber(conversation, path));
  }

  async knownMessages(ids: readonly string[], via?: rpc.Via): Promise<string[]> {
    return this.#isBlank() ? [] : this.#call((conversation) => knownMessages(conversation, ids, via));
  }

  async record(recording: rpc.Recording): Promise<rpc.RecordOutcome | rpc.Undeliverable> {
    return this.#call((conversation) => {
      const next = route(conversation, recording.via);
      if (next.kind === "loop") return FORWARDING_LOOP;
      if (next.kind === "forward" && !isRecorded(conversation, recording.messages)) {
        return this.#deps.conversation(next.to).record({ ...recording, openSession: null, via: next.via });
      }
      return recordAndSend(conversation, recording, { address: this.#address, now: this.#deps.now() });
    });
  }

  async start(beginning: rpc.StartSession): Promise<rpc.SessionStarted | Refused> {
    return this.#call((conversation) => {
      const outcome = start(conversation, beginning, { address: this.#address, now: this.#deps.now() });
      if (outcome.kind === "started") conversation.notifyLedger();
      return outcome;
    });
  }

  async transcribe(transcript: rpc.Transcript): Promise<rpc.TranscribeOutcome> {
    if (this.#isBlank() && transcript.session === null) return { kind: "unknown" };
    return this.#call((conversation) => {
      if (transcript.written !== undefined) conversation.outbox.confirm(transcript.written);
      const outcome = transcribe(conversation, transcript, { address: this.#address, now: this.#deps.now() });
      if (outcome.kind !== "recorded" || outcome.entry === undefined) return outcome;
      const { entry, ...announced } = outcome;
      return conversation.handOver(entry) ? outcome : announced;
    });
  }

  async expire(ending: rpc.SessionCommand): Promise<rpc.Expired | rpc.Unknown | Refused> {
    if (this.#isBlank() && ending.session === null) return { kind: "unknown" };
    return this.#call((conversation) => {
      const outcome = expire(conversation, ending, { address: this.#address, now: this.#deps.now() });
      if (outcome.kind === "expired") conversation.notifyLedger();
      return outcome;
    });
  }

  async erase(ending: rpc.SessionCommand): Promise<rpc.Erased | rpc.Unknown | Refused> {
    if (this.#isBlank() && ending.session === null) return { kind: "unknown" };
    return this.#call((conversation) => {
      const { config, now } = this.#deps;
      const bundle = conversation.state.get("bundle");
      const { outcome, turnIds } = erase(conversation, ending, {
        now: now(),
        rememberMs: WEBHOOK_MEMORY_MS,
        sessionTimeoutMs: sessionTimeoutMs(bundle?.config ?? null, config.sessionTimeoutMinutes),
      });
      if (outcome.kind !== "erased") return outcome;
      conversation.alarm.noLaterThan(now() + TOMBSTONE_MS);
      conversation.runner.cancel(turnIds);
      return outcome;
    });
  }

  async unsaved(request: Parameters<rpc.Conversation["unsaved"]>[0]): ReturnType<rpc.Conversation["unsaved"]> {
    if (this.#isBlank()) return { kind: "unknown" };
    return this.#call((conversation) => unsaved(conversation, request));
  }

  async pull(maxBytes: number): Promise<LedgerPull> {
    if (this.#isBlank()) return { entries: [], notices: [], generation: "", positions: [], more: false };
    return this.#call(({ outbox, ledgerNotifier }) => {
      ledgerNotifier.acknowledged();
      return outbox.pull(maxBytes);
    });
  }

  async confirm(written: WrittenEntries): Promise<{ waiting: number }> {
    if (this.#isBlank()) return { waiting: 0 };
    return this.#call(({ outbox }) => {
      outbox.confirm(written);
      // One commit for a burst: an incarnation that is evicted after this has nothing to look up again.
      if (outbox.pendingCount() === 0) outbox.prune();
      return { waiting: outbox.pendingCount() };
    });
  }

  /** Starts the work that is due and returns without waiting for it. Never throws: the platform stops after six retries. */
  override async alarm(): Promise<void> {
    try {
      if (!this.#isBlank()) this.#open().alarm.run(this.#deps.now());
    } catch (error) {
      startupLog("conversation").error(EVENT.alarmFailed, { error, address: this.ctx.id.name });
      await this.ctx.storage.setAlarm(Date.now() + AFTER_FAILURE_MS);
    }
  }

  /** Throws a `ConfigError` when the configuration is not usable. */
  get #deps(): ObjectDeps {
    return (this.#dependencies ??= createObjectDeps(this.env));
  }

  /** True for an object without tables: a new one, or one that deleted everything. */
  #isBlank(): boolean {
    if (this.#conversation !== null) return false;
    // A read must not create tables: nothing would delete them later.
    return this.ctx.storage.sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'migrations'").toArray().length === 0;
  }

  /** Calls a verb. A refused first call leaves no tables behind. */
  async #call<T>(verb: (conversation: Components) => T | Promise<T>): Promise<T> {
    const conversation = this.#open();
    this.#calls += 1;
    try {
      return await verb(conversation);
    } finally {
      this.#calls -= 1;
      if (this.#isNew && this.#calls === 0 && this.#conversation === conversation) {
        this.#isNew = false;
        if (isUnused(conversation)) this.#empty();
      }
    }
  }

  /** The conversation over this object's storage, created on first use and again after the object emptied itself. */
  #open(): Components {
    if (this.#conversation !== null) return this.#conversation;
    const { storage } = this.ctx;
    this.#isNew = this.#isBlank();
    this.#conversation = createConversation({
      storage,
      address: this.#address,
      deps: this.#deps,
      alarmAt: this.#alarmAt,
      setAlarm: (at) => this.ctx.waitUntil(storage.setAlarm(at)),
      background: (work) => this.ctx.waitUntil(work),
      empty: () => this.#empty(),
    });
    return this.#conversation;
  }

  #empty(): void {
    this.#conversation = null;
    this.#alarmAt = null;
    this.ctx.waitUntil(this.ctx.storage.deleteAll());
  }

  get #address(): string {
    const { name } = this.ctx.id;
    if (name === undefined) throw new Error("A conversation is addressed by name");
    return name;
  }
}
