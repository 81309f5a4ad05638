import { describe, expect } from "vitest";
import { ACME, INSTANCE } from "../../support/demo.ts";
import * as stand from "../../support/orchestrator.ts";
import type { Reply } from "../../support/service.ts";
import { conversationTest, message } from "../../support/conversation-service.ts";

const it = conversationTest();

it.beforeEach(({ orchestrator }) => orchestrator.behave(stand.echo));

describe("a guest", () => {
  let reply: Reply;
  it.beforeAll(async ({ orchestrator, say }) => {
    orchestrator.behave(stand.echo);
    reply = await say({ content: "I am nobody", user: undefined });
  });

  it("a message without identifiers is accepted from a guest [G1.6.1]", ({ callOf }) => {
    expect(callOf(reply).adapter.message.content).toBe("I am nobody");
  });

  it("a guest is accepted by an instance with guests [G1.6.2]", () => {
    expect(reply).toMatchObject({ status: 200, body: { data: { is_guest: true } } });
  });

  it("a guest is a user with the guest tier [G1.6.3]", async ({ service }) => {
    const users = await service.query("select brand_id, tier from users where id = $1", [reply.body.data.user_id]);
    expect(users).toEqual([{ brand_id: ACME, tier: "guest" }]);
  });

  it("a guest has a session of their own [G1.6.4]", async ({ service }) => {
    const sessions = await service.query("select user_id from sessions where id = $1", [reply.body.data.session_id]);
    expect(sessions).toEqual([{ user_id: reply.body.data.user_id }]);
  });

  it("a guest is answered with a guest's permissions [G1.6.5]", ({ callOf }) => {
    expect(reply.body.data.text).toBe("echo: I am nobody");
    expect(callOf(reply).adapter).toMatchObject({ user_type: "guest", policy: { can_call_tools: false } });
  });

  it("a guest who repeats a request is the same guest", async ({ service }) => {
    const body = message({ user: undefined });
    const first = await service.say("/api/messages", body);
    const again = await service.say("/api/messages", body);
    expect(again.body.error.details.cached_response).toEqual(first.body.data);
  });

  it.for([
    ["in the body", (token: string) => [{ user: { auth_token: token } }, {}] as const],
    ["as a bearer", (token: string) => [{ user: undefined }, { Authorization: `Bearer ${token}` }] as const],
  ] as const)("a guest continues the conversation with the returned token, %s", async ([, how], { say, callOf }) => {
    const [otherwise, headers] = how(reply.body.data.guest_token);
    const next = await say({ content: "It is me again", ...otherwise }, headers);
    const { user_id, session_id } = reply.body.data;
    expect(next.body.data).toMatchObject({ user_id, session_id, is_guest: true });
    expect(callOf(next).adapter.history).toContainEqual({ role: "user", content: "I am nobody" });
  });
});

describe("where guests are not accepted", () => {
  it("a message without identifiers reaches an instance without guests [G1.7.1]", async ({ rejected }) => {
    expect((await rejected()).body.error.code).toBe("UNAUTHORIZED");
  });

  it("an instance without guests makes no user for it [G1.7.2]", async ({ service, rejected }) => {
    const guests = () => service.query("select count(*) from users where tier = 'guest'");
    const before = await guests();
    await rejected();
    expect(await guests()).toEqual(before);
  });

  it("an instance without guests refuses the message [G1.7.3]", async ({ rejected }) => {
    expect((await rejected()).status).toBe(401);
  });
});

describe("one phone number, two brands", () => {
  const user = { phone_e164: "+15005550006" };
  let acme: Reply;
  let globex: Reply;
  it.beforeAll(async ({ orchestrator, say }) => {
    orchestrator.behave(stand.echo);
    acme = await say({ user, content: "Only for Acme" });
    globex = await say({ user, instance_id: INSTANCE.globex });
  });

  it("a phone number is a user of the first brand [G1.8.1]", async ({ say }) => {
    expect((await say({ user })).body.data.user_id).toBe(acme.body.data.user_id);
  });

  it("a phone number is a user of the second brand [G1.8.2]", async ({ say }) => {
    expect((await say({ user, instance_id: INSTANCE.globex })).body.data.user_id).toBe(globex.body.data.user_id);
  });

  it("a phone number is two users at two brands, and their conversations stay apart [G1.8.3]", ({ callOf }) => {
    expect(globex.body.data.user_id).not.toBe(acme.body.data.user_id);
    expect(JSON.stringify(callOf(globex).adapter)).not.toContain("Only for Acme");
  });
});
