import { describe, expect } from "vitest";
import { findInstance, requireReady } from "../../src/services/instance.ts";
import { startDatabase } from "../support/database.ts";
import { ACME, GLOBEX, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import { databaseTest } from "../support/fixtures.ts";

const it = databaseTest()
  /** An isolate that has just started. */
  .extend(
    "isolate",
    { scope: "file" },
    ({ database }) =>
      () =>
        createTestDeps({ endpoint: database.endpoint, now: () => clock.now }),
  )
  /** Runs a test with the chat instance changed, and puts it back. */
  .extend(
    "withChange",
    { scope: "file" },
    ({ database }) =>
      async (change: string, back: string, test: () => Promise<void>): Promise<void> => {
        await database.query(change);
        try {
          await test();
        } finally {
          await database.query(back);
        }
      },
  );
const clock = { now: 0 };

it.beforeEach(({ database }) => {
  clock.now = 1_000_000;
  database.forget();
});

const refusal = (code: string, status: number, details: Record<string, unknown>) =>
  expect.objectContaining({ code, status, details: expect.objectContaining(details) });
const misconfigured = (field: string) =>
  refusal("VALIDATION_ERROR", 400, { fields: [{ field, message: expect.stringMatching(/ (no|does not) /) }] });

describe("a message for an instance", () => {
  it("an instance is found with the settings of its brand [C2.1.1]", async ({ isolate }) => {
    const bundle = await findInstance(isolate(), INSTANCE.chat);
    expect(bundle?.instance).toMatchObject({
      id: INSTANCE.chat,
      brandId: ACME,
      channel: "api",
      acceptGuestUsers: true,
    });
  });

  it.for([
    ["an id nobody has", INSTANCE.unknown],
    ["no id at all", "nope"],
    ["SQL", "' or true --"],
    ["an empty string", ""],
  ] as const)("an instance is not found for %s [C2.1.2]", async ([, id], { isolate }) => {
    expect(await findInstance(isolate(), id)).toBeNull();
  });

  it("an inactive instance, or one of an inactive brand, is not found [C2.1.3]", async ({ isolate, withChange }) => {
    expect(await findInstance(isolate(), INSTANCE.inactive)).toBeNull();
    await withChange(
      `update brands set is_active = false where id = '${GLOBEX}'`,
      `update brands set is_active = true where id = '${GLOBEX}'`,
      async () => expect(await findInstance(isolate(), INSTANCE.globex)).toBeNull(),
    );
  });

  it.for([
    ["unknown", INSTANCE.unknown],
    ["inactive", INSTANCE.inactive],
  ] as const)("an instance that is %s is a 404", async ([, id], { isolate }) => {
    const bundle = await findInstance(isolate(), id);
    expect(() => requireReady(bundle, id, ACME)).toThrow(
      refusal("RESOURCE_NOT_FOUND", 404, { resource_type: "instance", resource_id: id }),
    );
  });

  it("an instance of another brand is a 404 as if it were missing", async ({ isolate }) => {
    const bundle = await findInstance(isolate(), INSTANCE.globex);
    expect(() => requireReady(bundle, INSTANCE.globex, ACME)).toThrow(
      refusal("RESOURCE_NOT_FOUND", 404, { resource_type: "instance", resource_id: INSTANCE.globex }),
    );
    expect(requireReady(bundle, INSTANCE.globex, GLOBEX).instance.id).toBe(INSTANCE.globex);
  });
});

describe("the configuration an instance answers by", () => {
  it("the active configuration of several is used [C2.2.1]", async ({ withChange, isolate }) => {
    const old = "00000000-0000-4000-8000-00000000abcd";
    await withChange(
      `insert into instance_configs (id, instance_id, is_active, default_reply) values ('${old}', '${INSTANCE.chat}', false, 'old')`,
      `delete from instance_configs where id = '${old}'`,
      async () => {
        const bundle = await findInstance(isolate(), INSTANCE.chat);
        expect(requireReady(bundle, INSTANCE.chat, ACME).config.defaultReply).toMatch(/^Sorry/);
      },
    );
  });

  it("an instance without a configuration is a 404 of the configuration [C2.2.2]", async ({ isolate }) => {
    const bundle = await findInstance(isolate(), INSTANCE.unconfigured);
    expect(bundle).toMatchObject({ instance: { id: INSTANCE.unconfigured }, config: null });
    expect(() => requireReady(bundle, INSTANCE.unconfigured, ACME)).toThrow(
      refusal("RESOURCE_NOT_FOUND", 404, { resource_type: "config", resource_id: INSTANCE.unconfigured }),
    );
  });

  it("a configuration has its template set, the templates' models and its functions [C2.2.3, C2.2.4, C2.2.5]", async ({
    isolate,
  }) => {
    const { config } = requireReady(await findInstance(isolate(), INSTANCE.chat), INSTANCE.chat, ACME);
    expect(config.templateSet).toMatchObject({ name: "Acme support" });
    expect(config.templateSet?.functions).toEqual({ response: "acme_response", compose: "acme_compose" });
    expect(config.templateSet?.templates.acme_response?.llmModel).toEqual({
      id: expect.any(String),
      name: "Acme small model",
      apiModelName: "demo-model",
      provider: "openai",
      temperature: "0.2",
      inputPricePer1k: "0.00015",
      outputPricePer1k: "0.0006",
    });
  });

  const set = (assignment: string) => `update template_sets set ${assignment} where brand_id = '${ACME}'`;
  const config = (assignment: string) =>
    `update instance_configs set ${assignment} where instance_id = '${INSTANCE.chat}'`;
  const globexSet = `(select id from template_sets where brand_id = '${GLOBEX}')`;

  it.each([
    ["has no template set", "template_set", "C2.2.6", config("template_set_id = null")],
    ["names another brand's template set", "template_set", "C2.2.3", config(`template_set_id = ${globexSet}`)],
    ["has a set of no functions", "template_set", "C2.2.5", set("functions_json = '{}'")],
    ["names a template that does not exist", "template", "C2.2.5", set(`functions_json = '{"response": "gone"}'`)],
    ["has a template without a model", "llm_model", "C2.2.7", "update templates set llm_model_id = null"],
    ["has a model that is switched off", "llm_model", "C2.2.4", "update llm_models set is_active = false"],
  ])("a configuration is refused with its fault named when it %s (%s) [%s]", async (_, field, _id, change) => {
    // A database of its own: what is broken here can't be put back in one statement.
    const broken = await startDatabase({ seeded: true });
    try {
      await broken.query(change);
      const bundle = await findInstance(createTestDeps({ endpoint: broken.endpoint }), INSTANCE.chat);
      expect(() => requireReady(bundle, INSTANCE.chat, ACME)).toThrow(misconfigured(field));
    } finally {
      await broken.close();
    }
  });
});

describe("an isolate's memory of instances", () => {
  it("a second message needs no query for instance and configuration [C2.1.4, C2.5.2, C2.2.8]", async ({
    isolate,
    database,
  }) => {
    const deps = isolate();
    const first = await findInstance(deps, INSTANCE.chat);
    clock.now += 59_999;
    const second = await findInstance(deps, INSTANCE.chat);
    expect([database.requests.length, second]).toEqual([1, first]);
    expect(second?.config?.templateSet?.name).toBe("Acme support");
  });

  it("a missing instance is cached", async ({ isolate, database }) => {
    const deps = isolate();
    for (let time = 0; time < 5; time += 1) await findInstance(deps, INSTANCE.unknown);
    expect(database.requests).toHaveLength(1);
  });

  it("a hundred concurrent messages share one query", async ({ isolate, database }) => {
    const deps = isolate();
    const bundles = await Promise.all(Array.from({ length: 100 }, () => findInstance(deps, INSTANCE.chat)));
    expect([database.requests.length, new Set(bundles.map((bundle) => bundle?.instance.id))]).toEqual([
      1,
      new Set([INSTANCE.chat]),
    ]);
  });

  const rename = (name: string) => `update instances set name = '${name}' where id = '${INSTANCE.chat}'`;
  const waitFor = (minutes: string) =>
    `update instance_configs set session_timeout_minutes = ${minutes} where instance_id = '${INSTANCE.chat}'`;

  it("a fresh instance and configuration are read when asked for [C2.1.5, C2.2.9]", async ({ isolate, withChange }) => {
    const deps = isolate();
    await findInstance(deps, INSTANCE.chat);
    await withChange(rename("Renamed"), rename("Acme demo"), () =>
      withChange(waitFor("5"), waitFor("null"), async () => {
        const fresh = await findInstance(deps, INSTANCE.chat, { refresh: true });
        expect(fresh?.instance.name).toBe("Renamed");
        expect(fresh?.config?.sessionTimeoutMinutes).toBe(5);
        expect(await findInstance(deps, INSTANCE.chat)).toBe(fresh);
      }),
    );
  });

  it("a cached instance is read again after its time to live [C2.5.1]", async ({ isolate, withChange, database }) => {
    const deps = isolate();
    await findInstance(deps, INSTANCE.chat);
    await withChange(rename("Renamed"), rename("Acme demo"), async () => {
      clock.now += 60_000;
      expect((await findInstance(deps, INSTANCE.chat))?.instance.name).toBe("Renamed");
    });
    expect(database.requests).toHaveLength(2);
  });

  it("one instance can be removed from the cache [C2.4.1]", async ({ isolate, database }) => {
    const deps = isolate();
    for (const id of [INSTANCE.chat, INSTANCE.globex]) await findInstance(deps, id);
    database.forget();
    deps.caches.instances.invalidate(INSTANCE.chat);
    for (const id of [INSTANCE.chat, INSTANCE.globex]) await findInstance(deps, id);
    expect(database.requests).toHaveLength(1);
  });

  it("the whole cache can be emptied [C2.4.2]", async ({ isolate, database }) => {
    const deps = isolate();
    for (const id of [INSTANCE.chat, INSTANCE.globex]) await findInstance(deps, id);
    database.forget();
    deps.caches.instances.invalidate();
    for (const id of [INSTANCE.chat, INSTANCE.globex]) await findInstance(deps, id);
    expect(database.requests).toHaveLength(2);
  });

  it("a warm cache answers more than nine of ten messages, also as entries expire [C2.5.3, I9.1]", async ({
    isolate,
    database,
  }) => {
    const deps = isolate();
    const ids = [INSTANCE.chat, INSTANCE.guestless, INSTANCE.globex];
    for (const id of ids) await findInstance(deps, id);
    const warm = deps.caches.instances.counters;
    // Ten minutes of a message every half second: each entry runs out ten times.
    for (let message = 0; message < 1_200; message += 1) {
      clock.now += 500;
      await findInstance(deps, ids[message % ids.length] ?? "");
    }
    const { hits, misses } = deps.caches.instances.counters;
    expect(hits + misses - warm.hits - warm.misses).toBe(1_200);
    expect((hits - warm.hits) / 1_200).toBeGreaterThan(0.9);
    expect(misses).toBe(database.requests.length);
  });
});
