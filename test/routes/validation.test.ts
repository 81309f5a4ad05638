import { afterAll, beforeAll, expect, it } from "vitest";
import { startGateway } from "../support/gateway.ts";
import type { Gateway } from "../support/gateway.ts";
import { INSTANCE } from "../support/demo.ts";

let gateway: Gateway;
beforeAll(async () => {
  gateway = await startGateway();
}, 60_000);
afterAll(() => gateway.close());

it.each(["/api/messages", "/web/messages", "/app/messages"])(
  "%s takes no words that are too long [G4.5.2]",
  async (path) => {
    const content = "ü".repeat(10_001);
    const { status, body } = await gateway.send("POST", path, { instance_id: INSTANCE.chat, request_id: "r", content });
    expect([status, body.error.code, body.error.details.fields]).toEqual([
      422,
      "VALIDATION_ERROR",
      [{ field: "content", message: expect.stringContaining("10000") }],
    ]);
    expect(gateway.addresses()).toEqual([]);
  },
);
