import { describe, expect } from "vitest";
import { ACME_KEY, INSTANCE } from "../../support/demo.ts";
import { gatewayTest } from "../../support/fixtures.ts";

const it = gatewayTest();

const VOICE = INSTANCE.chat.replace(/10$/, "21");
const message = (instance_id: string) => ({ instance_id, request_id: crypto.randomUUID(), content: "Hello" });

describe("an instance", () => {
  it.for(["/api/messages", "/web/messages", "/app/messages"])(
    "an instance of WhatsApp or voice does not exist for %s, one of a chat channel does",
    async (path, { gateway }) => {
      const replies = [];
      for (const instance of [INSTANCE.whatsapp, VOICE, INSTANCE.chat]) {
        replies.push(await gateway.send("POST", path, message(instance), ACME_KEY));
      }
      expect(replies.map(({ status }) => status)).toEqual([404, 404, 200]);
      expect(replies[0]?.body.error.details).toEqual({ resource_type: "instance", resource_id: INSTANCE.whatsapp });
    },
  );

  it.for([INSTANCE.chat, VOICE])(
    "an instance of another kind does not exist for a WhatsApp message: %s",
    async (id, { gateway }) => {
      const { status, body } = await gateway.send(
        "POST",
        "/api/whatsapp/messages",
        {
          request_id: crypto.randomUUID(),
          message: { from: "+14155550123", to: "+15550001111", type: "text", text: { body: "Hello" } },
          metadata: { instance_id: id },
        },
        ACME_KEY,
      );
      expect([status, body.error.details]).toEqual([404, { resource_type: "instance", resource_id: id }]);
    },
  );

  it("an instance id in upper case leads to the same conversation", async ({ gateway }) => {
    const say = (id: string) =>
      gateway.send("POST", "/web/messages", { ...message(id), user: { device_id: "upper" } }, ACME_KEY);
    const [lower, upper] = [await say(INSTANCE.chat), await say(INSTANCE.chat.toUpperCase())];
    expect(upper.body.data.session_id).toBe(lower.body.data.session_id);
  });
});

describe("a message's metadata", () => {
  it("a message's metadata can't carry keys of the service", async ({ gateway }) => {
    const metadata = { page: 7, delivery: { state: "read" }, orchestrator_response: {}, fallback: true };
    const { body } = await gateway.send("POST", "/web/messages", { ...message(INSTANCE.chat), metadata }, ACME_KEY);
    expect(body.data.warnings).toEqual(
      ["delivery", "orchestrator_response", "fallback"].map((key) => `metadata.${key}: reserved, removed`),
    );
    const path = `/api/v1/conversations/${body.data.session_id}/messages`;
    const said = (await gateway.get(path, ACME_KEY)).body.data.messages.find((each: any) => each.role === "user");
    expect(said.metadata).toEqual({ page: 7, channel: "web" });
  });
});
