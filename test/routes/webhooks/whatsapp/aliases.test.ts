import { describe, expect, vi } from "vitest";
import { ACME_KEY } from "../../../support/demo.ts";
import { messageIdOf } from "../../../support/graph-api.ts";
import { echo } from "../../../support/orchestrator.ts";
import {
  BUSINESS,
  change,
  messages,
  newNumber,
  newUserId,
  newWamid,
  notification,
  text,
} from "../../../support/whatsapp.ts";
import { webhookTest } from "../../../support/webhook.ts";
import { PATIENCE } from "../../../support/patience.ts";

const it = webhookTest();

it.beforeEach(({ orchestrator }) => orchestrator.behave(echo));

describe("one person with two ids", () => {
  it("a sender seen by number, by both ids and by the id alone has one conversation", async ({
    speak,
    orchestrator,
  }) => {
    const [phone, userId] = [newNumber(), newUserId()];
    const first = await speak({ phone }, "By number");
    const both = await speak({ phone, userId }, "By both");
    const byId = await speak({ userId }, "By id");
    expect([both, byId]).toEqual([first, first]);
    expect(orchestrator.calls.at(-1)!.adapter.history.map(({ content }: any) => content)).toContain("By number");
  });

  it("a sender seen by the id first continues there when the number is seen", async ({ speak }) => {
    const [phone, userId] = [newNumber(), newUserId()];
    const first = await speak({ userId }, "By id");
    const both = await speak({ phone }, "By both", [{ wa_id: phone, user_id: userId }]);
    const byNumber = await speak({ phone }, "By number");
    expect([both, byNumber]).toEqual([first, first]);
  });

  it("a sender without a number is answered by the id", async ({ notify, waitForReply }) => {
    const userId = newUserId();
    const message = text({ userId }, "Hello");
    await notify(messages(message));
    const { body } = await waitForReply(message.id);
    expect({ to: body.to, recipient: body.recipient }).toEqual({ to: undefined, recipient: userId });
  });

  it("a sender with two ids is the same user for the brand's own system", async ({ speak, gateway }) => {
    const [phone, userId] = [newNumber(), newUserId()];
    const first = await speak({ userId }, "By id");
    await speak({ phone, userId }, "By both");
    const reply = await gateway.send(
      "POST",
      "/api/whatsapp/messages",
      {
        request_id: newWamid().replace("wamid.", ""),
        message: { from: phone, to: BUSINESS.number, type: "text", text: { body: "In-house" } },
      },
      ACME_KEY,
    );
    expect(reply.body.data).toMatchObject({ user_id: first.user, session_id: first.session });
  });

  it("a stale id of a sender resolves to the owner of the conversation", async ({ gateway, speak }) => {
    const [phone, userId] = [newNumber(), newUserId()];
    const inHouse = () =>
      gateway.send(
        "POST",
        "/api/whatsapp/messages",
        {
          request_id: newWamid().replace("wamid.", ""),
          message: { from: phone, to: BUSINESS.number, type: "text", text: { body: "In-house" } },
        },
        ACME_KEY,
      );
    const before = await inHouse();
    await gateway.flush();
    gateway.evictAll({ emptied: true });
    const byId = await speak({ userId }, "By id");
    await speak({ phone, userId }, "By both");
    // This isolate still takes the number for somebody else's.
    gateway.deps().caches.knownUsers.invalidate();
    await gateway.database.query("update user_identifiers set user_id = $1 where identifier_value = $2", [
      before.body.data.user_id,
      `+${phone}`,
    ]);
    expect((await inHouse()).body.data).toMatchObject({ user_id: byId.user, session_id: byId.session });
  });

  it("a status by either id of the sender reaches the reply", async ({ notify, waitForReply, gateway }) => {
    const userId = newUserId();
    const message = text({ userId }, "Hello");
    await notify(messages(message));
    const reply = await waitForReply(message.id);
    const status = { id: reply.id, status: "read", recipient_id: newNumber(), recipient_user_id: userId };
    await notify(notification(change({ statuses: [status] })));
    await vi.waitUntil(async () => {
      await gateway.flush();
      const [row] = await gateway.database.query("select metadata_json from messages where id = $1", [
        messageIdOf(reply),
      ]);
      return JSON.parse(row?.metadata_json ?? "{}").delivery?.state === "read";
    }, PATIENCE);
  });

  it.for([
    [
      "a system message",
      (previous: string, current: string) =>
        messages({
          id: newWamid(),
          type: "system",
          system: { type: "user_changed_user_id", user_id: current, previous_user_id: previous, body: "changed" },
        }),
    ],
    [
      "an update of its own",
      (previous: string, current: string) =>
        notification(change({ user_id_update: [{ user_id: { previous, current } }] }, "user_id_update")),
    ],
  ] as const)(
    "a sender with a new id, announced by %s, keeps the conversation",
    async ([, tell], { speak, notify }) => {
      const [before, now] = [newUserId(), newUserId()];
      const first = await speak({ userId: before }, "Before");
      await notify(tell(before, now));
      expect(await speak({ userId: now }, "After")).toEqual(first);
    },
  );

  it("a sender with a new number keeps the conversation, and the old number is free", async ({
    speak,
    notify,
    waitForStored,
  }) => {
    const [before, now] = [newNumber(), newNumber()];
    const first = await speak({ phone: before }, "Before");
    const id = newWamid();
    const system = { type: "user_changed_number", wa_id: now, body: `changed from ${before} to ${now}` };
    await notify(messages({ id, from: before, type: "system", system }));
    await waitForStored(id);
    expect((await speak({ phone: now }, "After")).user).toBe(first.user);
    expect((await speak({ phone: before }, "Somebody else")).user).not.toBe(first.user);
  });
});
