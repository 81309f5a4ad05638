import { DurableObject } from "cloudflare:workers";
import { Hono } from "hono";

// The floor: the cost of the runtime without the product's code.

type Env = { FLOORS: DurableObjectNamespace<Floor>; ORCHESTRATOR_URL: string; NEON_ENDPOINT: string };

export class Floor extends DurableObject<Env> {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS kept (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL)");
  }

  /** One write. */
  write(body: string): number {
    return this.ctx.storage.sql.exec("INSERT INTO kept (body) VALUES (?)", body).rowsWritten;
  }

  /** A bare turn: a write, the orchestrator, a write. */
  async turn(body: string): Promise<string> {
    this.write(body);
    const response = await fetch(this.env.ORCHESTRATOR_URL, { method: "POST", body });
    const reply = await response.text();
    this.write(reply);
    return reply;
  }
}

type Body = { conversation: string; content: string };

const app = new Hono<{ Bindings: Env }>();
app.get("/live", (c) => c.json({ success: true }));
app.post("/route", async (c) => c.json({ success: true, data: await c.req.json<Body>() }));
app.post("/query", async (c) => {
  await c.req.json<Body>();
  const headers = { "Neon-Connection-String": "postgresql://floor:floor@localhost/floor" };
  const body = JSON.stringify({ query: "select 1 as one", params: [] });
  const response = await fetch(c.env.NEON_ENDPOINT, { method: "POST", headers, body });
  return c.json({ success: true, data: await response.json() });
});
app.post("/object", async (c) => {
  const { conversation, content } = await c.req.json<Body>();
  return c.json({ success: true, data: await c.env.FLOORS.getByName(conversation).write(content) });
});
app.post("/turn", async (c) => {
  const { conversation, content } = await c.req.json<Body>();
  const adapter = JSON.stringify({ message: { content } });
  return c.json({ success: true, data: JSON.parse(await c.env.FLOORS.getByName(conversation).turn(adapter)) });
});

// eslint-disable-next-line import/no-default-export -- the platform's entry
export default app;
