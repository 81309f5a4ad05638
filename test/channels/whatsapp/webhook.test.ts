import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readWebhook } from "../../../src/channels/whatsapp/webhook.ts";
import { wantsReply } from "../../../src/domain/inbound-message.ts";
import { mangled, strange } from "../../support/mangle.ts";
import { BUSINESS, change, fixture, fixtures, messages, newWamid, notification, text } from "../../support/whatsapp.ts";

const NOW = Date.parse("2026-11-22T12:00:00Z");
const read = (payload: unknown) => readWebhook(payload, NOW);
const only = (payload: unknown) => {
  const { messages } = read(payload);
  expect(messages).toHaveLength(1);
  return messages[0]!;
};

describe("what somebody sends is read as what it is", () => {
  it.each([
    ["meta-docs-text", "text", "Does it come in another color?", true],
    ["pywa-message-text", "text", "Body Text", true],
    ["pywa-message-image", "image", "[image]", true],
    ["pywa-message-voice", "audio", "[audio]", true],
    ["pywa-message-document", "document", "caption", true],
    ["pywa-message-current_location", "location", "12.25089, 43.90539", true],
    [
      "pywa-message-contacts",
      "contacts",
      "Chandler Bing (+1 555-555-5555); Monica (+1 666-666-6666); Rachel Green (+1 777-777-7777)",
      true,
    ],
    ["pywa-callback_button-button", "interactive", "title", true],
    ["pywa-callback_selection-callback", "interactive", "title", true],
    [
      "pywa-flow_completion-completion",
      "interactive",
      "Sent\ncomment_text: Comment Text\ndelivery_rating: 4\npurchase_rating: 2\nrecommend_radio: 0\ncs_rating: 0",
      true,
    ],
    ["pywa-message-order", "order", "3 x HAMBURGER (30 ILS)\n2 x FRENCH_FRIES (35 ILS)\n2 x SODA (10 ILS)", true],
    ["pywa-message-referral", "text", "BODY", true],
    ["pywa-message-reply", "text", "replied text", true],
    ["pywa-message-reaction", "reaction", "[reacted with 😮]", false],
    ["pywa-message-unreaction_empty", "reaction", "[reaction removed]", false],
    ["pywa-message-unsupported", "unsupported", "[unsupported message: unsupported]", false],
    ["pywa-message-interactive_message_with_err", "unsupported", "[unsupported message: interactive]", false],
    ["pywa-system-phone_number_change", "system", "User A changed from 972987654321 to 972912345678", false],
  ])("a message of the type %s is read as %s: %s", (name, kind, content, answered) => {
    const message = only(fixture(name));
    expect({ kind: message.kind, content: message.content, answered: wantsReply(message) }).toEqual({
      kind,
      content,
      answered,
    });
  });

  it.each(["\u200b\u2060", "\u3164\ufe0f \u2800", "\u{e0041}\u{e007f}", "\0\x1f"])(
    "a text of invisible characters only is kept and not answered: %j",
    (body) => {
      const message = only(messages(text({ phone: "16505551234" }, body)));
      expect([message.kind, wantsReply(message)]).toEqual(["unsupported", false]);
      expect(message.metadata.whatsapp).toMatchObject({ raw: { type: "text" } });
    },
  );

  it("every published message is read and kept as received", () => {
    for (const { name, payload } of fixtures()) {
      const { messages: sent = [], statuses = [] } = payload.entry[0].changes[0].value;
      const { messages, statuses: news } = read(payload);
      expect({ name, messages: messages.length, statuses: news.length }).toEqual({
        name,
        messages: sent.length,
        statuses: statuses.length,
      });
      for (const [index, { id, metadata }] of messages.entries()) {
        expect({ id, raw: (metadata.whatsapp as any).raw }).toMatchObject({
          id: sent[index].id,
          raw: sent[index],
        });
      }
    }
  });

  it.each([
    ["a file", "pywa-message-voice", { media: { id: "1234567890987654321", voice: true } }],
    ["the message it answers", "pywa-message-reply", { reply_to: "wamid.xyzxyz==" }],
    ["that it was forwarded", "pywa-message-current_location", { forwarded: true }],
    ["the advertisement it came from", "pywa-message-referral", { referral: { ctwa_clid: "CTWA_CLID" } }],
    ["the button's own data", "pywa-callback_button-button", { reply: { id: "callback_data" } }],
    [
      "the form's name and answers",
      "pywa-flow_completion-completion",
      { form: { name: "flow", answers: { comment_text: "Comment Text", delivery_rating: "4" } } },
    ],
    ["the name the sender has chosen", "pywa-message-text", { profile: { name: "Test Name" } }],
    ["what was wrong with it", "pywa-message-unsupported", { errors: [{ code: 131051 }] }],
    ["an error that stands beside it", "pywa-message-interactive_message_with_err", { errors: [{ code: 131000 }] }],
    ["which message was reacted to", "pywa-message-reaction", { reaction: { message_id: "wamid.yzxyzx=" } }],
  ])("the context of a message is read: %s", (_what, name, details) => {
    expect(only(fixture(name)).metadata.whatsapp).toMatchObject(details);
  });

  it.each([
    ["a caption in the place of a placeholder", { type: "image", image: { id: "1", caption: "Look" } }, "Look"],
    ["an empty caption is none", { type: "image", image: { id: "1", caption: "" } }, "[image]"],
    ["a file's name", { type: "document", document: { filename: "a.pdf" } }, "[document: a.pdf]"],
    [
      "a place with a name",
      { type: "location", location: { latitude: 1.5, longitude: -2, name: "Café", address: "Rd 1" } },
      "Café, Rd 1 (1.5, -2)",
    ],
    ["a quick reply", { type: "button", button: { text: "Yes", payload: "y" } }, "Yes"],
    [
      "an edit",
      { type: "edit", edit: { original_message_id: "wamid.1", message: { type: "text", text: { body: "Better" } } } },
      "Better",
    ],
    [
      "an edit inside an edit",
      { type: "edit", edit: { message: { type: "edit", edit: {} } } },
      "[unsupported message: edit]",
    ],
    [
      "an edited caption",
      { type: "edit", edit: { original_message_id: "wamid.1", message: { type: "image", image: { caption: "New" } } } },
      "New",
    ],
    [
      "an answer to a request to call",
      {
        type: "interactive",
        interactive: { type: "call_permission_reply", call_permission_reply: { response: "accept" } },
      },
      "[call permission: accept]",
    ],
    [
      "a type that the channel names without its content",
      { type: "unsupported", unsupported: { type: "poll_creation" }, errors: [{ code: 131051 }] },
      "[unsupported message: poll_creation]",
    ],
    ["a withdrawal", { type: "revoke", revoke: { original_message_id: "wamid.1" } }, "[message deleted]"],
    ["a chat that was opened", { type: "request_welcome" }, "[chat opened]"],
    ["a contact without a name", { type: "contacts", contacts: [{ phones: [{ phone: "+1 5" }] }] }, "+1 5"],
    ["a type nobody knows yet", { type: "hologram", hologram: {} }, "[unsupported message: hologram]"],
    ["a text without words", { type: "text", text: {} }, "[unsupported message: text]"],
    ["a type that is a word of JavaScript", { type: "constructor" }, "[unsupported message: constructor]"],
  ])("a message of an unusual shape is read: %s", (_what, item, content) => {
    expect(only(messages({ from: "16505551234", id: "wamid.1", timestamp: "1749416383", ...item })).content).toBe(
      content,
    );
  });
});

describe("what a message says beside its words", () => {
  const item = (more: Record<string, unknown>) => only(messages({ ...text({ phone: "16505551234" }, "x"), ...more }));

  it("a message lists its files as attachments with their captions", () => {
    const image = { id: "77", mime_type: "image/jpeg", sha256: "abc", caption: "Look" };
    expect(item({ type: "image", image }).metadata.attachments).toEqual([
      { type: "image", id: "77", mime_type: "image/jpeg", sha256: "abc", caption: "Look" },
    ]);
    expect(item({}).metadata).not.toHaveProperty("attachments");
  });

  it("a message names the message it quotes", () => {
    expect(only(fixture("pywa-message-reply")).replyTo).toBe("wamid.xyzxyz==");
    expect(item({ context: { forwarded: true } }).replyTo).toBeNull();
  });

  it("an edit or a revocation names its message and the new content", () => {
    const message = { type: "text", text: { body: "Better" } };
    expect(item({ type: "edit", edit: { original_message_id: "wamid.1", message } }).amends).toMatchObject({
      target: "wamid.1",
      edit: { content: "Better", metadata: { whatsapp: { kind: "text" } } },
    });
    expect(item({ type: "revoke", revoke: { original_message_id: "wamid.1" } }).amends).toEqual({
      target: "wamid.1",
      edit: null,
    });
    expect(item({ type: "revoke", revoke: {} }).amends).toBeNull();
    expect(item({}).amends).toBeNull();
  });

  it("a statement of the channel is not the user's content and is not answered", () => {
    expect(only(fixture("pywa-system-phone_number_change")).role).toBe("system");
    expect(item({ type: "request_welcome" })).toMatchObject({ role: "system", kind: "welcome" });
    const interactive = { type: "call_permission_reply", call_permission_reply: { response: "reject" } };
    for (const silent of [item({ type: "request_welcome" }), item({ type: "interactive", interactive })]) {
      expect(wantsReply(silent)).toBe(false);
    }
  });

  it("a message has its sender's profile only, cut at a length", () => {
    const contacts = [
      { wa_id: "16505550001", profile: { name: "A".repeat(1_000), username: "@ann" } },
      { wa_id: "16505550002", profile: { name: "Bob" } },
    ];
    const [ann, stranger] = read(
      notification(
        change({ contacts, messages: [text({ phone: "16505550001" }, "a"), text({ phone: "16505550003" }, "b")] }),
      ),
    ).messages;
    expect(ann?.profile).toEqual({ name: "A".repeat(256), username: "@ann" });
    expect(stranger?.profile).toBeNull();
  });
});

describe("when it was said", () => {
  const sentAt = (timestamp: unknown) => only(messages({ ...text({ phone: "16505551234" }, "x"), timestamp })).sentAt;

  it.each([
    ["seconds as text", "1749416383", 1_749_416_383_000],
    ["seconds as a number", 1_749_416_383, 1_749_416_383_000],
    ["milliseconds, as some relays send them", "1749416383123", 1_749_416_383_123],
  ])("the time of a message is read in %s", (_how, timestamp, expected) => {
    expect(sentAt(timestamp)).toBe(expected);
  });

  it.each(["", "soon", "-1", "NaN", null, "99999999999", "1e30", String(Date.UTC(2100, 0))])(
    "the time of a message is its receipt when the timestamp is invalid or in the future: %s",
    (timestamp) => {
      const receipt = sentAt(undefined);
      expect(sentAt(timestamp)).toBe(receipt);
    },
  );
});

describe("an event that is no message", () => {
  it("an event that stops or resumes marketing messages is a silent notice, the same however often it arrives", () => {
    const user_preferences = [
      { wa_id: "16505551234", category: "marketing_messages", value: "stop", detail: "Stop", timestamp: 1_731_705_721 },
    ];
    const payload = notification(change({ user_preferences }, "user_preferences"));
    expect(only(payload)).toMatchObject({
      kind: "preference",
      role: "system",
      marketing: "stop",
      person: { phone: "+16505551234" },
    });
    expect(only(payload).id).toBe(only(payload).id);
    const other = notification(
      change({ user_preferences: [{ wa_id: "16505551234", value: "maybe" }] }, "user_preferences"),
    );
    expect(read(other)).toMatchObject({ messages: [], skipped: [{ what: "user_preferences" }] });
  });

  it("an event about the business's account is passed on whole", () => {
    const value = { event: "DISABLED_UPDATE", phone_number: "15550001111", ban_info: { waba_ban_state: ["DISABLE"] } };
    expect(read(notification({ field: "account_update", value })).skipped).toEqual([
      { what: "change", type: "account_update", value },
    ]);
  });
});

describe("who sent it", () => {
  const from = (value: Record<string, unknown>) => only(notification(change(value))).person;

  it("a sender is identified by the number and by the contact's business-scoped id", () => {
    expect(only(fixture("pywa-message-text")).person).toEqual({
      phone: "+972987654321",
      userId: "US.13491208655302741918",
    });
  });

  it("the contact with the sender's own number is used, not another one", () => {
    const contacts = [
      { wa_id: "16505550001", user_id: "US.1" },
      { wa_id: "16505550002", user_id: "US.2" },
    ];
    const sent = [text({ phone: "16505550002" }, "b"), text({ phone: "16505550001" }, "a")];
    const { messages } = read(notification(change({ contacts, messages: sent })));
    expect(messages.map(({ person }) => person.userId)).toEqual(["US.2", "US.1"]);
  });

  it("a sender may have a business-scoped id and no number", () => {
    expect(from({ messages: [text({ userId: "US.7" }, "Hello")] })).toEqual({ phone: null, userId: "US.7" });
    const contacts = [{ profile: { name: "A" }, user_id: "US.8" }];
    expect(from({ contacts, messages: [text({}, "Hello")] })).toEqual({ phone: null, userId: "US.8" });
  });

  it("a message without a sender is skipped and its neighbours are read", () => {
    const { messages: kept, skipped } = read(messages(text({}, "who?"), text({ phone: "16505550001" }, "me")));
    expect(kept.map(({ content }) => content)).toEqual(["me"]);
    expect(skipped).toEqual([{ what: "message", type: "text" }]);
  });

  it("an echo names the business as sender and the recipient as the person", () => {
    const echo = { ...text({ phone: "15550001111" }, "We called you"), to: "16505550001" };
    const message = only(notification(change({ message_echoes: [echo] }, "smb_message_echoes")));
    expect(message).toMatchObject({ role: "assistant", content: "We called you", person: { phone: "+16505550001" } });
    expect(wantsReply(message)).toBe(false);
  });
});

describe("somebody goes by another id from now on", () => {
  it.each([
    [
      "a new number",
      fixture("pywa-system-phone_number_change"),
      { phone: "+972987654321", userId: null },
      { phone: "+972912345678", userId: null },
    ],
    [
      "a new id, the old one beside it",
      messages({
        id: "w",
        type: "system",
        system: { type: "user_changed_user_id", user_id: "MX.2", previous_user_id: "CO.1" },
      }),
      { phone: null, userId: "CO.1" },
      { phone: null, userId: "MX.2" },
    ],
    [
      "a new id, the old one only in the sentence",
      messages({
        id: "w",
        type: "system",
        system: { type: "user_changed_user_id", user_id: "US.2", body: "User A changed from US.1 to US.2" },
      }),
      { phone: null, userId: "US.1" },
      { phone: null, userId: "US.2" },
    ],
    [
      "a new id, as a change of its own",
      notification(
        change(
          {
            user_id_update: [
              { wa_id: "15557654321", user_id: { previous: "US.1", current: "US.2" }, timestamp: "1700000003" },
            ],
          },
          "user_id_update",
        ),
      ),
      { phone: "+15557654321", userId: "US.1" },
      { phone: null, userId: "US.2" },
    ],
  ])("an identity notice is read: %s", (_what, payload, person, newIdentity) => {
    expect(only(payload)).toMatchObject({ kind: "system", person, newIdentity });
  });

  it("an identity update delivered twice is the same message", () => {
    const payload = notification(
      change({ user_id_update: [{ user_id: { previous: "US.1", current: "US.2" } }] }, "user_id_update"),
    );
    expect(only(payload).id).toBe(only(payload).id);
  });
});

describe("an identity is never taken out of a sentence", () => {
  const notice = (system: Record<string, unknown>) =>
    only(messages({ id: "w", type: "system", system: { type: "user_changed_user_id", ...system } }));

  it.each([
    ["a number in the user's name", "User from 15551234567 to x changed from US.1 to US.2", "US.1"],
    ["an id in the user's name", "User changed from US.9 to US.8 changed from US.1 to US.2", "US.1"],
  ])("the last two ids of the sentence count, whatever stands before them: %s", (_what, body, previous) => {
    expect(notice({ user_id: "US.2", body })).toMatchObject({
      person: { phone: null, userId: previous },
      newIdentity: { phone: null, userId: "US.2" },
    });
  });

  it.each([
    ["the new id is not at its end", "User from 15551234567 to x changed"],
    ["the former id is a number", "User A changed from 15551234567 to US.2"],
    ["the former id is a word", "User A changed from nobody to US.2"],
    ["its end is another id", "User A changed from US.1 to US.3"],
    ["there is none", undefined],
  ])("nothing is linked when %s, and the notice is kept with the new id", (_what, body) => {
    expect(notice({ user_id: "US.2", body })).toMatchObject({
      kind: "system",
      person: { phone: null, userId: "US.2" },
      otherIdentities: [],
      newIdentity: null,
    });
  });

  it("the id in `previous_user_id` counts, whatever the sentence says", () => {
    expect(
      notice({ user_id: "US.2", previous_user_id: "US.7", body: "User A changed from US.1 to US.2" }).person,
    ).toEqual({ phone: null, userId: "US.7" });
  });

  it("a number changed without a sender links nothing: the former number stands in the sentence only", () => {
    const system = {
      type: "user_changed_number",
      wa_id: "16505550002",
      body: "A changed from 16505550001 to 16505550002",
    };
    expect(only(messages({ id: "w", type: "system", system }))).toMatchObject({
      person: { phone: "+16505550002", userId: null },
      newIdentity: null,
    });
  });
});

describe("only messages to the business are read", () => {
  const value = { messages: [text({ phone: "16505550001" }, "Hello")], statuses: [{ id: "w", status: "read" }] };

  it.each(["history", "smb_app_state_sync", "message_echoes", "calls", "tomorrow", "constructor", ""])(
    "the field %s is skipped, also with messages in it",
    (field) => {
      expect(read(notification(change(value, field)))).toMatchObject({
        messages: [],
        statuses: [],
        skipped: [{ what: "change" }],
      });
    },
  );

  it("each field holds its own kind of item", () => {
    const echo = { ...text({ phone: "15550001111" }, "We called"), to: "16505550001" };
    expect(read(notification(change({ message_echoes: [echo] })))).toMatchObject({ messages: [] });
    expect(read(notification(change(value, "smb_message_echoes")))).toMatchObject({ messages: [], statuses: [] });
  });

  it.each(["page", "instagram", undefined, 7])("a notification of the object %s is skipped", (object) => {
    expect(read({ ...messages(text({ phone: "16505550001" }, "Hello")), object })).toMatchObject({
      messages: [],
      skipped: [{ what: "notification" }],
    });
  });

  it("a message of the business's own number is skipped", () => {
    expect(
      read(messages(text({ phone: BUSINESS.number }, "It is me"), text({ phone: "16505550001" }, "Hello"))),
    ).toMatchObject({
      messages: [{ content: "Hello" }],
      skipped: [{ what: "own_message", type: "text" }],
    });
  });
});

describe("statuses of what we sent", () => {
  it.each(["payment", "order", "call"])("a status of the type %s is not about delivery", (type) => {
    const status = { id: "wamid.1", recipient_id: "16505550001", status: "failed", type };
    expect(
      read(notification(change({ statuses: [status, { ...status, status: "read", type: "message" }] }))),
    ).toMatchObject({
      statuses: [{ status: { state: "read" } }],
      skipped: [{ what: "status", type }],
    });
  });

  it("a status of a group's message is skipped", () => {
    const status = { id: "wamid.1", recipient_id: "120363", recipient_type: "group", status: "read" };
    expect(read(notification(change({ statuses: [status] }))).statuses).toEqual([]);
  });

  it("a status needs no recipient", () => {
    expect(read(notification(change({ statuses: [{ id: "wamid.1", status: "read" }] }))).statuses).toMatchObject([
      { recipients: [], status: { id: "wamid.1", state: "read" } },
    ]);
  });

  it("a status carries the delivery state, our reference and the failure reason", () => {
    const failed = fixture("pywa-message_status-failed");
    failed.entry[0].changes[0].value.statuses[0].biz_opaque_callback_data = "ours";
    expect(read(failed).statuses).toEqual([
      {
        recipients: [
          { phone: "+972987654321", userId: null },
          { phone: null, userId: "US.13491208655302741918" },
        ],
        business: { number: "+972123456789", phoneNumberId: "1122334455667" },
        status: {
          id: "wamid.xyzxyz",
          reference: "ours",
          state: "failed",
          error: {
            code: 130472,
            reason: "Failed to send message because this user's phone number is part of an experiment",
          },
        },
      },
    ]);
  });

  it.each(["queued", "unknown", "warning", "", undefined])("a status is ignored when it has %s", (status) => {
    const payload = notification(change({ statuses: [{ id: "wamid.1", recipient_id: "16505550001", status }] }));
    expect(read(payload).statuses).toEqual([]);
  });
});

describe("a notification", () => {
  it("every entry, change, message and status of a notification is read", () => {
    const other = { number: "15550002222", phoneNumberId: "2" };
    const payload = {
      object: "whatsapp_business_account",
      entry: [
        { changes: [change({ messages: [text({ phone: "16505550001" }, "1"), text({ phone: "16505550002" }, "2")] })] },
        {
          changes: [
            change({ messages: [text({ phone: "16505550001" }, "3")] }, "messages", other),
            change({ statuses: [{ id: "wamid.1", recipient_id: "16505550001", status: "read" }] }),
          ],
        },
      ],
    };
    const { messages, statuses } = read(payload);
    expect(messages.map(({ content, business }) => [content, business.phoneNumberId])).toEqual([
      ["1", "100000000000001"],
      ["2", "100000000000001"],
      ["3", "2"],
    ]);
    expect(statuses).toHaveLength(1);
  });

  it.each([null, [], "text", 7, {}, { entry: {} }, { entry: [{ changes: "?" }] }, { object: "page", entry: [{}] }])(
    "a notification of %j is read as empty",
    (payload) => {
      expect(read(payload)).toMatchObject({ messages: [], statuses: [], skipped: [{ what: "notification" }] });
    },
  );

  it.each(["history", "smb_app_state_sync", "calls", "tomorrow"])(
    "a notification about %s is skipped by name",
    (field) => {
      expect(read(notification(change({ [field]: [{ secret: "words" }] }, field)))).toEqual({
        messages: [],
        statuses: [],
        skipped: [{ what: "change", type: field }],
      });
    },
  );

  it("a valid message is read whatever its neighbours contain, and nothing throws", () => {
    const good = { from: "16505550001", id: newWamid(), timestamp: "1749416383", type: "text", text: { body: "good" } };
    // Messages of known types with a hole or something strange in any place, and plain nonsense.
    const items = fixtures().flatMap(({ payload }) => payload.entry[0].changes[0].value.messages ?? []);
    const neighbours = fc.array(fc.oneof(mangled(items), strange));
    fc.assert(
      fc.property(neighbours, neighbours, strange, (before, after, errors) => {
        const { messages } = read(notification(change({ messages: [...before, good, ...after], errors })));
        expect(messages.filter(({ id }) => id === good.id)).toMatchObject([{ kind: "text", content: "good" }]);
        for (const { content, metadata } of messages) {
          expect(content).not.toBe("");
          expect(JSON.stringify(metadata).length).toBeLessThan(60_000);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("an over-long text is cut and an over-long id is refused", () => {
    const { messages: kept, skipped } = read(
      messages(
        text({ phone: "16505550001" }, "a".repeat(100_000)),
        text({ phone: "16505550001" }, "b", { id: "w".repeat(513) }),
      ),
    );
    expect(kept.map(({ content, metadata }) => [content.length, metadata.truncated])).toEqual([[10_000, true]]);
    expect(skipped).toHaveLength(1);
  });

  it("a deeply nested notification is read", () => {
    const nested = JSON.parse(`${'{"type":"edit","edit":{"message":'.repeat(20_000)}{}${"}}".repeat(20_000)}`);
    const form = `${"[".repeat(50_000)}${"]".repeat(50_000)}`;
    const { messages: kept } = read(
      messages(
        { from: "16505550001", id: "a", ...nested },
        {
          from: "16505550001",
          id: "b",
          type: "interactive",
          interactive: { type: "nfm_reply", nfm_reply: { response_json: `{"a":${form}}` } },
        },
      ),
    );
    expect(kept.map(({ kind }) => kind)).toEqual(["edit", "interactive"]);
  });
});
