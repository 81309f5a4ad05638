import { readBounded } from "../../domain/bounded-body.ts";
import { withDeadline } from "../../domain/deadline.ts";
import { parseJson } from "../../domain/json.ts";
import { replyText } from "../../domain/reply-text.ts";
import type { Orchestrator } from "./port.ts";

const MAX_RESPONSE_BYTES = 2 * 1024 * 1024;
const DECODER = new TextDecoder();

type Options = {
  fetch: (url: string, init: RequestInit) => Promise<Response>;
  url: string;
  /** null for an endpoint without authentication. */
  token: string | null;
  /** From the request to the last byte of the answer. */
  timeoutMs: number;
};

/** POSTs the adapter as JSON and reads a JSON answer. Redirects are not followed. */
export const httpOrchestrator = ({ fetch, url, token, timeoutMs }: Options): Orchestrator =>
  async function* (adapter, { turnId, signal }) {
    const init = {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        Accept: "application/json",
        // A turn that is run again sends the same key.
        "Idempotency-Key": turnId,
        "X-Trace-ID": adapter.trace_id,
        ...(token === null ? {} : { Authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(adapter),
      redirect: "manual",
    } as const;
    const response = await withDeadline(
      timeoutMs,
      async (deadline) => readJson(await fetch(url, { ...init, signal: deadline })),
      signal,
    );
    yield { text: replyText(response) };
    return { response };
  };

async function readJson(response: Response): Promise<unknown> {
  if (!response.ok) {
    await response.body?.cancel();
    throw new Error(`The orchestrator answered ${response.status}`);
  }
  const text = DECODER.decode(await readBounded(response, MAX_RESPONSE_BYTES));
  // A number that a double can't hold stays as its digits.
  return parseJson(text, (source) => source);
}
