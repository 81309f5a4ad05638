import { rootOf } from "../../../src/domain/amendment.ts";
import type { Amendment, Edit } from "../../../src/domain/amendment.ts";
import type { Role } from "../../../src/domain/role.ts";
import type { Storage } from "../../runtime/storage.ts";

type Row = { id: string; target: string; role: Role; at: number; edit: string | null };

/**
 * Edits and revocations of the conversation's messages, for as long as webhook messages are deduplicated: one may come
 * before the message it is about, or before the edit that it edits.
 */
export class AmendmentStore {
  readonly #storage: Storage;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  save({ id, target, role, at, edit }: Amendment, expiresAt: number): void {
    this.#storage.sql.exec(
      "INSERT INTO amendments (id, target, role, at, edit, expires_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
      id,
      target,
      role,
      at,
      edit === null ? null : JSON.stringify(edit),
      expiresAt,
    );
  }

  /** The message that an edit or a revocation is about in the end, and all that is known to be about it. */
  about(id: string): { root: string; amendments: Amendment[] } {
    const all = this.#storage.sql.exec<Row>("SELECT * FROM amendments").toArray().map(toAmendment);
    const root = rootOf(id, all);
    return { root, amendments: all.filter((known) => rootOf(known.id, all) === root) };
  }

  /** Deletes the words of edits; that they were made stays known. */
  forgetWords(ids: readonly string[]): void {
    this.#storage.sql.exec(
      "UPDATE amendments SET edit = ? WHERE edit IS NOT NULL AND id IN (SELECT value FROM json_each(?))",
      JSON.stringify({ content: "", metadata: {} } satisfies Edit),
      JSON.stringify(ids),
    );
  }

  /** Deletes expired amendments; returns when the next one expires. */
  sweep(now: number): number | null {
    this.#storage.sql.exec("DELETE FROM amendments WHERE expires_at <= ?", now);
    const [row] = this.#storage.sql
      .exec<{ at: number | null }>("SELECT min(expires_at) AS at FROM amendments")
      .toArray();
    return row?.at ?? null;
  }

  clear(): void {
    this.#storage.sql.exec("DELETE FROM amendments");
  }
}

const toAmendment = ({ id, target, role, at, edit }: Row): Amendment => ({
  id,
  target,
  role,
  at,
  edit: edit === null ? null : (JSON.parse(edit) as Edit),
});
