import { describe, expect } from "vitest";
import { createUser } from "../../src/db/user-create.ts";
import type { NewUser } from "../../src/db/user-create.ts";
import { userById, usersByIdentifiers } from "../../src/db/users.ts";
import { presented } from "../../src/domain/identity.ts";
import type { Identifiers } from "../../src/domain/identity.ts";
import { findKnownUsers, guestSender, resolveSender } from "../../src/services/identity.ts";
import type { Claims } from "../../src/services/identity.ts";
import { findInstance, requireReady } from "../../src/services/instance.ts";
import { ACME, GLOBEX, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import type { TestDeps } from "../support/deps.ts";
import { databaseTest } from "../support/fixtures.ts";
import { addresses } from "../support/addresses.ts";

const PHONE = "+14155550123";
const NOBODY = "00000000-0000-4000-8000-0000000fffff";

const addressOf = ({ instanceId, userId }: { instanceId: string; userId: string }) =>
  addresses.chat(instanceId, userId);

const it = databaseTest()
  /** An isolate that has just started: it knows nobody. */
  .extend(
    "isolate",
    { scope: "file" },
    ({ database }) =>
      (): TestDeps =>
        createTestDeps({ endpoint: database.endpoint }),
  )
  /** What somebody goes by, as rows. */
  .extend(
    "identifiersOf",
    { scope: "file" },
    ({ database }) =>
      async (userId: string | undefined): Promise<string[]> =>
        (
          await database.query(
            "select identifier_type || ' ' || identifier_value as row from user_identifiers where user_id = $1 order by 1",
            [userId ?? null],
          )
        ).map(({ row }) => row ?? ""),
  )
  .extend(
    "count",
    { scope: "file" },
    ({ database }) =>
      async (table: "users" | "user_identifiers" | "sessions"): Promise<number> =>
        Number((await database.query(`select count(*) as n from ${table}`))[0]?.["n"]),
  );
let deps: TestDeps;

it.beforeEach(async ({ database, isolate }) => {
  await database.query("truncate users cascade");
  deps = isolate();
  database.forget();
});

/** Who Parley takes somebody for who says this of themselves. */
async function speaker(said: Identifiers, { on = deps, ...changes }: Partial<Claims> & { on?: TestDeps } = {}) {
  const claims: Claims = {
    instanceId: INSTANCE.chat,
    channel: "web",
    tokenUserId: null,
    tokenDecides: false,
    identifiers: presented(said),
    ...changes,
  };
  const [bundle, found] = await Promise.all([findInstance(on, claims.instanceId), findKnownUsers(on, claims)]);
  return resolveSender(on, requireReady(bundle, claims.instanceId, null).instance, claims, found);
}

const userOf = async (...input: Parameters<typeof speaker>) => (await speaker(...input))?.user.id;

const visit = {
  requestId: "3f2b8a52-3c5e-4f0e-9a5e-0d6c1c1b2a10",
  fingerprint: "f1",
  clientAddress: "192.0.2.1",
  unverified: {},
};
const instanceOf = async (id: string) => requireReady(await findInstance(deps, id), id, null).instance;

it("a guest does not gain a phone number that was sent with a shared guest token", async ({
  identifiersOf,
  isolate,
}) => {
  const guest = await guestSender(deps, await instanceOf(INSTANCE.chat), "web", visit);
  await speaker({ phone_e164: PHONE }, { tokenUserId: guest.user.id, tokenDecides: true });
  expect(await identifiersOf(guest.user.id)).toEqual([]);
  expect(await userOf({ phone_e164: PHONE }, { on: isolate() })).not.toBe(guest.user.id);
});

describe("somebody who says who they are", () => {
  it.for([
    ["phone", "C1.1.2", { phone_e164: PHONE }, { phone_e164: "+1 (415) 555-0123" }],
    ["e-mail address", "C1.1.3", { email: "ann@example.com" }, { email: " Ann@Example.COM " }],
    ["device", "C1.1.4", { device_id: "ios-1" }, { device_id: " ios-1 " }],
  ] as const)(
    "a known user is found by their %s, however it is spelled [%s]",
    async ([, , first, second], { isolate, count }) => {
      const ann = await userOf(first);
      expect(await userOf(second, { on: isolate() })).toBe(ann);
      expect([await count("users"), await count("user_identifiers")]).toEqual([1, 1]);
    },
  );

  it("a known user is found by a verified token without identifiers [C1.1.5]", async () => {
    const ann = await userOf({ email: "ann@example.com" });
    expect(await speaker({}, { tokenUserId: ann ?? "" })).toMatchObject({
      user: { id: ann },
      authState: "authenticated",
    });
  });

  it("a token of an unknown user does not make a guest", async () => {
    await expect(speaker({}, { tokenUserId: NOBODY })).rejects.toMatchObject({ code: "UNAUTHORIZED", status: 401 });
  });

  it("a token of a user of another brand is refused", async () => {
    const stranger = await userOf({ email: "ann@example.com" }, { instanceId: INSTANCE.globex });
    await expect(speaker({}, { tokenUserId: stranger ?? "" })).rejects.toMatchObject({ code: "UNAUTHORIZED" });
  });

  it("a user is found by the strongest identifier: phone, e-mail, device, token [C1.1.6]", async () => {
    const [phone, email, device, token] = await Promise.all([
      userOf({ phone_e164: PHONE }),
      userOf({ email: "ann@example.com" }),
      userOf({ device_id: "ios-1" }),
      userOf({ device_id: "other" }),
    ]);
    const tokenUserId = token ?? "";
    const all = { device_id: "ios-1", email: "ann@example.com", phone_e164: PHONE };
    expect(new Set([phone, email, device, token]).size).toBe(4);
    expect(await userOf(all, { tokenUserId })).toBe(phone);
    expect(await userOf({ ...all, phone_e164: undefined }, { tokenUserId })).toBe(email);
    expect(await userOf({ device_id: "ios-1" }, { tokenUserId })).toBe(device);
    expect(await userOf({}, { tokenUserId })).toBe(token);
  });

  it("a token in the header identifies the user, whatever the identifiers", async ({ identifiersOf }) => {
    const ann = await userOf({ phone_e164: PHONE });
    const bob = await userOf({ email: "bob@example.com" });
    const speaks = await speaker({ phone_e164: PHONE }, { tokenUserId: bob ?? "", tokenDecides: true });
    expect(speaks).toMatchObject({ user: { id: bob }, authState: "authenticated" });
    expect(await identifiersOf(ann)).toEqual([`phone_e164 ${PHONE}`]);
  });

  it("a message with an invalid phone number is refused before any query [C1.1.9]", async ({ database }) => {
    await expect(speaker({ phone_e164: "0123" })).rejects.toMatchObject({
      code: "VALIDATION_ERROR",
      details: { fields: [{ field: "phone_e164" }] },
    });
    expect(database.requests).toHaveLength(0);
  });

  it("a message with an invalid e-mail address is refused [C1.1.10]", async () => {
    await expect(speaker({ email: "ann@" })).rejects.toMatchObject({
      code: "VALIDATION_ERROR",
      details: { fields: [{ field: "email" }] },
    });
  });

  it("a user is not made without a brand [C1.1.1]", async ({ count }) => {
    const instance = { ...(await instanceOf(INSTANCE.chat)), brandId: "" };
    const claims: Claims = {
      instanceId: INSTANCE.chat,
      channel: "web",
      tokenUserId: null,
      tokenDecides: false,
      identifiers: presented({ phone_e164: PHONE }),
    };
    await expect(resolveSender(deps, instance, claims, { byToken: null, byIdentifier: [] })).rejects.toMatchObject({
      code: "VALIDATION_ERROR",
      status: 400,
      details: { fields: [{ field: "brand_id" }] },
    });
    expect(await count("users")).toBe(0);
  });

  it("a known user costs one round trip with the instance, and none afterwards", async ({ isolate, database }) => {
    await speaker({ phone_e164: PHONE });
    const other = isolate();
    database.forget();
    for (let message = 0; message < 3; message += 1) await speaker({ phone_e164: PHONE }, { on: other });
    expect(database.requests).toHaveLength(1);
  });

  it("a known user is looked up again after a minute, also while they write", async ({ database }) => {
    const clock = { now: 0 };
    const talkative = createTestDeps({ endpoint: database.endpoint, now: () => clock.now });
    await speaker({ phone_e164: PHONE }, { on: talkative });
    database.forget();
    for (; clock.now < 180_000; clock.now += 10_000) await speaker({ phone_e164: PHONE }, { on: talkative });
    // Instance and person, each minute after the first.
    expect(database.requests).toHaveLength(2);
  });
});

describe("somebody who says nothing of themselves", () => {
  it("a message without identifiers is nobody's: the caller decides about guests [C1.1.8]", async ({
    count,
    database,
  }) => {
    expect(await speaker({})).toBeNull();
    expect([await count("users"), database.requests.length]).toEqual([0, 1]);
  });

  it("a guest is made per request [C1.1.7, C1.3.1]", async ({ count }) => {
    const instance = await instanceOf(INSTANCE.chat);
    const guests = [
      await guestSender(deps, instance, "web", visit),
      await guestSender(deps, instance, "web", { ...visit, requestId: "V1StGXR8_Z5jdHi6B-myT0" }),
      await guestSender(deps, instance, "web", { ...visit, clientAddress: "192.0.2.2" }),
      await guestSender(deps, instance, "web", { ...visit, fingerprint: "f2" }),
    ];
    expect(new Set(guests.map(({ user }) => user.id)).size).toBe(4);
    expect(await count("users")).toBe(4);
  });

  it("a repeated request is the same guest, also in another isolate", async ({ isolate, count }) => {
    const instance = await instanceOf(INSTANCE.chat);
    const [first, again, elsewhere] = [
      await guestSender(deps, instance, "web", visit),
      await guestSender(deps, instance, "web", visit),
      await guestSender(isolate(), instance, "web", visit),
    ];
    expect([again?.user.id, elsewhere?.user.id]).toEqual([first?.user.id, first?.user.id]);
    expect([await count("users"), await count("sessions")]).toEqual([1, 1]);
  });

  it.for(["r1", "msg-1", "0123456789012345678:0", "21-characters-of-text"])(
    "a guessable request id makes a new guest each time: %s",
    async (requestId, { count }) => {
      const instance = await instanceOf(INSTANCE.chat);
      const first = await guestSender(deps, instance, "web", { ...visit, requestId });
      const second = await guestSender(deps, instance, "web", { ...visit, requestId });
      expect(second.user.id).not.toBe(first.user.id);
      expect(await count("users")).toBe(2);
    },
  );

  it("an unguessable request id is the same guest on the same day only", async ({ database }) => {
    const at = async (now: string) => {
      const isolate = createTestDeps({ endpoint: database.endpoint, now: () => Date.parse(now) });
      return (await guestSender(isolate, await instanceOf(INSTANCE.chat), "web", visit)).user.id;
    };
    const first = await at("2026-11-22T00:00:00Z");
    expect(await at("2026-11-22T23:59:59Z")).toBe(first);
    expect(await at("2026-11-23T00:00:00Z")).not.toBe(first);
  });

  it("a guest has the guest tier, no identifier, and exists at once [C1.3.2, C1.3.3, C1.6.1, C1.6.2, C1.6.3]", async ({
    database,
    count,
  }) => {
    const guest = await guestSender(deps, await instanceOf(INSTANCE.chat), "web", visit);
    expect(guest).toMatchObject({ user: { tier: "guest" }, authState: "guest" });
    expect(await database.query("select id, tier, brand_id from users")).toEqual([
      { id: guest.user.id, tier: "guest", brand_id: ACME },
    ]);
    expect(await count("user_identifiers")).toBe(0);
  });

  it("a guest's own statements are stored as a note that identifies no user", async ({ database }) => {
    await guestSender(deps, await instanceOf(INSTANCE.chat), "web", { ...visit, unverified: { email: "a@b.co" } });
    expect(await database.query("select metadata_json from users")).toEqual([{ metadata_json: '{"email": "a@b.co"}' }]);
    expect(
      await deps.read(
        usersByIdentifiers({ instance: { id: INSTANCE.chat }, channel: "web", addressOf }, [
          { type: "email", value: "a@b.co" },
        ]),
      ),
    ).toEqual([]);
  });
});

describe("a person who is looked up", () => {
  const byPhone = (instanceId: string, value = PHONE) =>
    deps.read(
      usersByIdentifiers({ instance: { id: instanceId }, channel: "web", addressOf }, [{ type: "phone_e164", value }]),
    );

  it("a user is found by an identifier [C1.4.1]", async () => {
    const ann = await userOf({ phone_e164: PHONE });
    expect(await byPhone(INSTANCE.chat)).toMatchObject([
      { user: { id: ann, tier: "standard" }, by: { type: "phone_e164", value: PHONE } },
    ]);
  });

  it.each([["+19995550000"], ["nobody"], [""], ["' or 1=1 --"]])(
    "a user is not found by an unknown identifier: %j [C1.4.2]",
    async (value) => {
      await userOf({ phone_e164: PHONE });
      expect(await byPhone(INSTANCE.chat, value)).toEqual([]);
    },
  );

  it("a user is found by id within their brand only", async () => {
    const ann = await userOf({ phone_e164: PHONE });
    expect(await deps.read(userById(INSTANCE.guestless, ann ?? "", addressOf))).toMatchObject({ user: { id: ann } });
    expect(await deps.read(userById(INSTANCE.globex, ann ?? "", addressOf))).toBeNull();
  });

  it("a user is per brand: one phone number is Ann's here and Bob's there [C1.4.3, C1.8.1, C1.8.2]", async ({
    database,
  }) => {
    const ann = await userOf({ phone_e164: PHONE });
    const bob = await userOf({ phone_e164: PHONE }, { instanceId: INSTANCE.globex });
    expect(ann).not.toBe(bob);
    expect((await byPhone(INSTANCE.chat)).map(({ user }) => user.id)).toEqual([ann]);
    expect((await byPhone(INSTANCE.globex)).map(({ user }) => user.id)).toEqual([bob]);
    expect(await database.query("select id, brand_id from users order by brand_id")).toEqual([
      { id: ann, brand_id: ACME },
      { id: bob, brand_id: GLOBEX },
    ]);
  });

  it("a user is per channel: an unverified number does not identify a WhatsApp user", async () => {
    expect(await userOf({ phone_e164: PHONE }, { channel: "app" })).not.toBe(await userOf({ phone_e164: PHONE }));
  });

  it("a user is the same for all instances of a brand", async () => {
    const ann = await userOf({ phone_e164: PHONE });
    expect(await userOf({ phone_e164: PHONE }, { instanceId: INSTANCE.guestless })).toBe(ann);
  });

  it("an identifier is unique within brand and channel by a database constraint [C1.8.3]", async ({
    database,
    identifiersOf,
  }) => {
    const ann = await userOf({ phone_e164: PHONE });
    const bob = await userOf({ email: "bob@example.com" });
    const insert = (channel: string, userId: string | undefined) =>
      database.query(
        `insert into user_identifiers (user_id, brand_id, channel, identifier_type, identifier_value)
         values ($1, '${ACME}', $2, 'phone_e164', '${PHONE}')`,
        [userId ?? null, channel],
      );
    await expect(insert("web", bob)).rejects.toMatchObject({ code: "23505" });
    await insert("app", bob);
    expect(await identifiersOf(ann)).toEqual([`phone_e164 ${PHONE}`]);
  });
});

describe("a known person who says more of themselves", () => {
  it.for([
    ["phone", "C1.5.1", { phone_e164: PHONE }, `phone_e164 ${PHONE}`],
    ["e-mail address", "C1.5.2", { email: "Ann@Example.com" }, "email ann@example.com"],
    ["device", "C1.5.3", { device_id: "ios-2" }, "device_id ios-2"],
  ] as const)("a known user gains a new %s [%s]", async ([, , more, row], { identifiersOf, isolate }) => {
    const ann = await userOf({ device_id: "known" });
    // By token, because a phone would count more than the device she is known by.
    await speaker({ device_id: "known", ...more }, { tokenUserId: ann ?? "", tokenDecides: true });
    expect(await identifiersOf(ann)).toContain(row);
    expect(await userOf(more, { on: isolate() })).toBe(ann);
  });

  it("a known user gains all new identifiers at once [C1.1.11]", async ({ identifiersOf, count }) => {
    const ann = await userOf({ device_id: "ios-1" });
    await speaker({ device_id: "ios-1", email: "ann@example.com", phone_e164: PHONE });
    expect(await identifiersOf(ann)).toEqual(["device_id ios-1", "email ann@example.com", `phone_e164 ${PHONE}`]);
    expect(await count("users")).toBe(1);
  });

  it("a known user never gains another user's identifier [C1.1.12, C1.5.4]", async ({ identifiersOf }) => {
    const ann = await userOf({ phone_e164: PHONE });
    const bob = await userOf({ email: "bob@example.com" });
    const speaks = await userOf({ phone_e164: PHONE, email: "bob@example.com", device_id: "shared" });
    expect(speaks).toBe(ann);
    expect(await identifiersOf(bob)).toEqual(["email bob@example.com"]);
    expect(await identifiersOf(ann)).toEqual(["device_id shared", `phone_e164 ${PHONE}`]);
  });

  it("a known user gains no identifier twice, and nothing is written [C1.5.5]", async ({
    isolate,
    database,
    identifiersOf,
  }) => {
    const ann = await userOf({ phone_e164: PHONE, email: "ann@example.com" });
    const other = isolate();
    database.forget();
    await speaker({ phone_e164: PHONE, email: "ann@example.com" }, { on: other });
    expect(await identifiersOf(ann)).toEqual(["email ann@example.com", `phone_e164 ${PHONE}`]);
    expect(database.requests).toHaveLength(1);
  });

  it("a known user gains nothing through another brand", async ({ identifiersOf }) => {
    const ann = await userOf({ phone_e164: PHONE });
    const instance = await instanceOf(INSTANCE.globex);
    const found = { user: { id: ann ?? "", tier: "standard" as const }, by: null, openSession: null };
    const claims: Claims = {
      instanceId: instance.id,
      channel: "web",
      tokenUserId: ann ?? "",
      tokenDecides: true,
      identifiers: [{ type: "email", value: "taken@globex.example" }],
    };
    await resolveSender(deps, instance, claims, { byToken: found, byIdentifier: [] });
    expect(await identifiersOf(ann)).toEqual([`phone_e164 ${PHONE}`]);
  });
});

describe("first contact", () => {
  const newUser = (changes: Partial<NewUser> = {}): NewUser => ({
    instanceId: INSTANCE.chat,
    brandId: ACME,
    channel: "web",
    user: { id: "01900000-0000-7000-8000-000000000001", tier: "standard" },
    identifiers: [{ type: "phone_e164", value: PHONE }],
    metadata: {},
    now: 0,
    ...changes,
  });

  it("a first contact without a brand is refused [C1.7.1]", async ({ database }) => {
    await expect(createUser(deps.db, addresses, newUser({ brandId: "" }))).rejects.toMatchObject({
      code: "VALIDATION_ERROR",
      details: { fields: [{ field: "brand_id" }] },
    });
    expect(database.requests).toHaveLength(0);
  });

  it("a first contact without an identifier is refused unless a guest is made [C1.7.2]", async ({ count }) => {
    await expect(createUser(deps.db, addresses, newUser({ identifiers: [] }))).rejects.toMatchObject({
      code: "VALIDATION_ERROR",
      details: { fields: [{ field: "user" }] },
    });
    expect(await count("users")).toBe(0);
  });

  it("a first contact makes user, identifiers and session in one round trip [C1.7.3]", async ({
    database,
    identifiersOf,
  }) => {
    await instanceOf(INSTANCE.chat);
    database.forget();
    const ann = await speaker({ phone_e164: PHONE, email: "ann@example.com", device_id: "ios-1" });
    // The look-up, and the write.
    expect(database.requests).toHaveLength(2);
    expect(await identifiersOf(ann?.user.id)).toEqual([
      "device_id ios-1",
      "email ann@example.com",
      `phone_e164 ${PHONE}`,
    ]);
    expect(await database.query("select id, brand_id, instance_id, user_id, channel, address from sessions")).toEqual([
      {
        id: ann?.openSession?.id,
        brand_id: ACME,
        instance_id: INSTANCE.chat,
        user_id: ann?.user.id,
        channel: "web",
        address: addresses.chat(INSTANCE.chat, ann?.user.id ?? ""),
      },
    ]);
    expect(ann?.openSession).toMatchObject({ userId: ann?.user.id, channel: "web", tokenPlan: null });
  });

  it.for([
    ["whatsapp", "verified", "C1.7.4"],
    ["api", "standard", "C1.7.5"],
    ["web", "standard", "C1.7.5"],
    ["app", "standard", "C1.7.5"],
  ] as const)("a first contact on %s makes a %s user [%s]", async ([channel, tier, _id], { database }) => {
    await speaker({ phone_e164: PHONE }, { channel });
    expect(await database.query("select tier from users")).toEqual([{ tier }]);
  });

  it("a first contact that fails leaves nothing", async ({ count }) => {
    await expect(createUser(deps.db, addresses, newUser({ instanceId: NOBODY }))).rejects.toThrow(/not there/);
    await expect(createUser(deps.db, addresses, newUser({ instanceId: INSTANCE.globex }))).rejects.toThrow(/not there/);
    await expect(createUser(deps.db, addresses, newUser({ channel: "fax" as "web" }))).rejects.toMatchObject({
      code: "DATABASE_CONSTRAINT_ERROR",
    });
    expect([await count("users"), await count("user_identifiers"), await count("sessions")]).toEqual([0, 0, 0]);
  });
});
