import type { Evidence } from "../evidence.ts";
import { Finding } from "./finding.ts";
import { turnKey } from "./turns.ts";

/** Every row has the brand of its instance. */
export function auditBrands({ rows, turns, transcripts, runs }: Evidence): Finding {
  const finding = new Finding("I6", "No row and no call has another brand");
  const brandOf = new Map(rows.sessions.map(({ id, brandId }) => [id, brandId]));
  for (const session of rows.sessions) {
    const { id, brandId, instanceBrandId, userBrandId } = session;
    finding.check(brandId === instanceBrandId && brandId === userBrandId, () => `session ${id}`);
  }
  for (const [table, ofTable] of Object.entries({ messages: rows.messages, usage: rows.usage, locks: rows.locks })) {
    for (const row of ofTable) {
      finding.check(row.brandId === brandOf.get(row.sessionId), () => `${table}: ${JSON.stringify(row)}`);
    }
  }
  for (const turn of turns) {
    for (const { session_id } of turn.answers) {
      const brandId = brandOf.get(session_id);
      finding.check(
        brandId === undefined || brandId === turn.brandId,
        () => `${turnKey(turn)} was answered by ${brandId}`,
      );
    }
  }
  for (const { sessionId, brandId } of [...transcripts, ...runs]) {
    const owner = brandOf.get(sessionId);
    finding.check(owner === undefined || owner === brandId, () => `session ${sessionId} was told to be of ${brandId}`);
  }
  return finding;
}
