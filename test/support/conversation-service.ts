import { randomUUID } from "node:crypto";
import { expect, vi } from "vitest";
import { ACME, INSTANCE } from "./demo.ts";
import * as stand from "./orchestrator.ts";
import type { OrchestratorCall } from "./orchestrator.ts";
import type { Reply } from "./service.ts";
import { serviceTest } from "./fixtures.ts";
import { PATIENCE } from "./patience.ts";

const ORCHESTRATOR_TIMEOUT_MS = 1_500;

export const message = (otherwise: Record<string, unknown> = {}) => ({
  instance_id: INSTANCE.chat,
  request_id: randomUUID(),
  content: "Hello",
  user: { device_id: randomUUID() },
  ...otherwise,
});

export const conversationTest = () =>
  serviceTest()
    .extend("env", { scope: "file" }, ({ orchestrator }) => ({
      ORCHESTRATOR_URL: orchestrator.url,
      ORCHESTRATOR_TIMEOUT_MS: String(ORCHESTRATOR_TIMEOUT_MS),
    }))
    .extend(
      "say",
      { scope: "file" },
      ({ service }) =>
        (otherwise: Record<string, unknown> = {}, headers: Record<string, string> = {}) =>
          service.say("/api/messages", message(otherwise), headers),
    )
    .extend("callOf", { scope: "file" }, ({ orchestrator }) => (reply: Reply): OrchestratorCall => {
      const call = orchestrator.calls.find(({ adapter }) => adapter.trace_id === reply.headers.get("X-Trace-ID"));
      if (call === undefined) throw new Error("The orchestrator was not called");
      return call;
    })
    /** One row of a table by its session, once the ledger has written it. */
    .extend(
      "written",
      { scope: "file" },
      ({ service }) =>
        async (table: string, sessionId: string, count = 1): Promise<Record<string, string | null>[]> => {
          return vi.waitFor(async () => {
            const rows = await service.query(`select * from ${table} where session_id = $1 order by created_at`, [
              sessionId,
            ]);
            expect(rows).toHaveLength(count);
            return rows;
          }, PATIENCE);
        },
    )
    .extend(
      "rejected",
      { scope: "file" },
      ({ say }) =>
        () =>
          say({ user: undefined, instance_id: INSTANCE.guestless }),
    )
    /** An instance of Acme's whose one function is answered by this template. */
    .extend(
      "instanceAnsweringWith",
      { scope: "file" },
      ({ service }) =>
        async (templateKey: string): Promise<string> => {
          const [instance, set] = [randomUUID(), randomUUID()];
          await service.query(
            "insert into template_sets (id, brand_id, name, functions_json) values ($1, $2, 'x', $3)",
            [set, ACME, JSON.stringify({ response: templateKey })],
          );
          await service.query(
            "insert into instances (id, brand_id, name, channel, accept_guest_users) values ($1, $2, 'x', 'api', true)",
            [instance, ACME],
          );
          await service.query("insert into instance_configs (instance_id, template_set_id) values ($1, $2)", [
            instance,
            set,
          ]);
          return instance;
        },
    )
    .extend("replyTo", { scope: "file" }, ({ orchestrator, say }) => async (behaviour: stand.Behaviour) => {
      orchestrator.behave(behaviour);
      return say();
    });
