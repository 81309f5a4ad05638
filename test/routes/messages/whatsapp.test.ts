import { randomUUID } from "node:crypto";
import { describe, expect, vi } from "vitest";
import { ACME, ACME_KEY, GLOBEX_KEY, INSTANCE } from "../../support/demo.ts";
import { echo, gate } from "../../support/orchestrator.ts";
import { somebody } from "../../support/people.ts";
import { BUSINESS, newNumber } from "../../support/whatsapp.ts";
import { gatewayTest } from "../../support/fixtures.ts";
import { PATIENCE } from "../../support/patience.ts";

const PATH = "/api/whatsapp/messages";

const it = gatewayTest()
  .extend("env", { scope: "file" }, ({ orchestrator }) => ({
    ORCHESTRATOR_URL: orchestrator.url,
    RATE_LIMIT_INSTANCE_PER_MINUTE: "0",
    AUTH_MODE: "required",
  }))
  .extend(
    "say",
    { scope: "file" },
    ({ gateway }) =>
      (changes: Changes = {}, key: string | undefined = ACME_KEY) =>
        gateway.send("POST", PATH, incoming(changes), key),
  )
  /** What the orchestrator was told of the last message. */
  .extend(
    "heard",
    { scope: "file" },
    ({ orchestrator }) =>
      () =>
        orchestrator.calls.at(-1)!.adapter,
  );
/** An instance answers on its own kind of channel only: the ones that are named here are WhatsApp's. */
const NAMED = [INSTANCE.guestless, INSTANCE.unconfigured, INSTANCE.globex];
it.beforeAll(({ gateway }) =>
  gateway.database.query("update instances set channel = 'whatsapp' where id::text = any(string_to_array($1, ','))", [
    NAMED.join(","),
  ]),
);
it.beforeEach(({ orchestrator }) => orchestrator.behave(echo));

type Changes = { message?: Record<string, unknown>; [field: string]: unknown };

/** A message that is right in every respect, with what the test wants otherwise; undefined leaves a field out. */
const incoming = ({ message, ...fields }: Changes = {}) => ({
  request_id: randomUUID(),
  message: { from: newNumber(), to: BUSINESS.number, type: "text", text: { body: "Hello" }, ...message },
  ...fields,
});

const IMAGE = { type: "image", image: { id: "1", caption: "This one" } };
const PLACE = { latitude: 52.5163, longitude: 13.3777, name: "Tor", address: "Pariser Platz" };
const PEOPLE = [{ name: { formatted_name: "Ada" } }, { name: { first_name: "Alan", last_name: "T" } }];

describe("what somebody sends", () => {
  it.for([
    ["A3.1.1", "text", { text: { body: "Hello" } }],
    ["A3.1.2", "image", { image: { id: "1" } }],
    ["A3.1.3", "audio", { audio: { id: "1", voice: true } }],
    ["A3.1.4", "document", { document: { id: "1", filename: "invoice.pdf" } }],
    ["A3.1.5", "location", { location: PLACE }],
    ["A3.1.6", "contacts", { contacts: PEOPLE }],
  ] as const)("a message of the type $1 is answered [$0]", async ([, type, parts], { say, heard }) => {
    const message = { text: undefined, type, ...parts };
    const reply = await say({ message });
    expect({ status: reply.status, fallback: reply.body.data?.fallback }).toEqual({ status: 200, fallback: false });
    expect(heard().message.metadata.whatsapp).toMatchObject({ kind: type, raw: { type, ...parts } });
  });

  it.for([
    ["A3.5.1", "its text", { type: "text", text: { body: " Where is my order? " } }, "Where is my order?"],
    ["A3.5.2", "its caption", IMAGE, "This one"],
    ["A3.5.3", "where it is", { type: "location", location: PLACE }, "Tor, Pariser Platz (52.5163, 13.3777)"],
    ["A3.5.4", "the names in it", { type: "contacts", contacts: PEOPLE }, "Ada; Alan T"],
  ] as const)("the orchestrator is asked about $1 [$0]", async ([, , parts, content], { say, heard }) => {
    const reply = await say({ message: { text: undefined, ...parts } });
    expect(reply.body.data.text).toBe(`echo: ${content}`);
    expect(heard().message).toMatchObject({ content, channel: "whatsapp" });
  });

  it("an image and a quoted message reach the orchestrator, and later turns know of the image", async ({
    say,
    heard,
  }) => {
    const from = newNumber();
    await say({ message: { from, text: undefined, ...IMAGE, context: { id: "wamid.quoted" } } });
    const attachments = [{ type: "image", id: "1", caption: "This one" }];
    expect(heard().message.metadata).toMatchObject({ attachments, quoted: { channel_message_id: "wamid.quoted" } });
    await say({ message: { from } });
    expect(heard().history[0]).toEqual({ role: "user", content: "[image: This one]", attachments });
  });

  it("a message of each type is stored with its parts [G1.4.5]", async ({ say, gateway }) => {
    const location = { latitude: 1, longitude: 2 };
    const { body } = await say({ message: { type: "location", location, text: undefined } });
    await gateway.flush();
    const [row] = await gateway.database.query("select metadata_json from messages where id = $1", [
      body.data.inbound_message_id,
    ]);
    expect(JSON.parse(row!.metadata_json!).whatsapp).toMatchObject({ kind: "location", location });
  });
});

describe("a message that is not in order", () => {
  it.for<[string, string, Changes, number, string, string | undefined]>([
    ["A3.2.1", "has no sender", { message: { from: undefined } }, 400, "VALIDATION_ERROR", "from"],
    ["A3.2.2", "has no recipient", { message: { to: undefined } }, 400, "VALIDATION_ERROR", "to"],
    ["A3.2.3", "has a sender that is no number", { message: { from: "somebody" } }, 400, "VALIDATION_ERROR", "from"],
    ["A3.2.3", "has a sender that is no text", { message: { from: 14155550123 } }, 400, "VALIDATION_ERROR", "from"],
    ["A3.2.3", "has a recipient that is no text", { message: { to: 15550001111 } }, 400, "VALIDATION_ERROR", "to"],
    ["A3.2.3", "has a recipient of 16 digits", { message: { to: "1234567890123456" } }, 400, "VALIDATION_ERROR", "to"],
    ["B1.2.2", "has no request id", { request_id: undefined }, 400, "MISSING_REQUEST_ID", undefined],
    ["B1.2.3", "says nothing", { message: { text: { body: "  " } } }, 400, "VALIDATION_ERROR", "message"],
    ["B1.2.3", "has no type", { message: { type: undefined } }, 400, "VALIDATION_ERROR", "message"],
  ] as const)("a message is refused when $1 [$0]", async ([, , changes, status, code, field], { say }) => {
    const { body, status: given } = await say(changes);
    expect({ status: given, code: body.error.code, field: body.error.details.fields?.[0].field }).toEqual({
      status,
      code,
      field,
    });
  });

  it.for([
    ["C5.2.1", "sender", { from: null }],
    ["C5.2.2", "recipient", { to: "" }],
  ] as const)("a message without a $1 is refused before any query [$0]", async ([, , message], { gateway, say }) => {
    gateway.roundTrips();
    expect(await say({ message })).toMatchObject({ status: 400, body: { error: { code: "VALIDATION_ERROR" } } });
    expect(gateway.roundTrips()).toBe(0);
  });

  it("a message that is no object is refused", async ({ gateway }) => {
    const { status, body } = await gateway.send("POST", PATH, { request_id: "a", message: "Hello" }, ACME_KEY);
    expect({ status, fields: body.error.details.fields }).toMatchObject({
      status: 422,
      fields: [{ field: "message" }],
    });
  });

  it("a message of 10,001 characters is refused and one of 10,000 is accepted", async ({ say }) => {
    expect(await say({ message: { text: { body: "a".repeat(10_001) } } })).toMatchObject({ status: 400 });
    expect(await say({ message: { text: { body: "a".repeat(10_000) } } })).toMatchObject({ status: 200 });
  });
});

describe("to whom a message is", () => {
  it("a message reaches the instance of its number, with or without a plus [A3.3.1, C5.2.3, G1.4.2, G1.4.3]", async ({
    say,
    heard,
  }) => {
    for (const to of [BUSINESS.number, `+${BUSINESS.number}`]) {
      expect(await say({ message: { to } })).toMatchObject({ status: 200 });
      expect(heard().routing).toEqual({ brand_id: ACME, instance_id: INSTANCE.whatsapp });
    }
  });

  it("a message reaches the instance the caller names, whatever the number [A3.3.2, C5.2.4]", async ({
    say,
    heard,
  }) => {
    const metadata = { instance_id: INSTANCE.whatsapp };
    expect(await say({ message: { to: "15559998888" }, metadata })).toMatchObject({ status: 200 });
    expect(heard().routing.instance_id).toBe(INSTANCE.whatsapp);
    const chat = { instance_id: INSTANCE.chat };
    expect(await say({ message: { to: BUSINESS.number }, metadata: chat })).toMatchObject({ status: 404 });
  });

  it.for([
    ["A3.3.3", "a number nobody has", { message: { to: "15559998888" } }, "instance", "+15559998888"],
    [
      "A3.3.3",
      "an instance that is not there",
      { metadata: { instance_id: INSTANCE.unknown } },
      "instance",
      INSTANCE.unknown,
    ],
    [
      "C5.2.5",
      "an instance without a configuration",
      { metadata: { instance_id: INSTANCE.unconfigured } },
      "config",
      INSTANCE.unconfigured,
    ],
  ] as const)("a message to $1 is not found [$0]", async ([, , changes, type, id], { say }) => {
    const { status, body } = await say(changes);
    expect({ status, code: body.error.code, details: body.error.details }).toEqual({
      status: 404,
      code: "RESOURCE_NOT_FOUND",
      details: { resource_type: type, resource_id: id },
    });
  });

  it("a message to an instance without a brand is not found [C5.2.6]", async ({ gateway, say }) => {
    await gateway.database.query("update brands set is_active = false where id = $1", [ACME]);
    gateway.deps().caches.instances.invalidate();
    const reply = await say();
    await gateway.database.query("update brands set is_active = true where id = $1", [ACME]);
    gateway.deps().caches.instances.invalidate();
    expect(reply).toMatchObject({ status: 404, body: { error: { details: { resource_type: "instance" } } } });
  });
});

describe("by whom a message is", () => {
  it("a new sender becomes a user with a number verified by WhatsApp [A3.4.2]", async ({ say, gateway }) => {
    const from = newNumber();
    const { body } = await say({ message: { from } });
    const rows = await gateway.database.query(
      `select u.tier, ui.identifier_type, ui.identifier_value, ui.channel, ui.brand_id from users u
       join user_identifiers ui on ui.user_id = u.id where u.id = $1`,
      [body.data.user_id],
    );
    expect(rows).toEqual([
      {
        tier: "verified",
        identifier_type: "phone_e164",
        identifier_value: `+${from}`,
        channel: "whatsapp",
        brand_id: ACME,
      },
    ]);
    expect(body.data.is_guest).toBe(false);
  });

  it("a known sender is the same user, however the number is spelled [A3.4.1, C5.2.7]", async ({ say, gateway }) => {
    const from = newNumber();
    const first = await say({ message: { from } });
    gateway.deps().caches.knownUsers.invalidate();
    const again = await say({ message: { from: `+${from}` } });
    expect(again.body.data.user_id).toBe(first.body.data.user_id);
  });

  it("a sender keeps their number, whoever claimed it earlier", async ({ gateway, say }) => {
    const mallory = await somebody(gateway);
    const from = newNumber();
    const phone = { phone_e164: `+${from}` };
    await mallory.start({ instance_id: INSTANCE.whatsapp, user: phone });
    const { body } = await say({ message: { from } });
    expect(body.data.user_id).not.toBe(mallory.userId);
    expect((await mallory.history(body.data.session_id)).status).toBe(403);
  });

  it("a sender is the user whom the brand's server named by the number", async ({ gateway, say }) => {
    const from = newNumber();
    const user = { phone_e164: `+${from}` };
    const started = await gateway.send(
      "POST",
      "/api/v1/conversations/start",
      { instance_id: INSTANCE.whatsapp, user },
      ACME_KEY,
    );
    expect((await say({ message: { from } })).body.data.user_id).toBe(started.body.data.user_id);
  });

  it("a sender is two users at two brands [G1.4.4]", async ({ say }) => {
    const from = newNumber();
    const acme = await say({ message: { from } });
    const metadata = { instance_id: INSTANCE.globex };
    const globex = await say({ message: { from }, metadata }, GLOBEX_KEY);
    expect(globex.status).toBe(200);
    expect(globex.body.data.user_id).not.toBe(acme.body.data.user_id);
  });

  it("a new sender is refused where guests are not accepted", async ({ say }) => {
    const reply = await say({ metadata: { instance_id: INSTANCE.guestless } });
    expect(reply).toMatchObject({ status: 401, body: { error: { code: "UNAUTHORIZED" } } });
  });

  it("a sender's messages within an hour belong to one session [C5.2.8]", async ({ say }) => {
    const from = newNumber();
    const first = await say({ message: { from } });
    const again = await say({ message: { from } });
    expect(again.body.data.session_id).toBe(first.body.data.session_id);
    expect((await say()).body.data.session_id).not.toBe(first.body.data.session_id);
  });

  it("the orchestrator gets the user, session, instance and configuration [C5.2.9]", async ({
    say,
    gateway,
    heard,
  }) => {
    const { body } = await say();
    const [config] = await gateway.database.query(
      "select template_set_id from instance_configs where instance_id = $1 and is_active",
      [INSTANCE.whatsapp],
    );
    expect(heard()).toMatchObject({
      user_id: body.data.user_id,
      session_id: body.data.session_id,
      routing: { instance_id: INSTANCE.whatsapp },
      template: { id: config!.template_set_id },
      policy: { auth_state: "identified", can_call_tools: true },
    });
  });
});

describe("the answer", () => {
  it("an answer has the shape of the contract, and the turn is stored [G1.4.1, G1.4.6, G1.4.7, B1.2.1]", async ({
    gateway,
  }) => {
    const request = incoming();
    const { status, body } = await gateway.send("POST", PATH, request, ACME_KEY);
    expect({ status, body }).toMatchObject({
      status: 200,
      body: {
        success: true,
        message: "Message processed",
        data: {
          request_id: request.request_id,
          is_guest: false,
          text: "echo: Hello",
          fallback: false,
          token_usage: { prompt_in: 12, completion_out: 34, total: 46 },
        },
      },
    });
    await gateway.flush();
    const rows = await gateway.database.query(
      "select role, content, request_id, session_id from messages where session_id = $1 order by seq",
      [body.data.session_id],
    );
    const turn = { request_id: request.request_id, session_id: body.data.session_id };
    expect(rows).toEqual([
      { role: "user", content: "Hello", ...turn },
      { role: "assistant", content: "echo: Hello", ...turn },
    ]);
  });

  it("an answer comes from the user's conversation, with its history [B1.2.4]", async ({ say, heard }) => {
    const from = newNumber();
    await say({ message: { from, text: { body: "One" } } });
    await say({ message: { from, text: { body: "Two" } } });
    expect(heard().history).toEqual([
      { role: "user", content: "One" },
      { role: "assistant", content: "echo: One" },
    ]);
  });

  it("an answer costs two round trips at first contact, one for a known sender, and none when warm", async ({
    gateway,
    say,
  }) => {
    const from = newNumber();
    const { caches } = gateway.deps();
    const forget = () => Object.values(caches).forEach((cache) => "invalidate" in cache && cache.invalidate());
    const cost = async () => {
      gateway.roundTrips();
      expect(await say({ message: { from } })).toMatchObject({ status: 200 });
      return gateway.roundTrips();
    };
    forget();
    const first = await cost();
    const talking = await cost();
    forget();
    expect([first, await cost(), talking]).toEqual([2, 1, 0]);
  });
});

describe("a message that comes again", () => {
  it("a repeated message is 409 with the first answer and costs no query [G1.4.8, I7.1]", async ({ gateway }) => {
    const request = incoming();
    const first = await gateway.send("POST", PATH, request, ACME_KEY);
    const { caches } = gateway.deps();
    caches.instances.invalidate();
    caches.knownUsers.invalidate();
    gateway.roundTrips();
    const again = await gateway.send("POST", PATH, request, ACME_KEY);
    expect({ status: again.status, error: again.body.error }).toMatchObject({
      status: 409,
      error: {
        code: "DUPLICATE_REQUEST",
        details: { request_id: request.request_id, state: "completed", cached_response: first.body.data },
      },
    });
    expect(gateway.roundTrips()).toBe(0);
  });

  it("a repeated message is recognised before any look-up, also with a named instance and while it runs [I7.2]", async ({
    orchestrator,
    gateway,
  }) => {
    const { behaviour, open } = gate();
    orchestrator.behave(behaviour);
    const request = incoming({ metadata: { instance_id: INSTANCE.whatsapp } });
    const before = orchestrator.calls.length;
    const first = gateway.send("POST", PATH, request, ACME_KEY);
    await vi.waitUntil(() => orchestrator.calls.length > before, PATIENCE);
    gateway.deps().caches.instances.invalidate();
    gateway.roundTrips();
    const again = await gateway.send("POST", PATH, request, ACME_KEY);
    const { state } = again.body.error.details;
    expect({ status: again.status, state, trips: gateway.roundTrips() }).toEqual({
      status: 409,
      state: "in_progress",
      trips: 0,
    });
    open();
    expect((await first).status).toBe(200);
  });

  it("a repeated message with another content gets nothing of the first answer", async ({ gateway }) => {
    const request = incoming();
    await gateway.send("POST", PATH, request, ACME_KEY);
    const { message } = request;
    const other = await gateway.send(
      "POST",
      PATH,
      { ...request, message: { ...message, text: { body: "?" } } },
      ACME_KEY,
    );
    expect(other.body.error.details).toEqual({ request_id: request.request_id, state: "payload_mismatch" });
  });

  it("a repeated message with its Idempotency-Key gets the first answer", async ({ gateway }) => {
    const { request_id, ...request } = incoming();
    const send = () =>
      gateway.request(PATH, {
        method: "POST",
        headers: {
          "Content-Type": "application/json",
          "Idempotency-Key": request_id,
          Authorization: `Bearer ${ACME_KEY}`,
        },
        body: JSON.stringify(request),
      });
    const first = await send();
    const again = await send();
    expect(again.body).toEqual(first.body);
    expect(again.headers.get("Idempotency-Replayed")).toBe("true");
  });
});

describe("another brand's key", () => {
  it("another brand's key learns nothing of the number or its messages", async ({ gateway, say, orchestrator }) => {
    const request = incoming();
    await gateway.send("POST", PATH, request, ACME_KEY);
    const strangers = await gateway.send("POST", PATH, request, GLOBEX_KEY);
    const toNobody = await say({ message: { to: "15559990000" } }, GLOBEX_KEY);
    expect(strangers.status).toBe(404);
    expect(strangers.body.error).toEqual({
      ...toNobody.body.error,
      details: { resource_type: "instance", resource_id: `+${BUSINESS.number}` },
    });
    expect(
      orchestrator.calls.filter(
        ({ adapter }) => adapter.routing.brand_id !== ACME && adapter.trace_id === strangers.body.trace_id,
      ),
    ).toEqual([]);
  });

  it("another brand's key can't take the number by naming its own instance", async ({ say }) => {
    const from = newNumber();
    const metadata = { instance_id: INSTANCE.globex };
    expect(await say({ message: { from }, metadata }, GLOBEX_KEY)).toMatchObject({ status: 200 });
    expect(await say({ message: { from } })).toMatchObject({ status: 200 });
  });

  it.for([
    ["no key", undefined, 401],
    ["a key that is none", "parley_nonsense", 401],
  ] as const)("a request with %s is refused", async ([, key, status], { gateway }) => {
    const reply = await gateway.send("POST", PATH, incoming(), key);
    expect(reply.status).toBe(status);
  });
});
