import { auditBrands } from "./audit/brands.ts";
import { auditBroadcasts, auditTranscripts, auditWhatsApp } from "./audit/channels.ts";
import { Finding } from "./audit/finding.ts";
import { auditOneAtATime, auditOrder } from "./audit/order.ts";
import { auditAgreement, auditKept, auditNothingElse, auditOnce } from "./audit/turns.ts";
import { auditUsage } from "./audit/usage.ts";
import type { Evidence } from "./evidence.ts";

/** What clients look at while they talk: no row tells it afterwards. */
const SEEN_BY_CLIENTS = {
  I2: "A message is in the history as soon as its answer was returned",
  I6: "Nobody sees what is another's",
  I7: "Every error is in the envelope, of the table, and tells nothing",
  I9: "Every request ends, and becomes known",
};

/** Holds what people were told against what is written. Every promise is a finding; one nobody looked at counts nothing. */
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
    ...Object.entries(SEEN_BY_CLIENTS).map(([invariant, promise]) => seenByClients(evidence, invariant, promise)),
    auditWhatsApp(evidence),
    auditBroadcasts(evidence),
    auditTranscripts(evidence),
  ];
}

function seenByClients({ breaches, looks }: Evidence, invariant: string, promise: string): Finding {
  const finding = new Finding(invariant, promise);
  finding.checked = looks.get(invariant) ?? 0;
  for (const breach of breaches) if (breach.invariant === invariant) finding.violations.push(breach.what);
  return finding;
}
