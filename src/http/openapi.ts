import type { RouteConfig } from "@hono/zod-openapi";
import { z } from "zod";
import { ERROR_CODES, ERROR_STATUS } from "../domain/errors.ts";
import type { ErrorCode, ErrorStatus } from "../domain/errors.ts";

/** JSON content of a schema; the example is checked against the schema by the linter and by a test. */
export const json = <Schema extends z.ZodType>(schema: Schema, example?: z.input<Schema>) => ({
  content: { "application/json": example === undefined ? { schema } : { schema, example: example as unknown } },
});

/** A required JSON body. */
export const body = <Schema extends z.ZodType>(schema: Schema, example?: z.input<Schema>) => ({
  ...json(schema, example),
  required: true,
});

/** The success envelope around a route's data. */
export const success = <Data extends z.ZodType>(description: string, data: Data) => ({
  description,
  ...json(z.object({ success: z.literal(true), data, message: z.string() })),
});

/** How callers authenticate. In development the message channels accept a missing key (`AUTH_MODE`). */
export const SECURITY_SCHEMES = {
  userToken: { type: "http", scheme: "bearer", bearerFormat: "JWT", description: "A user's token" },
  apiKey: { type: "http", scheme: "bearer", description: "A brand's API key" },
  metaSignature: {
    type: "apiKey",
    in: "header",
    name: "X-Hub-Signature-256",
    description: "Meta's HMAC-SHA256 of the raw body, with the app's secret",
  },
} as const;

type Security = { [scheme in keyof typeof SECURITY_SCHEMES]?: string[] }[];
/** Brands' servers only. */
export const WITH_KEY: Security = [{ apiKey: [] }];
/** Users and brands' servers. */
export const WITH_CREDENTIAL: Security = [{ userToken: [] }, { apiKey: [] }];
/** Guests too. */
export const WITH_OR_WITHOUT_CREDENTIAL: Security = [...WITH_CREDENTIAL, {}];
export const WITH_SIGNATURE: Security = [{ metaSignature: [] }];
/** No credential: monitoring, the document itself, Meta's handshake. */
export const PUBLIC: Security = [{}];

const ErrorEnvelope = z
  .object({
    success: z.literal(false),
    error: z.object({
      code: z.enum(ERROR_CODES as [ErrorCode, ...ErrorCode[]]),
      message: z.string(),
      details: z.record(z.string(), z.unknown()),
    }),
    trace_id: z.string(),
  })
  .meta({ id: "Error" });

/** The error codes an operation documents for a status. */
export const documentedCodes = (response: unknown): ErrorCode[] =>
  Object.keys((response as Partial<Refusal>).content?.["application/json"]?.examples ?? {}) as ErrorCode[];

/** An example per error code that an operation documents; operations refer to it by the code. */
export function errorExamples(contracts: readonly Pick<RouteConfig, "responses">[]) {
  const codes = new Set(contracts.flatMap(({ responses }) => Object.values(responses).flatMap(documentedCodes)));
  const exampleOf = (code: ErrorCode) => {
    const error = { code, message: "A sentence for developers", details: {} };
    return { summary: code, value: { success: false, error, trace_id: "4bf92f3577b34da6a3ce929d0e0e4736" } };
  };
  return Object.fromEntries([...codes].map((code) => [code, exampleOf(code)]));
}

type Refusal = {
  description: string;
  content: {
    "application/json": { schema: typeof ErrorEnvelope; examples: Record<string, { $ref: string }> };
  };
};

type StatusOf<Code extends ErrorCode> = (typeof ERROR_STATUS)[Code][number];

/** The OpenAPI `responses` of these error codes: one per status of the error table, with an example per code. */
export function refusals<Code extends ErrorCode>(...codes: readonly Code[]): Record<StatusOf<Code>, Refusal> {
  const byStatus = new Map<ErrorStatus, ErrorCode[]>();
  for (const code of codes) {
    for (const status of ERROR_STATUS[code]) byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  const responses = [...byStatus].map(([status, names]): [ErrorStatus, Refusal] => {
    const examples = Object.fromEntries(names.map((name) => [name, { $ref: `#/components/examples/${name}` }]));
    const description = names.map((name) => `\`${name}\``).join(", ");
    return [status, { description, content: { "application/json": { schema: ErrorEnvelope, examples } } }];
  });
  return Object.fromEntries(responses) as Record<StatusOf<Code>, Refusal>;
}

/** Errors of every operation with a JSON body. */
export const BODY_REFUSALS = [
  "VALIDATION_ERROR",
  "MALFORMED_JSON",
  "PAYLOAD_TOO_LARGE",
  "UNSUPPORTED_MEDIA_TYPE",
] as const;

/** Errors of every operation that needs its configuration, Postgres or an object. */
export const SERVICE_REFUSALS = [
  "DATABASE_ERROR",
  "DATABASE_CONSTRAINT_ERROR",
  "DUPLICATE_KEY",
  "INTERNAL_ERROR",
  "RATE_LIMITED",
  "SERVICE_UNAVAILABLE",
] as const;

/** Response headers, referred to by name. */
export const HEADERS = {
  "X-Trace-ID": { description: "Identifies the request in the service's log", schema: { type: "string" } },
  "X-Request-ID": { description: "The request id, when the request had one", schema: { type: "string" } },
  "Retry-After": { description: "Seconds until the caller may retry", schema: { type: "integer", minimum: 1 } },
  "Idempotency-Replayed": {
    description: "`true` when the original answer to this `Idempotency-Key` is returned again",
    schema: { type: "string", enum: ["true"] },
  },
} as const;

const headerRefs = (...names: (keyof typeof HEADERS)[]) =>
  Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));

/** Statuses that tell when to retry. */
const WITH_RETRY_AFTER = ["409", "429", "503"];

/** Optional request headers of every operation. */
const TraceHeaders = z.object({
  "X-Trace-ID": z.string().optional().meta({ description: "1 to 128 of A-Z a-z 0-9 . _ : -; replaced otherwise" }),
  traceparent: z.string().optional().meta({ description: "W3C Trace Context; its trace id counts after X-Trace-ID" }),
});

/** Request headers of the operations that are idempotent by a request id. */
export const IdempotencyHeaders = z.object({
  "Idempotency-Key": z.string().optional().meta({
    description:
      "The request id, when the body has no `request_id`; a quoted string too. A completed duplicate is answered with the original response.",
    example: "order-42-attempt",
  }),
  "X-Request-ID": z
    .string()
    .optional()
    .meta({ description: "The request id, when the request has neither `request_id` nor `Idempotency-Key`" }),
});

/** The contract as it is documented: with the headers that every request and every response may carry. */
export function documented(contract: RouteConfig): RouteConfig {
  const { headers } = contract.request ?? {};
  const isIdempotent = headers === IdempotencyHeaders;
  const responses = Object.fromEntries(
    Object.entries(contract.responses).map(([status, response]) => {
      const names: (keyof typeof HEADERS)[] = ["X-Trace-ID", "X-Request-ID"];
      if (WITH_RETRY_AFTER.includes(status)) names.push("Retry-After");
      if (isIdempotent && status.startsWith("2")) names.push("Idempotency-Replayed");
      return [status, { ...response, headers: headerRefs(...names) }];
    }),
  );
  const requestHeaders = [TraceHeaders, ...(headers === undefined ? [] : [headers].flat())];
  return { ...contract, request: { ...contract.request, headers: requestHeaders }, responses };
}
