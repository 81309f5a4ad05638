import { describe, expect, vi } from "vitest";
import { ACME_KEY } from "../../../support/demo.ts";
import { echo, gate } from "../../../support/orchestrator.ts";
import { messages, newNumber, text } from "../../../support/whatsapp.ts";
import { webhookTest } from "../../../support/webhook.ts";
import type { Stored } from "../../../support/webhook.ts";
import { PATIENCE } from "../../../support/patience.ts";

const it = webhookTest();

it.beforeEach(({ orchestrator }) => orchestrator.behave(echo));

describe("a conversation that is erased", () => {
  it("an erased conversation drops waiting messages and begins anew with the next one", async ({
    notify,
    waitForReply,
    waitForStored,
    orchestrator,
    gateway,
    stored,
    replyTo,
  }) => {
    const phone = newNumber();
    const first = text({ phone }, "Hello");
    await notify(messages(first));
    await waitForReply(first.id);
    const [{ session_id: id }] = (await waitForStored(first.id)) as [Stored];

    const { behaviour, open } = gate();
    orchestrator.behave(behaviour);
    const [running, waiting, next] = [text({ phone }, "One"), text({ phone }, "Two"), text({ phone }, "Three")];
    const calls = orchestrator.calls.length;
    await notify(messages(running, waiting));
    await vi.waitUntil(() => orchestrator.calls.length > calls, PATIENCE);
    const reply = await gateway.send("DELETE", `/api/v1/conversations/${id}`, undefined, ACME_KEY);
    expect(reply.status).toBe(200);
    open();
    await notify(messages(next, waiting));
    await waitForReply(next.id);
    const left = await stored(first.id, running.id, waiting.id, next.id);
    expect(left.map(({ content }) => content)).toEqual(["Three"]);
    expect(left[0]!.session_id).not.toBe(id);
    expect([replyTo(running.id), replyTo(waiting.id)]).toEqual([undefined, undefined]);
  });
});

describe("somebody whom Postgres was made to forget", () => {
  it("a user deleted from Postgres is a new user with the next message", async ({
    notify,
    waitForReply,
    waitForStored,
    gateway,
    orchestrator,
  }) => {
    const phone = newNumber();
    const [first, again] = [text({ phone }, "Forget me"), text({ phone }, "Hello again")];
    await notify(messages(first));
    await waitForReply(first.id);
    const [before] = (await waitForStored(first.id)) as [Stored];
    await gateway.database.query("delete from users where id = $1", [before.user_id]);
    gateway.deps().caches.knownUsers.invalidate();
    await notify(messages(again));
    await waitForReply(again.id);
    const [after] = (await waitForStored(again.id)) as [Stored];
    expect(after.user_id).not.toBe(before.user_id);
    expect(after.session_id).not.toBe(before.session_id);
    expect(orchestrator.calls.at(-1)!.adapter.history).toEqual([]);
  });
});
