import { DurableObject } from "cloudflare:workers";
import type * as rpc from "../src/rpc/conversation.ts";
import type { LedgerPull, WrittenEntries } from "../src/domain/ledger.ts";
import type { ObjectDeps } from "../src/deps.ts";
import { firstAlarmMs, submit } from "./conversation/turns/submit.ts";
import { receive } from "./conversation/channel/receive.ts";
import { send, undeliverable } from "./conversation/channel/send.ts";
import { acceptAlias, forwardingTarget } from "./conversation/channel/forwarding.ts";
import { start } from "./conversation/sessions/start.ts";
import { erase, TOMBSTONE_MS } from "./conversation/sessions/erase.ts";
import { expire } from "./conversation/sessions/expire.ts";
import { createConversation } from "./conversation/create.ts";
import type { Components } from "./conversation/create.ts";
import { requestStatus } from "./conversation/turns/status.ts";
import { record } from "./conversation/sessions/record.ts";
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
    return this.#call((conversation, forwardsTo) =>
      forwardsTo === null
        ? submit(conversation, this.#deps, submission)
        : this.#deps.conversation(forwardsTo).submit(submission),
    );
  }

  async receive(arrival: rpc.WebhookBatch): Promise<rpc.Received> {
    const { messages, statuses } = arrival;
    if (messages.length === 0 && this.#isBlank()) return { accepted: 0, duplicates: 0, unmatched: statuses };
    return this.#call(async (conversation) => {
      const forwardsTo = await forwardingTarget(conversation, arrival.aliases);
      if (forwardsTo !== null) return this.#deps.conversation(forwardsTo).receive(arrival);
      const received = receive(conversation, arrival);
      conversation.alarm.noLaterThan(this.#deps.now() + firstAlarmMs());
      conversation.runner.runNext();
      return received;
    });
  }

  async requestStatus(request: rpc.StatusQuery): Promise<rpc.RequestStatus | rpc.Unknown> {
    if (this.#isBlank()) return { kind: "unknown" };
    return this.#call((conversation, forwardsTo) =>
      forwardsTo === null
        ? requestStatus(conversation, request, {
            address: this.#address,
            hasWaiter: conversation.runner.hasWaiter,
            now: this.#deps.now(),
          })
        : this.#deps.conversation(forwardsTo).requestStatus(request),
    );
  }

  async acceptAlias(main: string, established: boolean): Promise<rpc.AliasOutcome> {
    return this.#call((conversation) => acceptAlias(conversation, this.#address, main, established));
  }

  async record(recording: rpc.Recording): Promise<rpc.RecordOutcome | rpc.Undeliverable> {
    return this.#call((conversation, forwardsTo) => {
      if (forwardsTo !== null) return this.#deps.conversation(forwardsTo).record(recording);
      const { messages, outbound = null } = recording;
      const outcome = record(conversation, recording, {
        address: this.#address,
        now: this.#deps.now(),
        undeliverable: (message) => outbound && undeliverable(conversation, message, outbound),
      });
      if (outcome.kind !== "recorded") return outcome;
      if (outbound !== null) for (const message of messages) send(conversation, message, outbound, null);
      conversation.notifyLedger();
      return outcome;
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

  /** Calls a verb with the address all calls are forwarded to, if any. A refused first call leaves no tables behind. */
  async #call<T>(verb: (conversation: Components, forwardsTo: string | null) => T | Promise<T>): Promise<T> {
    const conversation = this.#open();
    this.#calls += 1;
    try {
      return await verb(conversation, conversation.state.get("forwardsTo"));
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
