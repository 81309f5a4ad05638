import { ERROR_STATUS } from "../../src/domain/errors.ts";
import type { Journal } from "./journal.ts";
import type { World } from "./world.ts";

export type Reply = { status: number; body: any };

export type Call = {
  method?: string;
  path: string;
  body?: unknown;
  headers?: Record<string, string>;
};

/** Longer than any deadline of the service: a caller behind other turns waits 60 s. */
const DEADLINE_MS = 75_000;
/** Limit of all attempts for one request. */
const PATIENCE_MS = 120_000;

/** Texts that would reveal internals or secrets. */
const SECRETS =
  /\b(select|insert|update|delete)\b.+\b(from|into|set)\b|\bat .+:\d+:\d+|neon|postgres|127\.0\.0\.1|parley_dev|EAAtoken|development-secret|dev-app-secret|eyJ/is;

/** Sends a request and records its outcome. null without a response. */
export async function call(
  world: World,
  journal: Journal,
  { method = "POST", path, body, headers }: Call,
): Promise<Reply | null> {
  const faults = [...journal.faults];
  const startedAt = performance.now();
  try {
    const response = await fetch(`${world.url}${path}`, {
      method,
      headers: { "Content-Type": "application/json", ...headers },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    const text = await response.text();
    const ms = performance.now() - startedAt;
    const reply = { status: response.status, body: asJson(text) };
    journal.attempts.push({ faults, status: reply.status, code: reply.body?.error?.code ?? null, ms });
    journal.look("I9");
    if (!response.ok) inspect(journal, `${method} ${path}`, reply, text, response.headers);
    return reply;
  } catch (error) {
    const ms = performance.now() - startedAt;
    journal.attempts.push({ faults, status: null, code: null, ms });
    journal.look("I9");
    if (ms >= DEADLINE_MS)
      journal.breach("I9", `${method} ${path} had no end within ${DEADLINE_MS} ms: ${String(error)}`);
    return null;
  }
}

/** Checks an error: envelope, code of the table with its status, trace id, no secret. */
function inspect(journal: Journal, what: string, { status, body }: Reply, text: string, headers: Headers): void {
  journal.look("I7");
  const statuses: readonly number[] = ERROR_STATUS[body?.error?.code as keyof typeof ERROR_STATUS] ?? [];
  const isEnveloped =
    body?.success === false &&
    typeof body.error?.message === "string" &&
    typeof body.error.details === "object" &&
    statuses.includes(status) &&
    typeof body.trace_id === "string" &&
    body.trace_id === headers.get("X-Trace-ID");
  // The first answer inside a duplicate's error belongs to the caller.
  const told = JSON.stringify({
    ...body,
    error: { ...body?.error, details: { ...body?.error?.details, cached_response: null } },
  });
  if (!isEnveloped) journal.breach("I7", `${what} answered ${status} ${text.slice(0, 200)}`);
  else if (SECRETS.test(told)) journal.breach("I7", `${what} told ${told.slice(0, 300)}`);
}

/** The pause that a refusal asks for before the same request is repeated. */
const mayPass = (reply: Reply | null): boolean =>
  reply === null ||
  reply.status >= 500 ||
  // Still queued behind other turns.
  reply.status === 202 ||
  reply.status === 429 ||
  reply.body?.error?.details?.state === "in_progress";

/**
 * Repeats a request with the same id until its outcome is known. null when it stays unknown: a valid request was refused
 * or never answered, which are breaches.
 */
export async function untilKnown<T>(
  journal: Journal,
  ask: () => Promise<Reply | null>,
  read: (reply: Reply) => T | undefined,
): Promise<T | null> {
  const deadline = Date.now() + PATIENCE_MS;
  for (let attempt = 0; ; attempt += 1) {
    const reply = await ask();
    const known = reply === null ? undefined : read(reply);
    if (known !== undefined) return known;
    if (!mayPass(reply)) {
      journal.breach("I7", `a good request was refused: ${reply?.status} ${JSON.stringify(reply?.body?.error)}`);
      return null;
    }
    if (Date.now() > deadline) {
      journal.breach("I9", `not known after ${PATIENCE_MS} ms: ${reply?.status} ${JSON.stringify(reply?.body?.error)}`);
      return null;
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(100 * 2 ** attempt, 1_000)));
  }
}

function asJson(text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
