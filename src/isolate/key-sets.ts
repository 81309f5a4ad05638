import { createLocalJWKSet } from "jose";
import type { JWK, JWTVerifyGetKey } from "jose";
import type { KeySetFetcher } from "../clients/jwks.ts";
import { unavailable } from "../domain/errors.ts";
import { Cache } from "./cache.ts";

/** A fetched set of public keys. `fetchedAt` is epoch milliseconds. */
export type KeySet = { keys: JWK[]; fetchedAt: number };

/** Stores the last valid key set beyond this isolate. */
export type KeySetStore = {
  load: (url: string) => Promise<KeySet | null>;
  save: (url: string, set: KeySet) => Promise<void>;
  report: (error: unknown) => void;
};

const FRESH_MS = 10 * 60_000;
/** How long known keys are accepted while their URL is unavailable. */
const LAST_GOOD_MS = 24 * 3_600_000;
/** Unknown key ids cause at most one fetch in this time. */
const COOLDOWN_MS = 30_000;

type Options = { fetch: KeySetFetcher; now: () => number };
type Usable = KeySet & { resolve: JWTVerifyGetKey };

const usable = (set: KeySet): Usable => ({ ...set, resolve: createLocalJWKSet({ keys: set.keys }) });
const has = ({ keys }: KeySet, kid: string | undefined): boolean =>
  kid === undefined || keys.some((key) => key.kid === kid);

/** Key sets of an isolate by URL. */
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
   * Finds the key with a token's key id; null when the set has none. While the URL is unavailable, known keys stay valid.
   * Refuses (503) when no keys were ever fetched from it.
   */
  async find(url: string, kid: string | undefined, store: KeySetStore): Promise<JWTVerifyGetKey | null> {
    const current = () => this.#sets.get(url, () => this.#load(url, store));
    let set = await current();
    if (!has(set, kid)) {
      if (this.#mayTry(url)) this.#sets.invalidate(url);
      // Callers within the cooldown join the load in flight.
      set = await current();
    }
    return has(set, kid) ? set.resolve : null;
  }

  #mayTry(url: string): boolean {
    return (this.#triedAt.get(url) ?? Number.NEGATIVE_INFINITY) + COOLDOWN_MS <= this.#options.now();
  }

  async #load(url: string, store: KeySetStore): Promise<Usable> {
    const { fetch, now } = this.#options;
    if (this.#mayTry(url)) {
      this.#triedAt.set(url, now());
      try {
        const set = { keys: await fetch(url), fetchedAt: now() };
        const good = usable(set);
        this.#lastGood.set(url, good);
        await store.save(url, set);
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

async function storedAt(url: string, store: KeySetStore): Promise<Usable | null> {
  const set = await store.load(url);
  return set && usable(set);
}
