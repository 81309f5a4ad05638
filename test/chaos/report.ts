import { table } from "../support/table.ts";
import type { ChaosReport } from "./chaos.ts";
import type { Attempt } from "./journal.ts";

const isOk = ({ status }: Attempt): boolean => status !== null && status < 400;
/** What was there already: a right answer to somebody who asks again. */
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

const CALLS = ["calls", "ok", "told again", "errors", "unknown, repeated", "slowest"];

/** What a run came to, as Markdown: the faults, the promises, and the one line that counts. */
export function render(report: ChaosReport): string {
  const { seed, seconds, isRealPostgres, fired, journal, findings, quietAfter, failures } = report;
  const faults = [...fired].map(([name, times]) => [
    name,
    String(times),
    ...countsOf(journal.attempts.filter(({ faults }) => faults.includes(name))),
  ]);
  const quiet = journal.attempts.filter(({ faults }) => faults.length === 0);
  const promises = findings.map(({ invariant, promise, checked, violations }) => [
    invariant,
    promise,
    String(checked),
    violations.length === 0 ? "none" : `**${violations.length}**`,
  ]);
  const said = `${journal.turns.length} messages, ${journal.letters.length} WhatsApp messages, ${journal.transcripts.length} transcripts and ${journal.broadcasts.length} broadcasts`;
  return [
    "# npm run chaos",
    `Seed ${seed}, ${seconds} s of faults, ${isRealPostgres ? "on a Postgres server" : "on the embedded Postgres"}. ` +
      `Reproduce with \`npm run chaos -- --seed ${seed} --seconds ${seconds}\`: the same people and faults in the same order; what meets what is the machine's.`,
    "## Faults",
    "Calls count under every fault that was on when they left; with faults in pairs that is both. An unknown call is repeated with the same id until it is known.",
    table(["fault", "fired", ...CALLS], [...faults, ["(none)", "-", ...countsOf(quiet)]]),
    ...(isRealPostgres
      ? []
      : [
          "Not run, because there was no Postgres server (`DATABASE_URL`, or `postgres` on the path): real deadlocks, serialisation failures, terminated backends, exhausted connections.",
        ]),
    "## Promises",
    `Checked against Postgres itself, ${quietAfter.toFixed(0)} s after the last person was done: ${said}.`,
    table(["", "promise", "checked", "broken"], promises),
    failures.length === 0
      ? `**All kept.** ${journal.attempts.length} calls, ${fired.size} faults, each of which fired; ${findings.reduce((sum, { checked }) => sum + checked, 0)} checks.`
      : `**${failures.length} failures.**\n\n${failures
          .slice(0, 50)
          .map((failure) => `- ${failure}`)
          .join("\n")}`,
    "",
  ].join("\n\n");
}
