import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, vi } from "vitest";
import { ACME, ACME_KEY, INSTANCE } from "../support/demo.ts";
import type { Reply } from "../support/service.ts";
import { serviceTest } from "../support/fixtures.ts";
import { PATIENCE } from "../support/patience.ts";

const ROOT = join(import.meta.dirname, "../..");

const it = serviceTest()
  .extend("env", { scope: "file" }, { INSTANCE_CACHE_SECONDS: "1" })
  .extend(
    "call",
    { scope: "file" },
    ({ service }) =>
      (method: string, path: string, credential: string, body?: unknown): Promise<Reply> =>
        service.request(`/api/v1/conversations${path}`, {
          method,
          headers: {
            Authorization: `Bearer ${credential}`,
            ...(body === undefined ? {} : { "Content-Type": "application/json" }),
          },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        }),
  )
  /** Somebody who has said hello, with a token. */
  .extend(
    "somebody",
    { scope: "file" },
    ({ service }) =>
      async (email: string): Promise<{ userId: string; token: string; sessionId: string }> => {
        const { body } = await service.say("/api/messages", {
          instance_id: INSTANCE.chat,
          request_id: randomUUID(),
          content: "Hello",
          user: { email },
        });
        const { user_id: userId, session_id: sessionId } = body.data;
        return { userId, sessionId, token: await token(userId) };
      },
  );

/** What a script prints when it is run as the README says. */
async function run(script: string, args: string[], env: Record<string, string> = {}): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [join(ROOT, "scripts", script), ...args], {
    env: { ...process.env, ...env },
  });
  return stdout.trim();
}
const token = (userId: string) => run("token.ts", ["--user", userId, "--brand", ACME]);

const contents = ({ body }: Reply): string[] => body.data.messages.map((message: any) => message.content);
const at = (second: number): string => new Date(Date.UTC(2026, 10, 22, 10) + second * 1000).toISOString();
const said = (n: number) => ({ role: n % 2 === 0 ? "user" : "assistant", content: `m${n}`, timestamp: at(n) });
const range = (from: number, to: number): string[] => Array.from({ length: from - to + 1 }, (_, n) => `m${from - n}`);

describe("the history of a conversation, from the outside", () => {
  it("a user reads an answer in the history as soon as it was returned", async ({ somebody, call }) => {
    const ann = await somebody("ann@example.com");
    const reply = await call("GET", `/${ann.sessionId}/messages`, ann.token);
    expect([reply.status, contents(reply)]).toEqual([200, ["You said: Hello", "Hello"]]);
    expect((await call("GET", `/${ann.sessionId}`, ann.token)).body.data.message_count.total).toBe(2);
    expect((await call("GET", `/${ann.sessionId}/usage`, ann.token)).body.data.totals.turns).toBe(1);
  });

  it("a history is paged from the newest message and closed to other users [5.1-API-001, 5.1-API-002, 5.1-API-003]", async ({
    somebody,
    call,
    service,
  }) => {
    const [ann, bob] = [await somebody("anna@example.com"), await somebody("bob@example.com")];
    const started = await call("POST", "/start", ann.token, { instance_id: INSTANCE.chat });
    const id: string = started.body.data.conversation_id;
    for (let n = 0; n < 10; n += 1) expect((await call("POST", `/${id}/messages`, ACME_KEY, said(n))).status).toBe(202);
    expect(contents(await call("GET", `/${id}/messages`, ann.token))).toEqual(range(9, 0));

    await call(
      "POST",
      `/${id}/messages`,
      ACME_KEY,
      Array.from({ length: 40 }, (_, n) => said(n + 10)),
    );
    expect(contents(await call("GET", `/${id}/messages?limit=20&page=2`, ann.token))).toEqual(range(29, 10));
    expect(contents(await call("GET", `/${id}/messages?limit=20&page=3`, ann.token))).toEqual(range(9, 0));

    const forbidden = await call("GET", `/${id}/messages`, bob.token);
    expect([forbidden.status, forbidden.body.error.message]).toEqual([
      403,
      "You do not have permission to access this conversation",
    ]);
    await vi.waitFor(async () => {
      const [row] = await service.query("select count(*) as n from messages where session_id = $1", [id]);
      expect(row?.["n"]).toBe("50");
    }, PATIENCE);
    expect(contents(await call("GET", `/${id}/messages?limit=20&page=2`, ann.token))).toEqual(range(29, 10));
    expect((await call("GET", `/${id}/messages`, bob.token)).status).toBe(403);
  });

  it("a transcript survives a crash right after its acceptance", async ({ somebody, call, service }) => {
    const ann = await somebody("anneliese@example.com");
    const { body } = await call("POST", "/start", ann.token, { instance_id: INSTANCE.chat });
    const id: string = body.data.conversation_id;
    await call("POST", `/${id}/messages`, ACME_KEY, [said(0), said(1)]);
    await service.kill();
    await service.restart();
    expect(contents(await call("GET", `/${id}/messages`, ann.token))).toEqual(["m1", "m0"]);
  });

  it("an erased conversation is gone from the object and from Postgres", async ({ somebody, call, service }) => {
    const ann = await somebody("annika@example.com");
    expect((await call("DELETE", `/${ann.sessionId}`, ann.token)).status).toBe(200);
    expect((await call("GET", `/${ann.sessionId}/messages`, ann.token)).status).toBe(404);
    const next = await somebody("annika@example.com");
    expect(next.sessionId).not.toBe(ann.sessionId);
    expect(await service.query("select id from sessions where id = $1", [ann.sessionId])).toEqual([]);
  });
});

describe("a brand's key, made by npm run key", () => {
  it("a key made by npm run key is shown once, limited to its scopes and void once revoked", async ({
    database,
    somebody,
    call,
  }) => {
    const env = { NEON_ENDPOINT: database.endpoint };
    const key = await run("key.ts", ["--brand", ACME, "--name", "test", "--scopes", "conversations:read"], env);
    expect(key).toMatch(/^parley_[0-9A-Za-z]{10}_[0-9A-Za-z]{43}$/);
    const ann = await somebody("anne@example.com");
    expect((await call("GET", `/${ann.sessionId}/messages`, key)).status).toBe(200);
    const refused = await call("POST", `/${ann.sessionId}/messages`, key, said(1));
    expect([refused.status, refused.body.error.details]).toEqual([403, { scope: "conversations:write" }]);

    await run("key.ts", ["--revoke", key.split("_")[1] ?? ""], env);
    await vi.waitFor(
      async () => expect((await call("GET", `/${ann.sessionId}/messages`, key)).status).toBe(401),
      PATIENCE,
    );
  });
});
