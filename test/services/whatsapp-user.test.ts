import { describe, expect } from "vitest";
import { findInstanceBy } from "../../src/services/instance.ts";
import {
  findWhatsAppUsers,
  identifiersOf,
  renameWhatsAppUser,
  resolveWhatsAppUser,
} from "../../src/services/whatsapp-user.ts";
import type { Instance } from "../../src/domain/instance.ts";
import { ACME, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import type { TestDeps } from "../support/deps.ts";
import { BUSINESS } from "../support/whatsapp.ts";
import { databaseTest } from "../support/fixtures.ts";
import { addresses } from "../support/addresses.ts";

const it = databaseTest().extend(
  "identifiers",
  { scope: "file" },
  ({ database }) =>
    () =>
      database.query(
        "select user_id, identifier_type, identifier_value from user_identifiers order by identifier_value",
      ),
);
let deps: TestDeps;
let instance: Instance;

it.beforeEach(async ({ database }) => {
  await database.query("truncate users cascade");
  deps = createTestDeps({ endpoint: database.endpoint });
  const bundle = await findInstanceBy(deps, { id: INSTANCE.whatsapp });
  if (bundle === null) throw new Error("The demo has no WhatsApp instance");
  ({ instance } = bundle);
});

const business = { number: `+${BUSINESS.number}`, phoneNumberId: BUSINESS.phoneNumberId };
const correspondent = (phone: string | null, userId: string | null = null) => ({
  instance: { channel: "whatsapp" as const, endpoint: business },
  address: addresses.whatsapp(business, { phone, userId }),
  person: { phone, userId },
});
/** As an isolate does it that has never heard of anybody. */
const resolve = async (
  phone: string | null,
  userId: string | null = null,
  { changes = {}, owner = null }: { changes?: Partial<Instance>; owner?: string | null } = {},
) => {
  deps.caches.knownUsers.invalidate();
  const who = correspondent(phone, userId);
  return resolveWhatsAppUser(deps, { ...instance, ...changes }, who, await findWhatsAppUsers(deps, who), owner);
};

describe("somebody who writes on WhatsApp", () => {
  it("a WhatsApp sender is refused by an instance without a brand [C1.2.1]", async () => {
    await expect(resolve("+16505551234", null, { changes: { brandId: "" } })).rejects.toMatchObject({
      code: "VALIDATION_ERROR",
      status: 400,
      details: { fields: [{ field: "brand_id" }] },
    });
  });

  it.each([
    ["C1.2.2", "has neither a number nor an id", null, "phone_e164 is required"],
    ["C1.2.2", "has an empty number", "", "phone_e164 is required"],
    ["C1.2.6", "has a number of one digit", "+1", "phone_e164 must be"],
    ["C1.2.6", "has letters for a number", "somebody", "phone_e164 must be"],
  ])("a WhatsApp sender is refused who $1 [$0]", (_id, _title, phone, message) => {
    expect(() => identifiersOf({ phone, userId: null })).toThrow(message);
    expect(() => identifiersOf({ phone, userId: null })).toThrow(expect.objectContaining({ code: "VALIDATION_ERROR" }));
  });

  it("a WhatsApp sender is the user of the number [C1.2.3]", async () => {
    const first = await resolve("+16505551234");
    const again = await resolve("+16505551234");
    expect(again?.user).toEqual(first?.user);
    expect(again?.authState).toBe("identified");
    expect((await resolve("+16505550000"))?.user.id).not.toBe(first?.user.id);
  });

  it("a WhatsApp sender becomes a user at first contact where guests are accepted, verified by WhatsApp [C1.2.4]", async ({
    database,
  }) => {
    const speaker = await resolve("+16505551234");
    const [row] = await database.query(
      "select u.brand_id, u.tier, s.address from users u join sessions s on s.user_id = u.id where u.id = $1",
      [speaker!.user.id],
    );
    expect(row).toEqual({ brand_id: ACME, tier: "verified", address: correspondent("+16505551234").address });
  });

  it("a WhatsApp sender is refused at first contact where guests are not accepted [C1.2.5]", async ({
    identifiers,
  }) => {
    expect(await resolve("+16505551234", null, { changes: { acceptGuestUsers: false } })).toBeNull();
    expect(await identifiers()).toEqual([]);
  });

  it("a known WhatsApp sender is accepted where guests are not accepted [C1.2.5]", async () => {
    const known = await resolve("+16505551234");
    const again = await resolve("+16505551234", null, { changes: { acceptGuestUsers: false } });
    expect(again?.user).toEqual(known?.user);
  });
});

describe("a person's two ids", () => {
  it("a sender's two ids are linked when both are seen, and either finds the user", async () => {
    const first = await resolve("+16505551234");
    await resolve("+16505551234", "US.1");
    expect((await resolve(null, "US.1"))?.user).toEqual(first?.user);
  });

  it("two ids of two users become one user's: the number's", async () => {
    const byNumber = await resolve("+16505551234");
    await resolve(null, "US.1");
    expect((await resolve("+16505551234", "US.1"))?.user).toEqual(byNumber?.user);
    expect((await resolve(null, "US.1"))?.user).toEqual(byNumber?.user);
  });

  it("two ids of a conversation belong to its owner, whichever users had them", async ({ identifiers }) => {
    await resolve("+16505551234");
    const owner = await resolve(null, "US.1");
    const both = await resolve("+16505551234", "US.1", { owner: owner!.user.id });
    expect(both?.user.id).toBe(owner!.user.id);
    expect((await identifiers()).map(({ user_id }) => user_id)).toEqual([owner!.user.id, owner!.user.id]);
  });

  it("two ids seen first by many requests at once belong to one user", async ({ database, identifiers }) => {
    const who = correspondent("+16505551234", "US.1");
    const speakers = await Promise.all(
      Array.from({ length: 20 }, () => {
        // Isolates of their own.
        const other = createTestDeps({ endpoint: database.endpoint });
        return resolveWhatsAppUser(other, instance, who, []);
      }),
    );
    expect(new Set(speakers.map((speaker) => speaker?.user.id)).size).toBe(1);
    expect(await identifiers()).toHaveLength(2);
  });

  it("two ids follow an id change, and the former number is free", async ({ identifiers }) => {
    const speaker = await resolve("+16505551234", "US.1");
    const was = { phone: "+16505551234", userId: "US.1" };
    await renameWhatsAppUser(deps, instance, speaker!.user.id, { was, newIdentity: { phone: null, userId: "US.2" } });
    expect((await identifiers()).map(({ identifier_value }) => identifier_value)).toEqual([
      "+16505551234",
      "US.1",
      "US.2",
    ]);
    await renameWhatsAppUser(deps, instance, speaker!.user.id, {
      was,
      newIdentity: { phone: "+16505559999", userId: null },
    });
    expect((await identifiers()).map(({ identifier_value }) => identifier_value)).toEqual(["+16505559999", "US.2"]);
  });
});
