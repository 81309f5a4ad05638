import { addressOfSession } from "../../../src/domain/address.ts";
import { timeOfUuid } from "../../../src/domain/ids.ts";
import type { Evidence, MessageRow, OrchestratorRun } from "../evidence.ts";
import { Finding } from "./finding.ts";
import { turnKey, turnRows } from "./turns.ts";

/** A conversation's rows have the order of admission, as far as clients know it. */
export function auditOrder(evidence: Evidence): Finding {
  const finding = new Finding("I4", "Messages of a conversation are in the order of admission");
  const known = new Map<string, { sentAt: number; knownAt: number | null }>([
    ...evidence.turns.map((turn): [string, typeof turn] => [turnKey(turn), turn]),
    ...evidence.webhookMessages.map((message): [string, typeof message] => [message.wamid, message]),
  ]);
  for (const [sessionId, rows] of Map.groupBy(turnRows(evidence), ({ sessionId }) => sessionId)) {
    let before: MessageRow | null = null;
    let lastSaidAt = 0;
    let lastSentAt = 0;
    for (const row of rows.toSorted((a, b) => a.seq - b.seq)) {
      // A reply has the position of its turn, even after messages received during the run.
      const isLater = before === null || (row.seq > before.seq && admittedAt(row) >= admittedAt(before));
      const isSaidLater = row.role !== "user" || row.createdAt > lastSaidAt;
      finding.check(
        isLater && isSaidLater,
        () => `${sessionId}: ${row.id} stands behind ${before?.id}, and came before it`,
      );
      before = row;
      if (row.role !== "user") continue;
      lastSaidAt = row.createdAt;
      const deed = known.get(row.channelMessageId ?? turnKey(row));
      if (deed === undefined) continue;
      // A request that was answered before another was sent comes first.
      const isInTime = deed.knownAt === null || deed.knownAt >= lastSentAt;
      finding.check(isInTime, () => `${sessionId}: ${row.requestId} was known before what stands before it was said`);
      lastSentAt = Math.max(lastSentAt, deed.sentAt);
    }
  }
  return finding;
}

const admittedAt = ({ turnId }: MessageRow): number => timeOfUuid(turnId ?? "");

/** Runs of a conversation never overlap, except after the object was interrupted or the lease was over. */
export function auditOneAtATime({ runs, interruptions, leaseMs }: Evidence): Finding {
  const finding = new Finding("I4", "At most one turn of a conversation runs");
  for (const [sessionId, ofSession] of Map.groupBy(runs, ({ sessionId }) => sessionId)) {
    const address = addressOfSession(sessionId);
    const wasInterrupted = ({ arrivedAt, answeredAt }: OrchestratorRun) =>
      interruptions.some(
        (one) =>
          (one.address === null || one.address === address) && one.at >= arrivedAt && one.at <= (answeredAt ?? 0),
      );
    let running: OrchestratorRun | null = null;
    for (const run of ofSession.toSorted((a, b) => a.arrivedAt - b.arrivedAt)) {
      // A run without a reply was abandoned at an unknown time.
      if (run.answeredAt === null) continue;
      const isAlone =
        running === null ||
        (running.answeredAt ?? 0) <= run.arrivedAt ||
        wasInterrupted(running) ||
        // The same turn, after its lease: a takeover.
        (running.turnId === run.turnId && run.arrivedAt - running.arrivedAt >= leaseMs);
      finding.check(isAlone, () => `${sessionId}: runs ${running?.number} and ${run.number} at once`);
      if (running === null || run.answeredAt > (running.answeredAt ?? 0)) running = run;
    }
  }
  return finding;
}
