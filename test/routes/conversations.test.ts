import { SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ACME_KEY, INSTANCE } from "../support/demo.ts";
import { startGateway } from "../support/gateway.ts";
import type { Gateway } from "../support/gateway.ts";

let gateway: Gateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway.close());

it("works", async () => {
  const said = await gateway.send("POST", "/api/messages", { instance_id: INSTANCE.chat, request_id: "a1", content: "Hello", user: { email: "ann@example.com" } });
  console.log(JSON.stringify(said.body));
  const r = await gateway.get(`/api/v1/conversations/${said.body.data.session_id}/messages`, ACME_KEY);
  console.log(JSON.stringify(r.body, null, 1));
  await gateway.flush();
  const r2 = await gateway.get(`/api/v1/conversations/${said.body.data.session_id}/messages`, ACME_KEY);
  console.log(JSON.stringify(r2.body) === JSON.stringify(r.body), r2.status, gateway.addresses());
  console.log(JSON.stringify(await gateway.get(`/api/v1/conversations/${said.body.data.session_id}`, ACME_KEY), null, 1));
  console.log(JSON.stringify(await gateway.get(`/api/v1/conversations/${said.body.data.session_id}/usage`, ACME_KEY), null, 1));
  console.log(JSON.stringify(await gateway.get(`/api/v1/conversations`, ACME_KEY), null, 1));
});
