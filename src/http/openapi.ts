import type { ContentfulStatusCode } from "hono/utils/http-status";
import { z } from "zod";
import { ERROR_CODES, ERROR_STATUS } from "../domain/errors.ts";
import type { ErrorCode } from "../domain/errors.ts";

export const json = <Schema extends z.ZodType>(schema: Schema) => ({ content: { "application/json": { schema } } });

/** The success envelope around a route's data. */
export const success = <Schema extends z.ZodType>(description: string, data: Schema) => ({
  description,
  ...json(z.object({ success: z.literal(true), data, message: z.string() })),
});

/** How a caller says who they are. In development a key may be left out where messages come in (`AUTH_MODE`). */
export const SECURITY_SCHEMES = {
  userToken: { type: "http", scheme: "bearer", bearerFormat: "JWT", description: "A person's token" },
  apiKey: { type: "http", scheme: "bearer", description: "A brand's API key" },
  metaSignature: {
    type: "apiKey",
    in: "header",
    name: "X-Hub-Signature-256",
    description: "Meta's HMAC-SHA256 of the raw body, with the app's secret",
  },
} as const;

type Security = { [scheme in keyof typeof SECURITY_SCHEMES]?: string[] }[];
/** A brand's server. */
export const WITH_KEY: Security = [{ apiKey: [] }];
/** Whoever can be told apart: a person, or a brand's server. */
export const WITH_CREDENTIAL: Security = [{ userToken: [] }, { apiKey: [] }];
/** Also a guest. */
export const WITH_OR_WITHOUT_CREDENTIAL: Security = [...WITH_CREDENTIAL, {}];
export const WITH_SIGNATURE: Security = [{ metaSignature: [] }];

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

/** The OpenAPI `responses` of the refusals a route can give, read off the error table; codes of one status share a row. */
export function refusals(...codes: ErrorCode[]): Record<string, { description: string }> {
  const byStatus = new Map<ContentfulStatusCode, ErrorCode[]>();
  for (const code of codes) {
    for (const status of ERROR_STATUS[code]) byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, names]) => [
      status,
      { description: names.map((name) => `\`${name}\``).join(", "), ...json(ErrorEnvelope) },
    ]),
  );
}

/** What any route with a JSON body can refuse. */
export const BODY_REFUSALS = [
  "VALIDATION_ERROR",
  "MALFORMED_JSON",
  "PAYLOAD_TOO_LARGE",
  "UNSUPPORTED_MEDIA_TYPE",
] as const;
