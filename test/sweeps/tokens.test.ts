import { describe, expect } from "vitest";
import { ACME_KEY, GLOBEX, GLOBEX_KEY, INSTANCE } from "../support/demo.ts";
import { gatewayTest } from "../support/fixtures.ts";
import { startGateway } from "../support/gateway.ts";
import { somebody } from "../support/people.ts";
import { tokenFor } from "../support/tokens.ts";

type Body = Record<string, unknown>;

const message = (): Body => ({ instance_id: INSTANCE.chat, request_id: crypto.randomUUID(), content: "Hello" });
/** A body that is right, for every route that names an instance. */
const BODIES: Record<string, () => Body> = {
  "/api/messages": message,
  "/web/messages": message,
  "/app/messages": message,
  "/api/v1/conversations/start": () => ({ instance_id: INSTANCE.chat }),
  "/api/whatsapp/messages": () => ({
    request_id: crypto.randomUUID(),
    message: { from: "+14155550123", to: "+15550001111", type: "text", text: { body: "Hello" } },
  }),
  "/api/broadcast": () => ({ ...message(), user_ids: [crypto.randomUUID()] }),
};
const WITH_KEY_ONLY = ["/api/messages", "/api/whatsapp/messages"];
const WITH_IDENTIFIERS = ["/api/messages", "/web/messages", "/app/messages", "/api/v1/conversations/start"];

type Request = { body: Body; authorization?: string };
/** The places of a request in which a user token can stand. */
const PLACES: Record<string, (body: Body, token: string) => Request> = {
  "the header": (body, token) => ({ body, authorization: token }),
  "user.auth_token": (body, token) => ({ body: { ...body, user: { auth_token: token } } }),
  auth_token: (body, token) => ({ body: { ...body, auth_token: token } }),
  "user.auth_token beside an API key": (body, token) => ({
    body: { ...body, user: { auth_token: token } },
    authorization: ACME_KEY,
  }),
  "auth_token beside an API key": (body, token) => ({
    body: { ...body, auth_token: token },
    authorization: ACME_KEY,
  }),
};

const TRIES = Object.keys(BODIES).flatMap((path) =>
  Object.keys(PLACES)
    .filter((place) => place === "the header" || WITH_IDENTIFIERS.includes(path))
    // A conversation is started with identifiers in `user` only.
    .filter((place) => !path.endsWith("/start") || !place.startsWith("auth_token"))
    .map((place) => [place, path] as const),
);

const it = gatewayTest()
  .override("env", { AUTH_MODE: "required", INSTANCE_CACHE_SECONDS: "0" })
  .extend("open", { scope: "file" }, async ({}, { onCleanup }) => {
    const open = await startGateway({ env: { AUTH_MODE: "optional" } });
    onCleanup(() => open.close());
    return open;
  })
  .extend("modes", { scope: "file" }, async ({ gateway, open }) =>
    Object.fromEntries(
      await Promise.all(
        Object.entries({ required: gateway, optional: open }).map(async ([mode, gateway]) => {
          const ann = await somebody(gateway);
          const { session_id: conversation } = await ann.say("My secret is blue");
          return [mode, { gateway, ann, conversation }] as const;
        }),
      ),
    ),
  );

it("every route with identifiers or an instance is known here", async ({ gateway }) => {
  const { body: document } = await gateway.get("/openapi.json");
  const taking = (name: RegExp) =>
    Object.entries<any>(document.paths)
      .filter(([, { post }]) => {
        const { $ref } = post?.requestBody?.content["application/json"].schema ?? {};
        const schema = document.components.schemas[$ref?.split("/").at(-1)];
        return name.test(JSON.stringify(schema ?? {}));
      })
      .map(([path]) => path);
  expect(WITH_IDENTIFIERS.toSorted()).toEqual(taking(/\/Identifiers"|"auth_token"/).toSorted());
  expect(Object.keys(BODIES)).toEqual(expect.arrayContaining(taking(/"instance_id"/)));
});

describe.each(["required", "optional"])("the service with AUTH_MODE %s", (mode) => {
  it.for(TRIES)(
    "a token of another brand for a user of this one in %s is refused by %s",
    async ([place, path], { modes }) => {
      const { gateway, ann } = modes[mode]!;
      const foreign = await tokenFor(ann.userId, GLOBEX);
      const { body, authorization } = (PLACES[place] as (typeof PLACES)[string])(BODIES[path]?.() ?? {}, foreign);
      const reply = await gateway.send("POST", path, body, authorization);
      // Where only a key is taken, a token is refused before its brand is known.
      const needsKey = mode === "required" && WITH_KEY_ONLY.includes(path) && authorization === foreign;
      const expected = needsKey ? [403, "FORBIDDEN"] : [401, "UNAUTHORIZED"];
      expect([reply.status, reply.body.error.code]).toEqual(expected);
    },
  );

  it("a guest token of another brand is refused wherever it stands", async ({ modes }) => {
    const { gateway } = modes[mode]!;
    const first = { ...message(), instance_id: INSTANCE.globex };
    const { body } = await gateway.send("POST", "/web/messages", first);
    const token = body.data.guest_token;
    for (const place of ["the header", "user.auth_token", "auth_token"]) {
      const sent = PLACES[place]?.(message(), token);
      const reply = await gateway.send("POST", "/web/messages", sent?.body, sent?.authorization);
      expect([place, reply.status]).toEqual([place, 401]);
    }
  });

  it("a token of the instance's own brand is taken wherever it stands", async ({ modes }) => {
    const { gateway, ann } = modes[mode]!;
    for (const place of ["the header", "user.auth_token", "auth_token"]) {
      const sent = PLACES[place]?.(message(), ann.token);
      const reply = await gateway.send("POST", "/web/messages", sent?.body, sent?.authorization);
      expect([place, reply.status, reply.body.data.user_id]).toEqual([place, 200, ann.userId]);
    }
  });

  it("a token of another brand reads nothing of a user it names", async ({ modes }) => {
    const { gateway, ann, conversation } = modes[mode]!;
    const foreign = await tokenFor(ann.userId, GLOBEX);
    for (const rest of ["", `/${conversation}`, `/${conversation}/messages`, `/${conversation}/usage`]) {
      const reply = await gateway.get(`/api/v1/conversations${rest}`, foreign);
      expect([rest, reply.status]).toEqual([rest, rest === "" ? 200 : 404]);
      expect(reply.text).not.toMatch(/secret|blue/);
    }
  });
});

describe("a brand that is switched off", () => {
  it("a brand that is switched off is off for its keys, its users' tokens and its guests", async ({ gateway }) => {
    const eve = await somebody(gateway, { brandId: GLOBEX, instanceId: INSTANCE.globex });
    const id = await eve.start();
    const say = { ...message(), instance_id: INSTANCE.globex };
    const guest = (await gateway.send("POST", "/web/messages", say)).body.data.guest_token;
    const statuses = async () => {
      const replies = [
        await gateway.get("/api/v1/conversations", eve.token),
        await gateway.get(`/api/v1/conversations/${id}/messages`, eve.token),
        await gateway.get("/api/v1/conversations", guest),
        await gateway.get("/api/v1/conversations", GLOBEX_KEY),
        await eve.transcribe(id, { role: "user", content: "Hello" }),
        await gateway.send("POST", "/web/messages", { ...say, request_id: "r1" }, eve.token),
        await gateway.send("POST", "/web/messages", { ...say, request_id: "r2", auth_token: guest }),
        await gateway.send("POST", "/web/messages", { ...say, request_id: "r3" }),
      ];
      return replies.map(({ status }) => status);
    };
    expect(await statuses()).toEqual([200, 200, 200, 200, 202, 200, 200, 200]);
    const set = (isActive: boolean) =>
      gateway.database.query("update brands set is_active = $1::boolean where id = $2", [String(isActive), GLOBEX]);
    await set(false);
    expect(await statuses()).toEqual([401, 401, 401, 401, 401, 404, 404, 404]);
    await set(true);
    expect((await statuses()).slice(0, 5)).toEqual([200, 200, 200, 200, 202]);
  });
});
