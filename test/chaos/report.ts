import { table } from "../support/table.ts";
import type { ChaosReport } from "./chaos.ts";
import type { Attempt } from "./journal.ts";

const isOk = ({ status }: Attempt): boolean => status !== null && status < 400;
/** The correct answer to a repeated request. */
const isDuplicate = ({ code }: Attempt): boolean => code === "DUPLICATE_REQUEST";

function countsOf(attempts: readonly Attempt[]): string[] {
  const errors = attempts.filter(
    ({ status, code }) => status !== null && status >= 400 && code !== "DUPLICATE_REQUEST",
  );
  const byCode = [...Map.groupBy(errors, ({ code, status }) => code ?? String(status))]
    .map(([code, of]) => `${code} ${of.length}`)
    .toSorted();
  return [
    String(attempts.length),
    String(attempts.filter(isOk).length),
    String(attempts.filter(isDuplicate).length),
    byCode.join(", ") || "-",
    String(attempts.filter(({ status }) => status === null).length),
    `${Math.round(Math.max(0, ...attempts.map(({ ms }) => ms)))} ms`,
  ];
}

const CALLS = ["calls", "ok", "duplicates", "errors", "unknown, repeated", "slowest"];

/** Renders a run as Markdown: faults, guarantees and the result. */
export function render(report: ChaosReport): string {
  const { seed, seconds, isRealPostgres, fired, journal, findings, quietAfter, failures } = report;
  const faults = [...fired].map(([name, times]) => [
    name,
    String(times),
    ...countsOf(journal.attempts.filter(({ faults }) => faults.includes(name))),
  ]);
  const quiet = journal.attempts.filter(({ faults }) => faults.length === 0);
  const guarantees = findings.map(({ invariant, guarantee, checked, violations }) => [
    invariant,
    guarantee,
    String(checked),
    violations.length === 0 ? "none" : `**${violations.length}**`,
  ]);
  const said = `${journal.turns.length} messages, ${journal.webhookMessages.length} WhatsApp messages, ${journal.transcripts.length} transcripts and ${journal.broadcasts.length} broadcasts`;
  return [
    "# npm run chaos",
    `Seed ${seed}, ${seconds} s of faults, ${isRealPostgres ? "on a Postgres server" : "on the embedded Postgres"}. ` +
      `Reproduce with \`npm run chaos -- --seed ${seed} --seconds ${seconds}\`: the same clients and faults in the same order; their overlap depends on the machine.`,
    "## Faults",
    "A call counts for every fault that was active when it was sent. A call without a response (unknown) is repeated with the same id until its outcome is known.",
    table(["fault", "fired", ...CALLS], [...faults, ["(none)", "-", ...countsOf(quiet)]]),
    ...(isRealPostgres
      ? []
      : [
          "Not run, because there was no Postgres server (`DATABASE_URL`, or `postgres` on the path): real deadlocks, serialisation failures, terminated backends, exhausted connections.",
        ]),
    "## Guarantees",
    `Checked in Postgres, ${quietAfter.toFixed(0)} s after the last client had finished: ${said}.`,
    table(["", "guarantee", "checked", "violated"], guarantees),
    failures.length === 0
      ? `**All held.** ${journal.attempts.length} calls, ${fired.size} faults, each of which fired; ${findings.reduce((sum, { checked }) => sum + checked, 0)} checks.`
      : `**${failures.length} failures.**\n\n${failures
          .slice(0, 50)
          .map((failure) => `- ${failure}`)
          .join("\n")}`,
    "",
  ].join("\n\n");
}
