import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { createApp } from "../../src/app.ts";
import type { ErrorCode } from "../../src/domain/errors.ts";
import { documentedCodes } from "../../src/http/openapi.ts";

type App = ReturnType<typeof createApp>;
type Contract = { method: string; path: string; responses: Record<string, DocumentedResponse> };
type DocumentedResponse = { content?: Record<string, { schema?: unknown }> };
type Answered = { status: number; headers: Headers; text: string };

/** Errors outside of any operation. */
const WITHOUT_ROUTE: ErrorCode[] = ["ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED", "SERVICE_UNAVAILABLE", "INTERNAL_ERROR"];
const ErrorBody = z.strictObject({
  success: z.literal(false),
  error: z.strictObject({ code: z.string(), message: z.string().min(1), details: z.record(z.string(), z.unknown()) }),
  trace_id: z.string().min(1),
});

/** The app, each response of which is checked against the contract of its route: the request fails when it differs. */
export function createTestApp(...dependencies: Parameters<typeof createApp>): App {
  const app = createApp(...dependencies);
  const { request } = app;
  app.request = async (input, init, ...rest) => {
    const response = await request(input, init, ...rest);
    const { url, method } = input instanceof Request ? input : { url: String(input), method: init?.method ?? "GET" };
    // A preflight belongs to no operation.
    if (method === "OPTIONS") return response;
    const { status, headers } = response;
    checkContract(app, method, url, { status, headers, text: await response.clone().text() });
    return response;
  };
  return app;
}

/** Throws when a response is not what the contract of its route states: its status, its body, its error code, its headers. */
export function checkContract(app: App, method: string, url: string, answered: Answered): void {
  const fault = faultOf(contractOf(app, method, new URL(url, "http://localhost").pathname), answered);
  if (fault !== null) {
    throw new Error(`${method} ${url} answered ${answered.status}, against its contract: ${fault}\n${answered.text}`);
  }
}

function contractOf(app: App, method: string, path: string): Contract | null {
  const contracts = app.openAPIRegistry.definitions.flatMap((each) =>
    each.type === "route" ? [each.route as unknown as Contract] : [],
  );
  const fits = (contract: Contract) =>
    contract.method === method.toLowerCase() &&
    new RegExp(`^${contract.path.replaceAll(/\{\w+\}/g, "[^/]+").replaceAll(".", "\\.")}/?$`).test(path);
  return contracts.toSorted((a, b) => a.path.split("{").length - b.path.split("{").length).find(fits) ?? null;
}

function faultOf(contract: Contract | null, { status, headers, text }: Answered): string | null {
  if (headers.get("X-Trace-ID") === null) return "no X-Trace-ID";
  if (headers.get("X-Content-Type-Options") !== "nosniff") return "no X-Content-Type-Options";
  const response = contract?.responses[status];
  if (contract !== null && response === undefined) return "the status is not documented";
  const [mediaType = "", content] = Object.entries(response?.content ?? { "application/json": {} })[0] ?? [];
  const sent = headers.get("Content-Type") ?? "";
  if (!sent.toLowerCase().startsWith(`${mediaType}; charset=utf-8`)) return `the media type ${sent} is not documented`;
  if (mediaType !== "application/json") return null;
  const body: unknown = JSON.parse(text);
  const isError = typeof body === "object" && body !== null && "error" in body;
  if (isError || response === undefined) return faultOfError(body, headers, response);
  return faultOfShape(content?.schema as z.ZodType, body);
}

function faultOfError(body: unknown, headers: Headers, response: DocumentedResponse | undefined): string | null {
  const parsed = ErrorBody.safeParse(body);
  if (!parsed.success) return z.prettifyError(parsed.error);
  const { error, trace_id } = parsed.data;
  const codes: string[] = response === undefined ? WITHOUT_ROUTE : documentedCodes(response);
  if (!codes.includes(error.code)) return `the code ${error.code} is not documented`;
  if (trace_id !== headers.get("X-Trace-ID")) return "the trace id is not the header's";
  const mayRetry = error.code === "SERVICE_UNAVAILABLE" || error.code === "RATE_LIMITED";
  return mayRetry && headers.get("Retry-After") === null ? "no Retry-After" : null;
}

/** Fields that the schema does not know are dropped by parsing, and so found. */
function faultOfShape(schema: z.ZodType, body: unknown): string | null {
  const parsed = schema.safeParse(body);
  if (!parsed.success) return z.prettifyError(parsed.error);
  return isDeepStrictEqual(parsed.data, body) ? null : "the body holds fields that are not documented";
}
