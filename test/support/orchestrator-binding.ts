/** Behaviour of the orchestrator behind the service binding, set in the message's metadata. */
export type Stage = { delay_ms?: number; status?: number; text?: string };

let calls: { message_id: string; turn: string }[] = [];

/**
 * An orchestrator behind a service binding, for tests inside the runtime. It runs in Node, reads its behaviour from the
 * message, and returns its calls at `GET /`.
 */
export async function orchestratorBinding(request: Request): Promise<Response> {
  if (request.method === "GET") return Response.json(calls);
  if (request.method === "DELETE") {
    calls = [];
    return new Response();
  }
  const adapter = (await request.json()) as {
    message: { message_id: string; content: string; metadata: { stage?: Stage } };
  };
  calls.push({ message_id: adapter.message.message_id, turn: request.headers.get("Idempotency-Key") ?? "" });
  const {
    delay_ms = 0,
    status = 200,
    text = `echo: ${adapter.message.content}`,
  } = adapter.message.metadata.stage ?? {};
  await new Promise((resolve) => setTimeout(resolve, delay_ms));
  return Response.json({ text, token_usage: { prompt_tokens: 3, completion_tokens: 4 } }, { status });
}
