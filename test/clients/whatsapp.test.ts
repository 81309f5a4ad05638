import { describe, expect } from "vitest";
import { createWhatsAppSender, remedyFor } from "../../src/clients/whatsapp.ts";
import type { Remedy } from "../../src/channels/channel.ts";
import { hang, refuse, take, takeSilently } from "../support/graph-api.ts";
import { standInTest } from "../support/fixtures.ts";

const it = standInTest().extend(
  "sender",
  { scope: "file" },
  ({ graph }) =>
    (options: { base?: string; token?: string | null; timeoutMs?: number } = {}) =>
      createWhatsAppSender({ base: graph.url, version: "v26.0", token: "EAAtoken", timeoutMs: 5_000, ...options }),
);
it.beforeEach(({ graph }) => graph.calls.splice(0));

const request = { to: "16505551234", type: "text", text: { body: "Hello" } };

describe("a message to the Graph API", () => {
  it("a message is sent to the number's address with the token, and the returned id is kept", async ({
    sender,
    graph,
  }) => {
    const outcome = await sender()("100", request);
    const [call] = graph.calls;
    expect(outcome).toEqual({ kind: "sent", id: call?.id, recipient: { phone: "+16505551234", userId: null } });
    expect(call).toMatchObject({ path: "/v26.0/100/messages", body: request });
    expect(call?.headers.authorization).toBe("Bearer EAAtoken");
  });

  it("a message is sent without a token when none is configured", async ({ sender, graph }) => {
    await sender({ token: null })("100", request);
    expect(graph.calls[0]?.headers).not.toHaveProperty("authorization");
  });

  it("a refused message has a code, a reason and a time to retry", async ({ graph, sender }) => {
    graph.next(refuse(400, 130429, "Rate limit hit", { "Retry-After": "7" }));
    expect(await sender()("100", request)).toEqual({
      kind: "refused",
      error: { code: 130429, reason: "Rate limit hit" },
      remedy: { kind: "retry", pace: "rate" },
      retryAfterMs: 7_000,
    });
  });

  it.for([
    ["the answer is lost", takeSilently],
    ["nobody answers in time", hang],
    ["a gateway gives up waiting", (_call: unknown, response: any) => void response.writeHead(504).end("<html>")],
    ["the answer names no message", (_call: unknown, response: any) => void response.writeHead(200).end("{}")],
  ] as const)("a message may have been sent when %s", async ([, behaviour], { graph, sender }) => {
    graph.next(behaviour);
    expect(await sender({ timeoutMs: 300 })("100", request)).toMatchObject({
      kind: "unknown",
      error: { code: "NO_ANSWER" },
    });
  });

  it("a message may have been sent when the connection is refused", async ({ sender }) => {
    expect(await sender({ base: "http://127.0.0.1:9" })("100", request)).toMatchObject({ kind: "unknown" });
  });

  it("a server error without a code is a failure of the Graph API", async ({ graph, sender }) => {
    graph.next((_call, response) => void response.writeHead(503).end("busy"), take);
    expect(await sender()("100", request)).toMatchObject({
      kind: "refused",
      error: { code: "HTTP_503" },
      remedy: { kind: "retry", pace: "transient" },
    });
  });
});

describe("what to do about an error", () => {
  const final: Remedy = { kind: "give_up", alert: false };
  const stop: Remedy = { kind: "give_up", alert: true };
  it.each<[number, number | string, Remedy]>([
    [401, 190, stop],
    [400, 10, stop],
    [403, 200, stop],
    [403, 299, stop],
    [400, 131031, stop],
    [400, 131048, stop],
    [400, 4, { kind: "retry", pace: "rate" }],
    [429, 80007, { kind: "retry", pace: "rate" }],
    [400, 130429, { kind: "retry", pace: "rate" }],
    [400, 131056, { kind: "retry", pace: "pair" }],
    [400, 131047, { kind: "template" }],
    [500, 131000, { kind: "retry", pace: "transient" }],
    [400, 2, { kind: "retry", pace: "transient" }],
    [400, 133004, { kind: "retry", pace: "transient" }],
    [400, 131026, final],
    [400, 131049, final],
    [400, 130472, final],
    [400, 100, final],
    [400, 131062, final],
    [400, 132000, final],
    // What the table doesn't know is told by the status.
    [500, 999_999, { kind: "retry", pace: "transient" }],
    [429, "HTTP_429", { kind: "retry", pace: "rate" }],
    [401, "HTTP_401", stop],
    [400, 999_999, final],
  ])("a Graph API error is classified by status and code: HTTP %i, code %s", (status, code, remedy) => {
    expect(remedyFor(status, { code })).toEqual(remedy);
  });

  it("an error marked as transient is retried unless the table knows its code", () => {
    expect(remedyFor(400, { code: 999_999 }, true)).toEqual({ kind: "retry", pace: "transient" });
    expect(remedyFor(400, { code: 190 }, true)).toEqual(stop);
  });
});
