import { auditBrands } from "./audit/brands.ts";
import { auditBroadcasts, auditTranscripts, auditWhatsApp } from "./audit/channels.ts";
import { Finding } from "./audit/finding.ts";
import { auditOneAtATime, auditOrder } from "./audit/order.ts";
import { auditAgreement, auditKept, auditNothingElse, auditOnce } from "./audit/turns.ts";
import { auditUsage } from "./audit/usage.ts";
import type { Evidence } from "./evidence.ts";

/** Invariants that clients check during the run, since no row shows them afterwards. */
const SEEN_BY_CLIENTS = {
  I2: "A message is in the history as soon as its answer was returned",
  I6: "No caller sees another user's data",
  I7: "Every error has the envelope and a code, and reveals nothing",
  I9: "Every request ends, and its outcome becomes known",
};

/** Compares the answers that clients received with the rows in Postgres. One finding per guarantee. */
export function audit(evidence: Evidence): Finding[] {
  return [
    auditOnce(evidence),
    auditKept(evidence),
    auditNothingElse(evidence),
    auditAgreement(evidence),
    auditOrder(evidence),
    auditOneAtATime(evidence),
    auditUsage(evidence),
    auditBrands(evidence),
    ...Object.entries(SEEN_BY_CLIENTS).map(([invariant, guarantee]) => seenByClients(evidence, invariant, guarantee)),
    auditWhatsApp(evidence),
    auditBroadcasts(evidence),
    auditTranscripts(evidence),
  ];
}

function seenByClients({ breaches, looks }: Evidence, invariant: string, guarantee: string): Finding {
  const finding = new Finding(invariant, guarantee);
  finding.checked = looks.get(invariant) ?? 0;
  for (const breach of breaches) if (breach.invariant === invariant) finding.violations.push(breach.what);
  return finding;
}
