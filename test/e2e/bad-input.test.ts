import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { describe, expect, vi } from "vitest";
import { INSTANCE } from "../support/demo.ts";
import type { Reply } from "../support/service.ts";
import { serviceTest } from "../support/fixtures.ts";
import { PATIENCE } from "../support/patience.ts";

/** Without an orchestrator: the development mock answers, "You said: ...". */
const it = serviceTest()
  .extend("env", { scope: "file" }, { RATE_LIMIT_USER_PER_MINUTE: "0" })
  .extend(
    "say",
    { scope: "file" },
    ({ service }) =>
      (otherwise: Record<string, unknown> = {}) =>
        service.say("/api/messages", message(otherwise)),
  );

const PATHS = ["/api/messages", "/web/messages", "/app/messages"] as const;

const message = (otherwise: Record<string, unknown> = {}) => ({
  instance_id: INSTANCE.chat,
  request_id: randomUUID(),
  content: "Hello",
  user: { device_id: randomUUID() },
  ...otherwise,
});

/** What every refusal has, whatever it is about. */
function expectRefusal(reply: Reply, status: number, code: string): void {
  expect({ status: reply.status, body: reply.body }).toEqual({
    status,
    body: {
      success: false,
      error: { code, message: expect.any(String), details: expect.any(Object) },
      trace_id: reply.headers.get("X-Trace-ID"),
    },
  });
}

/** `levels` arrays within each other. */
const nested = (levels: number): string => "[".repeat(levels) + "]".repeat(levels);
const bytes = (...values: number[]) => new Uint8Array(values);

describe("what is no JSON", () => {
  it.for([
    ["is empty", ""],
    ["breaks off", '{"content": "Hel'],
    ["is a word", "undefined"],
    ["is HTML", "<html></html>"],
    ["has a comment", '{"content": "a" /* b */}'],
    ["has a trailing comma", '{"content": "a",}'],
    ["is not UTF-8", bytes(0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d)],
    ["has a raw NUL", '{"content": "a\0b"}'],
    ["is nested 33 deep", `{"metadata": ${nested(32)}}`],
    ["is nested 100,000 deep", nested(100_000)],
    ["has 10,001 nodes", JSON.stringify({ metadata: { list: Array.from({ length: 10_000 }, () => 0) } })],
  ] as const)("a body that %s is refused on every channel", async ([, body], { service }) => {
    for (const path of PATHS) expectRefusal(await service.say(path, body), 400, "MALFORMED_JSON");
  });

  it("a body at the nesting limit is read", async ({ service }) => {
    const metadata = `{"deep":${nested(30)}}`;
    const body = JSON.stringify(message()).replace(/}$/, `,"metadata":${metadata}}`);
    expect((await service.say("/api/messages", body)).status).toBe(200);
  });

  it.for([["[]"], ['"text"'], ["7"], ["null"], ["true"]] as const)(
    "a JSON body that %s is refused",
    async ([body], { service }) => {
      expectRefusal(await service.say("/api/messages", body), 422, "VALIDATION_ERROR");
    },
  );
});

describe("a field that is wrong", () => {
  const circus = { a: 1 };
  it.for([
    ["content", 7],
    ["content", null],
    ["content", ["Hello"]],
    ["content", circus],
    ["content", ""],
    ["content", " \n\t "],
    ["content", "\0\u0001\u202e"],
    ["content", "😀".repeat(10_001)],
    ["instance_id", 7],
    ["instance_id", "10"],
    ["instance_id", `${INSTANCE.chat}'; drop table users; --`],
    ["instance_id", circus],
    ["metadata", []],
    ["metadata", "text"],
    ["metadata", { big: "x".repeat(65_536) }],
    ["trace_id", 7],
    ["user", "me"],
    ["user", []],
    ["user.phone_e164", { user: { phone_e164: "0800 123" } }],
    ["user.phone_e164", { user: { phone_e164: 14155550123 } }],
    ["user.phone_e164", { user: { phone_e164: "+١٤١٥٥٥٥٠١٢٣" } }],
    ["user.email", { user: { email: "nobody" } }],
    ["user.email", { user: { email: `${"a".repeat(128)}@example.com` } }],
    ["user.device_id", { user: { device_id: "a\0b" } }],
    ["user.device_id", { user: { device_id: "d".repeat(129) } }],
    ["user.auth_token", { user: { auth_token: 7 } }],
    ["phone_e164", "nonsense"],
  ] as const)("an invalid field is named in the refusal: %s: %j", async ([field, value], { say }) => {
    const otherwise = field.startsWith("user.") ? (value as Record<string, unknown>) : { [field]: value };
    const reply = await say(otherwise);
    expectRefusal(reply, 422, "VALIDATION_ERROR");
    expect(reply.body.error.details.fields.map((fault: { field: string }) => fault.field)).toContain(field);
  });

  it("all invalid fields are reported at once", async ({ service }) => {
    const reply = await service.say("/api/messages", {});
    expect(reply.body.error.details.fields.map(({ field }: { field: string }) => field).toSorted()).toEqual([
      "content",
      "instance_id",
    ]);
  });
});

describe("text as people and machines mangle it", () => {
  it.concurrent.for([
    ["loses a NUL and other control characters, but no word", "a\0b\u0007 c", "a b c"],
    ["has a lone surrogate replaced", "a\ud800b", "a\ufffdb"],
    ["loses what would turn its direction", "a\u202eb\u2066c", "abc"],
    ["keeps its emoji, line breaks and tabs", "  👨‍👩‍👧\r\nnew\tline  ", "👨‍👩‍👧\nnew\tline"],
    ["keeps its markup: it is text, not HTML", "<b>1 < 2 & '3'</b>", "<b>1 < 2 & '3'</b>"],
    ["keeps 10,000 characters, however many bytes", "😀".repeat(10_000), "😀".repeat(10_000)],
  ] as const)("text is cleaned in the answer and in storage: %s", async ([, said, meant], { say, service }) => {
    const reply = await say({ content: said });
    // What is answered has the same limit as what is said.
    expect(reply.body.data.text).toBe(Array.from(`You said: ${meant}`).slice(0, 10_000).join(""));
    const kept = () =>
      service.query("select content from messages where id = $1", [reply.body.data.inbound_message_id]);
    await vi.waitFor(async () => expect(await kept()).toEqual([{ content: meant }]), PATIENCE);
  });

  it("metadata with __proto__, NULs and secrets is kept without them", async ({ service }) => {
    const metadata =
      '{"__proto__":{"admin":true},"constructor":{"prototype":{"admin":true}},"a\\u0000b":"c\\u0000d\\ud800","password":"hunter2","kept":1}';
    const body = JSON.stringify(message()).replace(/}$/, `,"metadata":${metadata},"__proto__":{"admin":true}}`);
    const reply = await service.say("/api/messages", body);
    expect(reply.status).toBe(200);
    const kept = () =>
      service.query("select metadata_json from messages where id = $1", [reply.body.data.inbound_message_id]);
    const [row] = await vi.waitFor(async () => {
      const rows = await kept();
      expect(rows).toHaveLength(1);
      return rows;
    }, PATIENCE);
    expect(JSON.parse(row?.["metadata_json"] ?? "null")).toEqual({
      constructor: { prototype: { admin: true } },
      "a b": "c d\ufffd",
      kept: 1,
      channel: "api",
    });
  });
});

describe("too much", () => {
  const large = JSON.stringify(message({ metadata: { filler: "x".repeat(300_000) } }));

  it.for(PATHS)("a body of 300 KB to %s is refused", async (path, { service }) => {
    expectRefusal(await service.say(path, large), 413, "PAYLOAD_TOO_LARGE");
  });

  it("a large body without a declared length is refused", async ({ service }) => {
    const body = new ReadableStream({
      start(controller) {
        for (let at = 0; at < large.length; at += 65_536) {
          controller.enqueue(new TextEncoder().encode(large.slice(at, at + 65_536)));
        }
        controller.close();
      },
    });
    const headers = { "Content-Type": "application/json" };
    const init = { method: "POST", headers, body, duplex: "half" } as RequestInit;
    expectRefusal(await service.request("/api/messages", init), 413, "PAYLOAD_TOO_LARGE");
  });

  it("a trace id of 4 KB is replaced", async ({ service }) => {
    const reply = await service.say("/api/messages", message(), { "X-Trace-ID": "t".repeat(4_096) });
    expect(reply.status).toBe(200);
    expect(reply.headers.get("X-Trace-ID")).toMatch(/^[0-9a-f]{32}$/);
  });
});

describe("the wrong way in", () => {
  it.for([
    ["text/plain"],
    ["application/x-www-form-urlencoded"],
    ["multipart/form-data; boundary=x"],
    ["jsonish"],
    [""],
  ] as const)("a body of the type %j is refused", async ([type], { service }) => {
    const reply = await service.say("/api/messages", message(), { "Content-Type": type });
    expectRefusal(reply, 415, "UNSUPPORTED_MEDIA_TYPE");
  });

  it.for([["application/json; charset=utf-8"], ["APPLICATION/JSON"], ["application/vnd.acme+json"]] as const)(
    "a body of the type %j is read",
    async ([type], { service }) => {
      expect((await service.say("/api/messages", message(), { "Content-Type": type })).status).toBe(200);
    },
  );

  it.for([
    ["GET", "/api/messages", "POST"],
    ["PUT", "/web/messages", "POST"],
    ["DELETE", "/app/messages", "POST"],
    ["OPTIONS", "/api/messages", "POST"],
    ["POST", "/live", "GET"],
    ["PATCH", "/healthz", "GET"],
    ["GET", "/api/messages/", "POST"],
  ] as const)("the request %s %s is refused with the allowed method", async ([method, path, allowed], { service }) => {
    const reply = await service.request(path, { method });
    expectRefusal(reply, 405, "METHOD_NOT_ALLOWED");
    expect(reply.headers.get("Allow")).toBe(allowed);
  });

  it.for(["/", "/api", "/api/messages//", "/nowhere", "/api/%00", "/%E0%A4%A", "/API/MESSAGES", "/api//messages"])(
    "the path %s does not exist",
    async (path, { service }) => {
      expectRefusal(await service.request(path), 404, "ROUTE_NOT_FOUND");
      expectRefusal(await service.say(path, message()), 404, "ROUTE_NOT_FOUND");
    },
  );
});

it("no input causes a server error, and every answer is in the envelope with its trace id", async ({ service }) => {
  const anything = fc.oneof(fc.jsonValue(), fc.string({ unit: "binary" }), fc.constant(undefined));
  const body = fc.oneof(
    { weight: 1, arbitrary: fc.string({ unit: "binary" }) },
    { weight: 1, arbitrary: fc.json() },
    {
      weight: 4,
      arbitrary: fc
        .record(
          {
            instance_id: fc.oneof(fc.constantFrom(...Object.values(INSTANCE)), anything),
            request_id: fc.oneof(fc.uuid(), anything),
            content: fc.oneof(fc.string({ unit: "binary" }), anything),
            user: fc.oneof(
              fc.record(
                {
                  phone_e164: anything,
                  email: fc.oneof(fc.emailAddress(), anything),
                  device_id: anything,
                  auth_token: anything,
                },
                { requiredKeys: [] },
              ),
              anything,
            ),
            metadata: fc.oneof(fc.dictionary(fc.string({ unit: "binary" }), anything), anything),
            trace_id: anything,
          },
          { requiredKeys: [] },
        )
        .map((value) => JSON.stringify(value)),
    },
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...PATHS), body, async (path, text) => {
      const reply = await service.say(path, text);
      expect(reply.status).toBeLessThan(500);
      expect(reply.headers.get("X-Trace-ID")).toMatch(/^[A-Za-z0-9._:-]{1,128}$/);
      expect(reply.body.success).toBe(reply.status === 200);
      expect(reply.body.trace_id).toBe(reply.status === 200 ? undefined : reply.headers.get("X-Trace-ID"));
    }),
    { numRuns: 300 },
  );
});

it("the development mock states in each reply that it is for development only [I4.3]", async ({ say, service }) => {
  const reply = await say();
  const trace_id = reply.headers.get("X-Trace-ID");
  const warning = await vi.waitFor(() => {
    const line = service.log().find((line) => line.event === "mock_orchestrator" && line.trace_id === trace_id);
    if (line === undefined) throw new Error("Nothing was said");
    return line;
  }, PATIENCE);
  expect(warning).toMatchObject({ level: "warn", message: expect.stringContaining("DEPRECATED") });
});
