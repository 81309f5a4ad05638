import { describe, expect } from "vitest";
import { findInstanceBy, findInstanceByChannel } from "../../src/services/instance.ts";
import { ACME, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import type { TestDeps } from "../support/deps.ts";
import { BUSINESS } from "../support/whatsapp.ts";
import { databaseTest } from "../support/fixtures.ts";

const NUMBER = `+${BUSINESS.number}`;

const it = databaseTest();
let deps: TestDeps;
it.beforeEach(({ database }) => {
  deps = createTestDeps({ endpoint: database.endpoint });
  database.forget();
});

describe("the instance people write to under a number", () => {
  it("an instance is found by channel and number with its configuration [C2.3.1]", async () => {
    expect(await findInstanceByChannel(deps, "whatsapp", NUMBER)).toMatchObject({
      instance: { id: INSTANCE.whatsapp, brandId: ACME, channel: "whatsapp" },
      config: { templateSet: { name: "Acme support" } },
    });
  });

  it("an empty number finds no instance, costs no query and is logged as a warning [C2.3.2]", async ({ database }) => {
    expect(await findInstanceByChannel(deps, "whatsapp", null)).toBeNull();
    expect(deps.lines).toMatchObject([{ level: "warn", event: "recipient_missing", channel: "whatsapp" }]);
    expect(database.requests).toHaveLength(0);
  });

  it.each([
    ["whatsapp", "+15559998888"],
    ["voice", NUMBER],
  ] as const)("no instance is found for %s to %s [C2.3.3]", async (channel, number) => {
    expect(await findInstanceByChannel(deps, channel, number)).toBeNull();
  });

  it("an instance is cached by number, also when it is missing [C2.3.4]", async ({ database }) => {
    await findInstanceByChannel(deps, "whatsapp", NUMBER);
    await findInstanceByChannel(deps, "whatsapp", "+15559998888");
    database.forget();
    expect(await findInstanceByChannel(deps, "whatsapp", NUMBER)).not.toBeNull();
    expect(await findInstanceByChannel(deps, "whatsapp", "+15559998888")).toBeNull();
    expect(database.requests).toHaveLength(0);
  });

  it("an instance is read again when a fresh one is required [C2.3.5]", async ({ database }) => {
    await findInstanceByChannel(deps, "whatsapp", NUMBER);
    await database.query("update instances set name = 'Renamed' where id = $1", [INSTANCE.whatsapp]);
    const remembered = await findInstanceByChannel(deps, "whatsapp", NUMBER);
    const reloaded = await findInstanceByChannel(deps, "whatsapp", NUMBER, { refresh: true });
    const afterwards = await findInstanceByChannel(deps, "whatsapp", NUMBER);
    expect([remembered, reloaded, afterwards].map((bundle) => bundle?.instance.name)).toEqual([
      "Acme on WhatsApp",
      "Renamed",
      "Renamed",
    ]);
  });
});

describe("the instance a webhook means", () => {
  const find = (number: string | null, phoneNumberId: string | null) =>
    findInstanceBy(deps, { channel: "whatsapp", endpoint: { number, phoneNumberId } }).then(
      (bundle) => bundle?.instance.id ?? null,
    );

  it("a webhook's instance is found by the number's id, whatever number is shown", async () => {
    expect(await find("+15558887777", BUSINESS.phoneNumberId)).toBe(INSTANCE.whatsapp);
    expect(await find(null, BUSINESS.phoneNumberId)).toBe(INSTANCE.whatsapp);
  });

  it("a webhook's instance is not found by the number when it has another number id", async () => {
    expect(await find(NUMBER, "9")).toBeNull();
  });

  it("a webhook's instance is found by the number when it has no number id", async ({ database }) => {
    await database.query("update instances set phone_number_id = null where id = $1", [INSTANCE.whatsapp]);
    expect(await find(NUMBER, "9")).toBe(INSTANCE.whatsapp);
    await database.query("update instances set phone_number_id = $1 where id = $2", [
      BUSINESS.phoneNumberId,
      INSTANCE.whatsapp,
    ]);
  });
});
