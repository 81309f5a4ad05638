import type { Evidence } from "../evidence.ts";
import { Finding } from "./finding.ts";
import { replyOf, turnRows } from "./turns.ts";

/** Each turn has one usage row, of the run that was answered; turns with the default reply have none. */
export function auditUsage(evidence: Evidence): Finding {
  const finding = new Finding("I5", "Usage is what the orchestrator reported, once per turn");
  const runs = new Map(evidence.runs.map((run) => [replyOf(run), run]));
  const usage = Map.groupBy(evidence.rows.usage, ({ turnId }) => turnId);
  const answers = turnRows(evidence).filter(({ role }) => role === "assistant");
  let reported = 0;
  for (const { turnId, content, fallback } of answers) {
    const rows = usage.get(turnId ?? "") ?? [];
    const run = fallback ? undefined : runs.get(content);
    const told = () => `turn ${turnId}: ${JSON.stringify(rows)} for ${JSON.stringify(run?.usage)}`;
    if (run === undefined) finding.check(rows.length === 0, told);
    else {
      const [row] = rows;
      reported += run.usage.prompt + run.usage.completion;
      finding.check(rows.length === 1 && row?.sent === run.usage.prompt && row.received === run.usage.completion, told);
    }
  }
  const sum = evidence.rows.usage.reduce((total, { sent, received }) => total + sent + received, 0);
  finding.check(sum === reported, () => `${sum} tokens in Postgres, ${reported} reported`);
  return finding;
}
