import type { JWK } from "jose";
import { readKeys, toEntry } from "../clients/jwks.ts";
import type { KeySetFetcher, UnusableKey, VerificationKey } from "../clients/jwks.ts";
import { unavailable } from "../domain/errors.ts";
import { Cache } from "./cache.ts";

/** A key set's entries as fetched. `fetchedAt` is epoch milliseconds. */
export type KeySet = { keys: unknown[]; fetchedAt: number };

/** Stores the last good key set beyond this isolate, and logs faults. */
export type KeySetStore = {
  load: (url: string) => Promise<KeySet | null>;
  save: (url: string, set: KeySet) => Promise<void>;
  report: (error: unknown) => void;
  reportUnusable: (key: UnusableKey) => void;
};

/** The header of a token. */
type Header = { alg?: string | undefined; kid?: string | undefined };

/** Checks a token with a key: the result, or null when the key did not sign it. */
type Check<T> = (key: JWK) => Promise<T | null>;

const FRESH_MS = 10 * 60_000;
/** Known keys stay valid this long while their URL does not answer. */
const LAST_GOOD_MS = 24 * 3_600_000;
/** A URL is fetched once in this time for unknown keys, whatever the number of tokens. */
const COOLDOWN_MS = 30_000;

type Options = { fetch: KeySetFetcher; now: () => number };
type Usable = { keys: VerificationKey[]; fetchedAt: number };

/** The key sets an isolate knows, by URL. */
export class KeySets {
  readonly #options: Options;
  readonly #sets: Cache<Usable>;
  readonly #lastGood = new Map<string, Usable>();
  readonly #triedAt = new Map<string, number>();

  constructor(options: Options) {
    this.#options = options;
    this.#sets = new Cache({ ttlMs: FRESH_MS, maxEntries: 1_000, joinTimeoutMs: 6_000, now: options.now });
  }

  /**
   * Checks a token with the keys its header may mean; null when none signed it. An unknown `kid`, and a token without one,
   * refresh the set before they fail. Refuses (503) when the set was never available.
   */
  async verify<T>(url: string, header: Header, store: KeySetStore, check: Check<T>): Promise<T | null> {
    const current = () => this.#sets.get(url, () => this.#load(url, store));
    const set = await current();
    const result = await firstOf(candidates(set, header), check);
    if (result !== null || isNamed(set, header)) return result;
    if (this.#mayTry(url)) this.#sets.invalidate(url);
    // A call within the cooldown waits for the refresh of another.
    const next = await current();
    return next === set ? null : firstOf(candidates(next, header), check);
  }

  #mayTry(url: string): boolean {
    return (this.#triedAt.get(url) ?? Number.NEGATIVE_INFINITY) + COOLDOWN_MS <= this.#options.now();
  }

  async #load(url: string, store: KeySetStore): Promise<Usable> {
    const { fetch, now } = this.#options;
    if (this.#mayTry(url)) {
      this.#triedAt.set(url, now());
      try {
        const { keys, unusable } = await readKeys(await fetch(url));
        for (const key of unusable) store.reportUnusable(key);
        if (keys.length === 0) throw new Error("The key set has no usable key");
        const good = { keys, fetchedAt: now() };
        this.#lastGood.set(url, good);
        await store.save(url, { keys: keys.map(toEntry), fetchedAt: good.fetchedAt });
        return good;
      } catch (error) {
        store.report(error);
      }
    }
    const last = this.#lastGood.get(url) ?? (await storedAt(url, store));
    if (last === null || last.fetchedAt + LAST_GOOD_MS < now())
      throw unavailable("The keys of this issuer can't be fetched", null);
    this.#lastGood.set(url, last);
    return last;
  }
}

const isNamed = ({ keys }: Usable, { kid }: Header): boolean =>
  kid !== undefined && keys.some((key) => key.kid === kid);

/** The keys of the token's algorithm: those with its `kid`, else those without one; all for a token without `kid`. */
function candidates(set: Usable, header: Header): VerificationKey[] {
  const ofType = set.keys.filter(({ algorithms }) => algorithms.includes(header.alg ?? ""));
  if (header.kid === undefined) return ofType;
  const named = isNamed(set, header);
  return ofType.filter(({ kid }) => kid === (named ? header.kid : null));
}

async function firstOf<T>(keys: readonly VerificationKey[], check: Check<T>): Promise<T | null> {
  for (const { jwk } of keys) {
    const result = await check(jwk);
    if (result !== null) return result;
  }
  return null;
}

async function storedAt(url: string, store: KeySetStore): Promise<Usable | null> {
  const set = await store.load(url);
  if (set === null) return null;
  const { keys } = await readKeys(set.keys);
  return keys.length === 0 ? null : { keys, fetchedAt: set.fetchedAt };
}
