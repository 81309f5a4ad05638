import { describe, expect } from "vitest";
import { createUser } from "../../src/db/user-create.ts";
import { addIdentifiers } from "../../src/db/users.ts";
import type { NewUser } from "../../src/db/user-create.ts";
import { uuidv7 } from "../../src/domain/ids.ts";
import type { StoredIdentifier } from "../../src/domain/user.ts";
import { findKnownUsers, resolveSender } from "../../src/services/identity.ts";
import type { Claims } from "../../src/services/identity.ts";
import { findInstance, requireReady } from "../../src/services/instance.ts";
import { ACME, GLOBEX, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import { databaseTest } from "../support/fixtures.ts";
import { addresses } from "../support/addresses.ts";

const CALLERS = 20;

const it = databaseTest()
  .extend("databaseOptions", { scope: "file" }, { seeded: true, concurrent: true })
  .extend("deps", { scope: "file" }, ({ database }) => createTestDeps({ endpoint: database.endpoint }))
  /** First contacts that come in at the same moment. */
  .extend(
    "atOnce",
    { scope: "file" },
    ({ deps }) =>
      (users: NewUser[]) =>
        Promise.all(users.map((user) => createUser(deps.db, addresses, user))),
  )
  /** Identifiers by owner, as "type value". */
  .extend("owners", { scope: "file" }, ({ database }) => async (): Promise<Record<string, string[]>> => {
    const rows = await database.query(
      `select u.id, array_to_json(array_agg(ui.identifier_type || ' ' || ui.identifier_value order by ui.identifier_type, ui.identifier_value)
       filter (where ui.id is not null)) as identifiers
     from users u left join user_identifiers ui on ui.user_id = u.id group by u.id`,
    );
    return Object.fromEntries(rows.map((row) => [row["id"], JSON.parse(row["identifiers"] ?? "[]")]));
  });

it.beforeAll(async ({ database }) => {
  // Whoever tries to change the owner of what another transaction has put in is refused by the database itself.
  await database.query("alter table user_identifiers add column made_in xid8 default pg_current_xact_id()");
  await database.query(`create function keep_owner() returns trigger language plpgsql as $$ begin
    if old.user_id <> new.user_id and old.made_in <> pg_current_xact_id() then raise 'an identifier changed hands'; end if;
    return new; end $$`);
  await database.query(
    "create trigger keep_owner before update on user_identifiers for each row execute function keep_owner()",
  );
  // A race by force: everybody who takes an identifier holds it for a while before they take the next.
  await database.query(
    "create function linger() returns trigger language plpgsql as $$ begin perform pg_sleep(random() / 100); return new; end $$",
  );
  await database.query(
    "create trigger linger before insert on user_identifiers for each row execute function linger()",
  );
}, 60_000);
it.beforeEach(async ({ database }) => {
  await database.query("truncate users cascade");
  database.forget();
});

const phone = (n: number): StoredIdentifier => ({ type: "phone_e164", value: `+1415555${1000 + n}` });
const email = (n: number): StoredIdentifier => ({ type: "email", value: `u${n}@example.com` });
const device = (n: number): StoredIdentifier => ({ type: "device_id", value: `device-${n}` });

const newUser = (identifiers: StoredIdentifier[], changes: Partial<NewUser> = {}): NewUser => ({
  instanceId: INSTANCE.chat,
  brandId: ACME,
  channel: "web",
  user: { id: uuidv7(Date.now()), tier: "standard" },
  identifiers,
  metadata: {},
  now: Date.now(),
  ...changes,
});

const times = <T>(count: number, make: (n: number) => T): T[] => Array.from({ length: count }, (_, n) => make(n));

describe("people who come for the first time at the same moment", () => {
  it("twenty callers with the same identifiers at once are one user with one session [F1.2.3]", async ({
    atOnce,
    owners,
    database,
  }) => {
    const people = await atOnce(times(CALLERS, () => newUser([phone(1), email(1), device(1)])));
    expect(new Set(people.map(({ user }) => user.id)).size).toBe(1);
    expect(new Set(people.map(({ openSession }) => openSession?.id)).size).toBe(1);
    expect(Object.values(await owners())).toEqual([
      ["device_id device-1", "email u1@example.com", "phone_e164 +14155551001"],
    ]);
    expect(await database.query("select count(*) as n from sessions")).toEqual([{ n: "1" }]);
  });

  it("first contacts lock their identifiers in one order and never deadlock", async ({ atOnce, database }) => {
    const orders = [
      [phone(1), email(1), device(1)],
      [device(1), email(1), phone(1)],
      [email(1), phone(1), device(1)],
    ];
    await atOnce(times(CALLERS, (n) => newUser(orders[n % orders.length] ?? [])));
    // A deadlock would have been sent again.
    expect(database.requests).toHaveLength(CALLERS);
  });

  it("first contacts that share an identifier are one user with all identifiers", async ({ atOnce, owners }) => {
    const people = await atOnce(times(CALLERS, (n) => newUser([email(1), device(n)])));
    const [id] = people.map(({ user }) => user.id);
    expect(new Set(people.map(({ user }) => user.id))).toEqual(new Set([id]));
    expect(await owners()).toEqual({
      [id ?? ""]: [...times(CALLERS, (n) => `device_id device-${n}`).toSorted(), "email u1@example.com"],
    });
  });

  it("concurrent first contacts leave no user without identifiers and no identifier without a user", async ({
    atOnce,
    owners,
  }) => {
    for (let round = 0; round < 5; round += 1) {
      const people = await atOnce(
        times(CALLERS, (n) => newUser([phone((n * 3) % 7), email((n * 5) % 11), device((n * 7 + round) % 13)])),
      );
      const known = await owners();
      expect(Object.values(known).filter((identifiers) => identifiers.length === 0)).toEqual([]);
      expect(people.filter(({ user }) => known[user.id] === undefined)).toEqual([]);
    }
  });

  it("the same identifiers at two brands are two users", async ({ atOnce, database }) => {
    const people = await atOnce([
      ...times(10, () => newUser([phone(1)])),
      ...times(10, () => newUser([phone(1)], { brandId: GLOBEX, instanceId: INSTANCE.globex })),
    ]);
    expect(new Set(people.map(({ user }) => user.id)).size).toBe(2);
    expect(await database.query("select distinct brand_id from user_identifiers order by 1")).toEqual([
      { brand_id: ACME },
      { brand_id: GLOBEX },
    ]);
  });

  it("the same identifiers in several isolates are one user", async ({ database, owners }) => {
    const claims: Claims = {
      instanceId: INSTANCE.chat,
      channel: "web",
      tokenUserId: null,
      tokenDecides: false,
      identifiers: [phone(1), email(1)],
    };
    const speakers = await Promise.all(
      times(CALLERS, async () => {
        const isolate = createTestDeps({ endpoint: database.endpoint });
        const [bundle, found] = await Promise.all([
          findInstance(isolate, INSTANCE.chat),
          findKnownUsers(isolate, claims),
        ]);
        return resolveSender(isolate, requireReady(bundle, INSTANCE.chat, null).instance, claims, found);
      }),
    );
    expect(new Set(speakers.map((speaker) => speaker?.user.id)).size).toBe(1);
    expect(Object.keys(await owners())).toHaveLength(1);
  });

  it("identifiers that belong to several users by then resolve to the strongest", async ({ atOnce, deps, owners }) => {
    const [ann, bob] = await atOnce([newUser([email(1)]), newUser([phone(1)])]);
    const late = await createUser(deps.db, addresses, newUser([email(1), device(1), phone(1)]));
    expect(late.user.id).toBe(bob?.user.id);
    expect(await owners()).toEqual({
      [ann?.user.id ?? ""]: ["email u1@example.com"],
      [bob?.user.id ?? ""]: ["device_id device-1", "phone_e164 +14155551001"],
    });
  });
});

describe("a first contact whose answer was lost", () => {
  it("a first contact whose response was lost is the same user when repeated", async ({ deps, owners }) => {
    const contact = newUser([phone(1), email(1)]);
    const [first, again] = [
      await createUser(deps.db, addresses, contact),
      await createUser(deps.db, addresses, contact),
    ];
    expect(again).toEqual(first);
    expect(Object.keys(await owners())).toEqual([contact.user.id]);
  });

  it("a first contact is the same user when repeated after another one took an identifier", async ({
    deps,
    owners,
  }) => {
    const earlier = await createUser(deps.db, addresses, newUser([email(1)]));
    const contact = newUser([phone(1), email(1)]);
    const [first, again] = [
      await createUser(deps.db, addresses, contact),
      await createUser(deps.db, addresses, contact),
    ];
    expect([first.user.id, again.user.id]).toEqual([earlier.user.id, earlier.user.id]);
    expect(Object.keys(await owners())).toEqual([earlier.user.id]);
  });
});

describe("known people who say the same new thing at the same moment", () => {
  it("two known users who claim one identifier at once: one of them gets it", async ({ atOnce, deps, owners }) => {
    const people = await atOnce(times(CALLERS, (n) => newUser([email(n)])));
    const brand = { brandId: ACME, channel: "web" as const };
    await Promise.all(people.map(({ user }) => addIdentifiers(deps.db, brand, user.id, [device(1), phone(1)])));
    const rich = Object.values(await owners()).filter((identifiers) => identifiers.length > 1);
    expect(rich).toEqual([["device_id device-1", expect.stringContaining("email"), "phone_e164 +14155551001"]]);
  });

  it("a known user neither takes an identifier from a new one nor loses one to it", async ({ deps, owners }) => {
    const known = await createUser(deps.db, addresses, newUser([email(1)]));
    const brand = { brandId: ACME, channel: "web" as const };
    await Promise.all([
      ...times(10, () => addIdentifiers(deps.db, brand, known.user.id, [phone(1)])),
      ...times(10, () => createUser(deps.db, addresses, newUser([phone(1), device(1)]))),
    ]);
    const rows = await owners();
    expect(rows[known.user.id]).toContain("email u1@example.com");
    expect(Object.values(rows).flat().toSorted()).toEqual([
      "device_id device-1",
      "email u1@example.com",
      "phone_e164 +14155551001",
    ]);
    expect(Object.values(rows).filter((identifiers) => identifiers.length === 0)).toEqual([]);
  });
});
