import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { change, notification } from "../../../support/whatsapp.ts";
import {
  BUSINESS,
  edit,
  item,
  PHONE,
  revoke,
  text,
  whatsappConversation,
} from "../../../support/whatsapp-conversation.ts";
import { PATIENCE } from "../../../support/patience.ts";

describe("a message that was edited", () => {
  it("an edited message has its new content in the next prompt and the history, and is marked", async () => {
    const { receive, settled, told, stored, notices } = whatsappConversation();
    receive(text("a", 0, "old words"));
    await settled();
    receive(edit("e", 60, "a", "new words"));
    await settled();
    expect(await told()).toEqual(["new words"]);
    const original = stored().find(({ channelMessageId }) => channelMessageId === "a");
    expect(original).toMatchObject({ content: "new words", metadata: { edited: { at: "2025-06-08T21:00:43.000Z" } } });
    expect(JSON.stringify(original)).not.toContain("old words");
    expect(notices("amendment")).toMatchObject([
      { channelMessageId: "a", role: "user", edit: { content: "new words" } },
    ]);
  });

  it("a message edited while its turn waits or runs is answered once, by its new content", async () => {
    const running = Promise.withResolvers<void>();
    const signals: AbortSignal[] = [];
    const { receive, settled, adapters, stored } = whatsappConversation({
      answer: async (_adapter, signal) => {
        signals.push(signal);
        if (signals.length === 1) await running.promise;
        return { text: "An answer" };
      },
    });
    receive(text("a", 0, "first"), text("b", 1, "second"));
    await vi.waitUntil(() => adapters.length === 1, { ...PATIENCE, interval: 1 });
    receive(edit("e", 60, "a", "first, edited"), edit("f", 61, "b", "second, edited"));
    await vi.waitUntil(() => adapters.length === 2, { ...PATIENCE, interval: 1 });
    expect(signals[0]?.aborted).toBe(true);
    running.resolve();
    await settled();
    expect(adapters.map(({ message }) => message.content)).toEqual(["first", "first, edited", "second, edited"]);
    expect(stored().filter(({ role }) => role === "assistant")).toHaveLength(2);
  });

  it("a message is answered however often it is edited", async () => {
    const { receive, settled, adapters, told, stored } = whatsappConversation({
      answer: async () => {
        if (adapters.length < 9) receive(edit(`e${adapters.length}`, adapters.length, "a", `edit ${adapters.length}`));
        return { text: "An answer" };
      },
    });
    receive(text("a", 0, "words"));
    await settled();
    expect(stored().filter(({ role }) => role === "assistant")).toMatchObject([{ metadata: { fallback: false } }]);
    const words = stored().find(({ channelMessageId }) => channelMessageId === "a")?.content;
    expect(await told()).toEqual([words]);
  });

  it("a message keeps its file when its caption is edited", async () => {
    const { receive, settled, adapters, told } = whatsappConversation();
    receive(item("a", 0, { type: "image", image: { id: "77", mime_type: "image/png", caption: "old" } }));
    await settled();
    receive(edit("e", 60, "a", { type: "image", image: { caption: "new" } }));
    await settled();
    expect(await told()).toEqual(["[image: new]"]);
    expect(adapters.at(-1)!.history[0]).toMatchObject({
      attachments: [{ type: "image", id: "77", mime_type: "image/png", caption: "new" }],
    });
  });

  it("a user can't edit or revoke a message of the business", async () => {
    const { receive, receivePayload, settled, told, adapters } = whatsappConversation();
    const echo = { ...text("x", 0, "from the business"), from: BUSINESS.number.slice(1), to: PHONE };
    receivePayload(notification(change({ message_echoes: [echo] }, "smb_message_echoes")));
    await settled();
    receive(edit("e", 60, "x", "not theirs"), revoke("r", 61, "x"));
    await settled();
    expect(await told()).toEqual([]);
    expect(adapters.at(-1)!.history).toEqual([{ role: "assistant", content: "from the business" }]);
  });
});

describe("a message that was revoked", () => {
  it("a revoked message is removed from the next prompt and storage, and marked in the history", async () => {
    const { receive, settled, told, stored, notices } = whatsappConversation();
    receive(text("a", 0, "secret words"), edit("e", 30, "a", "other secret words"));
    await settled();
    receive(revoke("r", 60, "a"));
    await settled();
    expect(await told()).toEqual([]);
    expect(stored().filter(({ channelMessageId }) => channelMessageId === "a")).toMatchObject([
      { content: "", metadata: { revoked: { at: "2025-06-08T21:00:43.000Z" } } },
    ]);
    expect(JSON.stringify(stored())).not.toContain("secret words");
    expect(
      notices("amendment")
        .filter(({ edit }) => edit === null)
        .map(({ channelMessageId }) => channelMessageId),
    ).toEqual(expect.arrayContaining(["a", "e"]));
  });

  it("a revoked message keeps its content in storage, not in the prompt, where the policy says so", async () => {
    const { receive, settled, told, stored, notices } = whatsappConversation({ policy: { revoked_messages: "keep" } });
    receive(text("a", 0, "words"));
    await settled();
    receive(revoke("r", 60, "a"));
    await settled();
    expect(await told()).toEqual([]);
    expect(stored().find(({ channelMessageId }) => channelMessageId === "a")).toMatchObject({
      content: "words",
      metadata: { revoked: {} },
    });
    expect(notices("amendment")).toMatchObject([{ channelMessageId: "a", edit: null, isBlanked: false }]);
  });

  it("a message revoked while its turn waits is not answered", async () => {
    const gate = Promise.withResolvers<void>();
    const { receive, settled, adapters, stored } = whatsappConversation({
      answer: async () => {
        await gate.promise;
        return { text: "An answer" };
      },
    });
    receive(text("a", 0, "first"), text("b", 1, "second"));
    await vi.waitUntil(() => adapters.length === 1, { ...PATIENCE, interval: 1 });
    receive(revoke("r", 60, "b"));
    gate.resolve();
    await settled();
    expect(adapters.map(({ message }) => message.content)).toEqual(["first"]);
    expect(stored().find(({ channelMessageId }) => channelMessageId === "b")).toMatchObject({ content: "" });
  });

  it("a message revoked while its turn runs is not answered, and the run is aborted", async () => {
    const signals: AbortSignal[] = [];
    const { receive, settled, adapters, stored, told } = whatsappConversation({
      answer: async (_adapter, signal) => {
        signals.push(signal);
        if (signals.length === 1) await new Promise((_resolve, reject) => signal.addEventListener("abort", reject));
        return { text: "An answer" };
      },
    });
    receive(text("a", 0, "secret words"));
    await vi.waitUntil(() => adapters.length === 1, { ...PATIENCE, interval: 1 });
    receive(revoke("r", 60, "a"));
    await settled();
    expect(signals[0]?.aborted).toBe(true);
    expect(stored().map(({ role }) => role)).not.toContain("assistant");
    expect(await told()).toEqual([]);
    expect(JSON.stringify(stored())).not.toContain("secret words");
  });
});

it("the model is told what stands at the end, whatever order originals, edits and revocations come in", async () => {
  const events = {
    original: text("a", 0, "original"),
    firstEdit: edit("e1", 10, "a", "first edit"),
    secondEdit: edit("e2", 20, "a", "second edit"),
    editOfEdit: edit("e3", 30, "e1", "edit of the edit"),
    revocation: revoke("r", 40, "a"),
  };
  const standing = (names: readonly string[]): string[] => {
    if (names.includes("revocation")) return [];
    if (names.includes("editOfEdit") && names.includes("firstEdit")) return ["edit of the edit"];
    if (names.includes("secondEdit")) return ["second edit"];
    return [names.includes("firstEdit") ? "first edit" : "original"];
  };
  const amendments = fc.subarray(["firstEdit", "secondEdit", "editOfEdit", "revocation"] as const);
  const order = amendments.chain((names) => {
    const all = ["original", ...names] as const;
    return fc.record({
      order: fc.shuffledSubarray([...all], { minLength: all.length }),
      // Whether what came before is done when the next one comes.
      waits: fc.array(fc.boolean(), { minLength: all.length, maxLength: all.length }),
    });
  });
  await fc.assert(
    fc.asyncProperty(order, async ({ order, waits }) => {
      const { receive, settled, told, adapters } = whatsappConversation();
      for (const [index, name] of order.entries()) {
        receive(events[name]);
        if (waits[index]) await settled();
      }
      await settled();
      expect(await told()).toEqual(standing(order));
      // Nothing that was revoked before its turn began was answered.
      const isRevokedBefore = order.includes("revocation") && order.indexOf("revocation") < order.indexOf("original");
      expect(adapters.map(({ message }) => message.content).slice(0, isRevokedBefore ? 1 : 0)).toEqual(
        isRevokedBefore ? ["next"] : [],
      );
    }),
    { numRuns: 150 },
  );
}, 60_000);
