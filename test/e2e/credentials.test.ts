import { createHash, randomUUID } from "node:crypto";
import { SignJWT } from "jose";
import { describe, expect } from "vitest";
import { ACME, ACME_KEY, GLOBEX, INSTANCE } from "../support/demo.ts";
import type { Reply } from "../support/service.ts";
import { serviceTest } from "../support/fixtures.ts";

const JWT_SECRET = "a-secret-of-this-test-of-more-than-32-characters";
const KEYS = {
  acme: "parley_live_acme",
  globex: "parley_live_globex",
  expired: "parley_live_expired",
  revoked: "parley_live_revoked",
};

/** As it is deployed: an empty ENVIRONMENT is production, and there credentials are required. */
const it = serviceTest()
  .extend("env", { scope: "file" }, ({ orchestrator }) => ({
    ENVIRONMENT: "",
    JWT_SECRET,
    ADDRESS_KEY: "an-address-key-that-only-tests-have",
    ORCHESTRATOR_URL: orchestrator.url,
  }))
  .extend(
    "say",
    { scope: "file" },
    ({ service }) =>
      (channel: string, otherwise: Record<string, unknown>, headers: Record<string, string> = {}) =>
        service.say(`/${channel}/messages`, message(otherwise), headers),
  );

it.beforeAll(async ({ service }) => {
  const rows = [
    [ACME, KEYS.acme, null, null],
    [GLOBEX, KEYS.globex, null, null],
    [ACME, KEYS.expired, "2020-01-01", null],
    [ACME, KEYS.revoked, null, "2020-01-01"],
  ] as const;
  for (const [brand, key, expires, revoked] of rows) {
    const hash = createHash("sha256").update(key).digest("hex");
    await service.query(
      "insert into api_keys (brand_id, name, prefix, secret_hash, expires_at, revoked_at) values ($1, 'x', 'x', $2, $3, $4)",
      [brand, hash, expires, revoked],
    );
  }
});

const bearer = (credential: string) => ({ Authorization: `Bearer ${credential}` });
const message = (otherwise: Record<string, unknown> = {}) => ({
  instance_id: INSTANCE.chat,
  request_id: randomUUID(),
  content: "Hello",
  user: { device_id: randomUUID() },
  ...otherwise,
});

/** A token as Parley issues them, with what the test wants otherwise. */
const token = (user: string, claims: Record<string, unknown> = {}, secret = JWT_SECRET) =>
  new SignJWT({ brand_id: ACME, iss: "parley", aud: "parley", exp: Math.floor(Date.now() / 1000) + 600, ...claims })
    .setProtectedHeader({ alg: "HS256" })
    .setSubject(user)
    .sign(new TextEncoder().encode(secret));

describe("a brand's server", () => {
  it("a brand's server without a key is refused and learns no instance", async ({ say }) => {
    const replies = [await say("api", {}), await say("api", { instance_id: INSTANCE.unknown })];
    expect(replies.map(({ status, body }) => [status, body.error.code])).toEqual([
      [401, "UNAUTHORIZED"],
      [401, "UNAUTHORIZED"],
    ]);
  });

  it("a brand's server is accepted with its key", async ({ say }) => {
    expect((await say("api", {}, bearer(KEYS.acme))).status).toBe(200);
  });

  it("a brand's key does not find another brand's instance", async ({ say }) => {
    const reply = await say("api", {}, bearer(KEYS.globex));
    expect(reply).toMatchObject({ status: 404, body: { error: { code: "RESOURCE_NOT_FOUND" } } });
  });

  it.for([
    ["nobody has", "parley_live_nobody"],
    ["is past its time", KEYS.expired],
    ["was revoked", KEYS.revoked],
    ["everybody has read in the README", ACME_KEY],
    ["is no credential at all", "x"],
  ] as const)("a key that %s is refused on every channel", async ([, key], { say }) => {
    const replies = await Promise.all(["api", "web", "app"].map((channel) => say(channel, {}, bearer(key))));
    expect(replies.map(({ status }) => status)).toEqual([401, 401, 401]);
  });

  it.for([["Basic YTpi"], ["Bearer"], ["Bearer a b"], ["Bearer x.y.z"]] as const)(
    "the Authorization header %o is refused",
    async ([Authorization], { say }) => {
      expect((await say("api", {}, { Authorization })).status).toBe(401);
    },
  );
});

describe("somebody without credentials, on a brand's page", () => {
  const victim = { phone_e164: "+14155550188", email: "victim@example.com", device_id: "victims-device" };

  it.for(["web", "app"])(
    "a visitor without credentials is a guest on /%s, whatever identifiers they send",
    async (channel, { say }) => {
      // The brand's server vouches for them; nobody else does.
      const known = await say(channel, { user: victim }, bearer(KEYS.acme));
      const claimed = await say(channel, { user: victim });
      expect(known.body.data.is_guest).toBe(false);
      expect(claimed).toMatchObject({ status: 200, body: { data: { is_guest: true } } });
      expect(claimed.body.data.user_id).not.toBe(known.body.data.user_id);
    },
  );

  it("a visitor's identifiers are stored as unverified notes", async ({ say, service }) => {
    const user = { phone_e164: "+14155550199", email: "mine@example.com" };
    const { user_id } = (await say("web", { user })).body.data;
    const [row] = await service.query("select tier, metadata_json from users where id = $1", [user_id]);
    expect([row?.["tier"], JSON.parse(row?.["metadata_json"] ?? "null")]).toEqual(["guest", user]);
    expect(await service.query("select 1 from user_identifiers where user_id = $1", [user_id])).toEqual([]);
  });

  it("a visitor is refused by an instance without guests, even with a known phone number", async ({ say }) => {
    await say("web", { user: victim, instance_id: INSTANCE.guestless }, bearer(KEYS.acme));
    expect((await say("web", { user: victim, instance_id: INSTANCE.guestless })).status).toBe(401);
  });

  it.for([
    ["as a bearer", (t: string) => [{}, bearer(t)] as const],
    ["in the body", (t: string) => [{ user: { auth_token: t } }, {}] as const],
  ] as const)("a guest continues with the returned token, %s", async ([, how], { say }) => {
    const first = await say("web", { user: {} });
    const [otherwise, headers] = how(first.body.data.guest_token);
    const next = await say("web", { user: {}, ...otherwise }, headers);
    const { user_id, session_id } = first.body.data;
    expect(next.body.data).toMatchObject({ user_id, session_id });
  });
});

describe("somebody with a token", () => {
  let first: Reply;
  let mine: string;
  it.beforeAll(async ({ say }) => {
    first = await say("web", { user: { email: "holder@example.com" } }, bearer(KEYS.acme));
    mine = await token(first.body.data.user_id);
  });

  it("a token identifies its user, whatever identifiers the body has", async ({ say }) => {
    const other = await say("web", { user: { email: "other@example.com" } }, bearer(KEYS.acme));
    const reply = await say("web", { user: { email: "other@example.com" } }, bearer(mine));
    expect(reply.body.data.user_id).toBe(first.body.data.user_id);
    expect(reply.body.data.user_id).not.toBe(other.body.data.user_id);
  });

  it("a user's token may not act for the brand", async ({ say }) => {
    expect(await say("api", {}, bearer(mine))).toMatchObject({ status: 403, body: { error: { code: "FORBIDDEN" } } });
  });

  it("a user's token is refused at another brand's instance", async ({ say }) => {
    expect((await say("web", { instance_id: INSTANCE.globex }, bearer(mine))).status).toBe(401);
  });

  it.for([
    ["that has expired", (user: string) => token(user, { exp: 1_700_000_000 })],
    ["that never expires", (user: string) => token(user, { exp: undefined })],
    ["for somebody else's service", (user: string) => token(user, { aud: "elsewhere" })],
    ["from somebody else", (user: string) => token(user, { iss: "elsewhere" })],
    ["of no brand", (user: string) => token(user, { brand_id: undefined })],
    ["signed with another secret", (user: string) => token(user, {}, `${JWT_SECRET}!`)],
    [
      "signed with the secret of the README",
      (user: string) => token(user, {}, "parley-development-secret-not-for-production"),
    ],
    ["for nobody there is", () => token(randomUUID())],
    ["that is not signed", (user: string) => token(user).then((t) => `eyJhbGciOiJub25lIn0.${t.split(".")[1]}.`)],
  ] as const)("a token that is %s is refused in the header and in the body", async ([, make], { say }) => {
    const bad = await make(first.body.data.user_id);
    const replies = [await say("web", {}, bearer(bad)), await say("web", { user: { auth_token: bad } })];
    expect(replies.map(({ status, body }) => [status, body.error.code])).toEqual([
      [401, "UNAUTHORIZED"],
      [401, "UNAUTHORIZED"],
    ]);
  });
});

it("the log holds no key, token or secret", ({ service }) => {
  expect(service.log().filter(({ event }) => event === "request").length).toBeGreaterThan(20);
  for (const secret of [...Object.values(KEYS), JWT_SECRET]) expect(service.output()).not.toContain(secret);
  expect(service.output()).not.toMatch(/eyJ[\w-]+\.[\w-]+\./);
});

it("an empty ENVIRONMENT is production and refuses messages without an orchestrator [I4.1, A5.7.1]", async ({
  service,
  say,
}) => {
  await service.restart({ ORCHESTRATOR_URL: "" });
  const reply = await say("api", {}, bearer(KEYS.acme));
  expect(reply.body.error.code).toBe("ORCHESTRATION_ERROR");
  expect(reply.status).toBe(502);
});
