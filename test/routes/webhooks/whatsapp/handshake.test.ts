import { describe, expect } from "vitest";
import { echo } from "../../../support/orchestrator.ts";
import { webhookTest } from "../../../support/webhook.ts";

const it = webhookTest();

it.beforeEach(({ orchestrator }) => orchestrator.behave(echo));

describe("Meta's handshake", () => {
  it("the handshake is answered with the challenge", async ({ ask }) => {
    const reply = await ask("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=verify-me");
    expect({ status: reply.status, type: reply.headers.get("Content-Type"), text: reply.text }).toEqual({
      status: 200,
      type: "text/plain; charset=UTF-8",
      text: "1158201444",
    });
  });

  it.for([
    ["another token", "hub.mode=subscribe&hub.challenge=1&hub.verify_token=other"],
    ["no token", "hub.mode=subscribe&hub.challenge=1"],
    ["another mode", "hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=verify-me"],
    ["nothing", ""],
  ] as const)("the handshake is refused with %s", async ([, query], { ask }) => {
    expect(await ask(query)).toMatchObject({ status: 403, body: { error: { code: "FORBIDDEN" } } });
  });
});
