import type { Adapter } from "../../domain/adapter.ts";
import type { Config } from "../../config.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { EVENT } from "../../telemetry/events.ts";

/** Asks for the answer to one message: the adapter in, whatever JSON came back out. Throws when there is none. */
export type Orchestrator = (adapter: Adapter, call: { turnId: string; signal: AbortSignal }) => Promise<unknown>;

/** An answer that is larger is no answer. */
const MAX_RESPONSE_BYTES = 2 * 1024 * 1024;

type Endpoint = { send: typeof fetch; url: string; token: string | null };

/**
 * The port's adapters: an HTTP endpoint, a service binding, or in development a mock. null when there is none, which
 * outside development is for the caller to refuse.
 */
export function createOrchestrator(config: Config, binding: Fetcher | null, log: Logger): Orchestrator | null {
  const { orchestratorUrl: url, orchestratorToken: token, orchestratorTimeoutMs: timeoutMs } = config;
  if (url !== null) return overHttp({ send: (input, init) => fetch(input, init), url, token }, timeoutMs);
  if (binding !== null) {
    return overHttp(
      { send: (input, init) => binding.fetch(input, init), url: "https://orchestrator/", token },
      timeoutMs,
    );
  }
  return config.environment === "development" ? mock(log) : null;
}

const overHttp =
  ({ send, url, token }: Endpoint, timeoutMs: number): Orchestrator =>
  async (adapter, { turnId, signal }) => {
    // One controller, held by its timer: a signal made of others, or a Request made ahead, may be collected while the
    // answer is waited for, and the deadline with it (Node). And no AbortSignal.timeout, which would keep the
    // conversation's object awake, and paid for, long after the answer.
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(new Error(`No answer within ${timeoutMs} ms`)), timeoutMs);
    const stop = () => deadline.abort(signal.reason);
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    try {
      const response = await send(url, {
        method: "POST",
        headers: {
          "Content-Type": "application/json",
          Accept: "application/json",
          // What is called over a network is called at least once: a run that repeats a turn says so.
          "Idempotency-Key": turnId,
          "X-Trace-ID": adapter.trace_id,
          ...(token === null ? {} : { Authorization: `Bearer ${token}` }),
        },
        body: JSON.stringify(adapter),
        redirect: "manual",
        signal: deadline.signal,
      });
      if (!response.ok) {
        await response.body?.cancel();
        throw new Error(`The orchestrator answered ${response.status}`);
      }
      return JSON.parse(await readText(response)) as unknown;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    }
  };

async function readText(response: Response): Promise<string> {
  const tooLarge = () => new Error(`The orchestrator's answer is larger than ${MAX_RESPONSE_BYTES} bytes`);
  const decoder = new TextDecoder();
  if (isToldToFit(response.headers)) {
    const bytes = await response.arrayBuffer();
    // Behind a binding the length is whatever was said.
    if (bytes.byteLength > MAX_RESPONSE_BYTES) throw tooLarge();
    return decoder.decode(bytes);
  }
  let text = "";
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > MAX_RESPONSE_BYTES) throw tooLarge();
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/**
 * Whether it may be read at once, which is cheaper: over a network no more comes than was told. A compressed answer tells
 * its length as it travels, not as it is once the platform has unpacked it.
 */
function isToldToFit(headers: Headers): boolean {
  const told = headers.get("Content-Length");
  return told !== null && Number(told) <= MAX_RESPONSE_BYTES && !headers.has("Content-Encoding");
}

/** Development only: answers by itself, and says each time that it does. */
const mock =
  (log: Logger): Orchestrator =>
  async (adapter) => {
    log.warn(EVENT.mockOrchestrator, {
      message:
        "DEPRECATED: this answer comes from the mock orchestrator. Set ORCHESTRATOR_URL; outside development this is a 502.",
      trace_id: adapter.trace_id,
    });
    const text = `You said: ${adapter.message.content}`;
    const prompt_tokens = Math.ceil(adapter.message.content.length / 4);
    return { text, token_usage: { prompt_tokens, completion_tokens: Math.ceil(text.length / 4) } };
  };
