import { DurableObject } from "cloudflare:workers";
import type {
  WebhookBatch,
  StartSession,
  SessionStarted,
  SessionCommand,
  Erased,
  Expired,
  Conversation as ConversationPort,
  AliasOutcome,
  StatusQuery,
  RequestStatus,
  Received,
  Recording,
  RecordOutcome,
  Transcript,
  Undeliverable,
  Unknown,
} from "../src/rpc/conversation.ts";
import { isCarried } from "../src/domain/ledger.ts";
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
import { record, transcribe } from "./conversation/sessions/record.ts";
import { unsaved } from "./conversation/sessions/unsaved.ts";
import type { Refused } from "../src/domain/errors.ts";
import type { WireSubmission, SubmitOutcome } from "../src/domain/submission.ts";
import { sessionTimeoutMs } from "../src/domain/session.ts";
import { WEBHOOK_MEMORY_MS } from "../src/domain/inbound-message.ts";
import { createObjectDeps } from "../src/compose.ts";

/**
 * The RPC surface of one conversation: forwards to another address, calls one verb, notifies the ledger. The object is the
 * only writer of its conversation. It waits for Postgres only to resolve webhook messages.
 */
export class Conversation extends DurableObject<Env> implements ConversationPort {
  readonly #deps: ObjectDeps;
  #conversation: Components | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#deps = createObjectDeps(env);
  }

  async submit(submission: WireSubmission): Promise<SubmitOutcome> {
    const conversation = this.#open();
    const forwardsTo = conversation.state.get("forwardsTo");
    if (forwardsTo !== null) return this.#deps.conversation(forwardsTo).submit(submission);
    return submit(conversation, this.#deps, submission);
  }

  async receive(arrival: WebhookBatch): Promise<Received> {
    if (arrival.messages.length === 0 && this.#isBlank())
      return { accepted: 0, duplicates: 0, unmatched: arrival.statuses };
    const conversation = this.#open();
    const { runner, alarm } = conversation;
    const forwardsTo = await forwardingTarget(conversation, arrival.aliases);
    if (forwardsTo !== null) return this.#deps.conversation(forwardsTo).receive(arrival);
    const received = receive(conversation, arrival);
    alarm.noLaterThan(this.#deps.now() + firstAlarmMs());
    runner.runNext();
    return received;
  }

  async requestStatus(request: StatusQuery): Promise<RequestStatus | Unknown> {
    if (this.#isBlank()) return { kind: "unknown" };
    const { state, turns, runner } = this.#open();
    const home = state.get("forwardsTo");
    if (home !== null) return this.#deps.conversation(home).requestStatus(request);
    return requestStatus({ state, turns }, request, {
      address: this.#address,
      hasWaiter: runner.hasWaiter,
      now: this.#deps.now(),
    });
  }

  async acceptAlias(main: string, established: boolean): Promise<AliasOutcome> {
    return acceptAlias(this.#open(), this.#address, main, established);
  }

  async record(recording: Recording): Promise<RecordOutcome | Undeliverable> {
    const conversation = this.#open();
    const { state, ledgerNotifier, alarm } = conversation;
    const home = state.get("forwardsTo");
    if (home !== null) return this.#deps.conversation(home).record(recording);
    const now = this.#deps.now();
    const { messages, outbound = null } = recording;
    const outcome = record(conversation, recording, {
      address: this.#address,
      now,
      undeliverable: (message) => outbound && undeliverable(conversation, message, outbound),
    });
    if (outcome.kind !== "recorded") return outcome;
    if (outbound !== null) for (const message of messages) send(conversation, message, outbound, null);
    alarm.noLaterThan(ledgerNotifier.notify(now));
    return outcome;
  }

  async start(beginning: StartSession): Promise<SessionStarted | Refused> {
    const conversation = this.#open();
    const now = this.#deps.now();
    const outcome = start(conversation, beginning, { address: this.#address, now });
    if (outcome.kind === "started") conversation.alarm.noLaterThan(conversation.ledgerNotifier.notify(now));
    return outcome;
  }

  async transcribe(transcript: Transcript): Promise<RecordOutcome | Unknown> {
    if (this.#isBlank() && transcript.session === null) return { kind: "unknown" };
    const conversation = this.#open();
    const now = this.#deps.now();
    if (transcript.written !== undefined) conversation.outbox.confirm(transcript.written);
    const outcome = transcribe(conversation, transcript, { address: this.#address, now });
    if (outcome.kind !== "recorded" || outcome.entry === undefined) return outcome;
    const { entry, ...announced } = outcome;
    const isHandedOver = isCarried(entry);
    conversation.alarm.noLaterThan(
      isHandedOver ? conversation.ledgerNotifier.carried(now) : conversation.ledgerNotifier.notify(now),
    );
    return isHandedOver ? outcome : announced;
  }

  async expire(ending: SessionCommand): Promise<Expired | Unknown | Refused> {
    if (this.#isBlank() && ending.session === null) return { kind: "unknown" };
    const conversation = this.#open();
    const now = this.#deps.now();
    const outcome = expire(conversation, ending, { address: this.#address, now });
    if (outcome.kind === "expired") conversation.alarm.noLaterThan(conversation.ledgerNotifier.notify(now));
    return outcome;
  }

  async erase(ending: SessionCommand): Promise<Erased | Unknown | Refused> {
    if (this.#isBlank() && ending.session === null) return { kind: "unknown" };
    const conversation = this.#open();
    const now = this.#deps.now();
    const timeoutMs = sessionTimeoutMs(
      conversation.state.get("bundle")?.config ?? null,
      this.#deps.config.sessionTimeoutMinutes,
    );
    const options = { now, rememberMs: WEBHOOK_MEMORY_MS, sessionTimeoutMs: timeoutMs };
    const { outcome, turnIds } = erase(conversation, ending, options);
    if (outcome.kind !== "erased") return outcome;
    conversation.alarm.noLaterThan(now + TOMBSTONE_MS);
    conversation.runner.cancel(turnIds);
    return outcome;
  }

  async unsaved(request: Parameters<ConversationPort["unsaved"]>[0]): ReturnType<ConversationPort["unsaved"]> {
    if (this.#isBlank()) return { kind: "unknown" };
    return unsaved(this.#open(), request);
  }

  async pull(maxBytes: number): Promise<LedgerPull> {
    const { outbox, ledgerNotifier } = this.#open();
    ledgerNotifier.acknowledged();
    return outbox.pull(maxBytes);
  }

  async confirm(written: WrittenEntries): Promise<{ waiting: number }> {
    if (this.#isBlank()) return { waiting: 0 };
    const { outbox } = this.#open();
    outbox.confirm(written);
    // One commit for a burst: an incarnation that is evicted after this has nothing to look up again.
    if (outbox.pendingCount() === 0) outbox.prune();
    return { waiting: outbox.pendingCount() };
  }

  /** Starts the work that is due and returns without waiting for it. */
  override async alarm(): Promise<void> {
    this.#open().alarm.run(this.#deps.now());
  }

  /** True for an object without tables: a new one, or one that deleted everything. */
  #isBlank(): boolean {
    if (this.#conversation !== null) return false;
    // A read must not create tables: nothing would delete them later.
    return this.ctx.storage.sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'migrations'").toArray().length === 0;
  }

  /** The conversation over this object's storage, created on first use and again after the object emptied itself. */
  #open(): Components {
    return (this.#conversation ??= this.#create());
  }

  #create(): Components {
    const { storage } = this.ctx;
    return createConversation({
      storage,
      address: this.#address,
      deps: this.#deps,
      setAlarm: (at) => this.ctx.waitUntil(storage.setAlarm(at)),
      background: (work) => this.ctx.waitUntil(work),
      empty: () => {
        this.#conversation = null;
        this.ctx.waitUntil(storage.deleteAll());
      },
    });
  }

  get #address(): string {
    const { name } = this.ctx.id;
    if (name === undefined) throw new Error("A conversation is addressed by name");
    return name;
  }
}
