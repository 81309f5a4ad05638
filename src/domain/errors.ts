/**
 * The error table: a closed list of codes for clients to branch on, each with its HTTP status. `VALIDATION_ERROR` and
 * `INVALID_REQUEST_ID` have two: 422 for the body's shape, 400 for errors found below the route.
 */
export const ERROR_STATUS = {
  VALIDATION_ERROR: [400, 422],
  MISSING_REQUEST_ID: [400],
  INVALID_REQUEST_ID: [400, 422],
  UNAUTHORIZED: [401],
  FORBIDDEN: [403],
  RESOURCE_NOT_FOUND: [404],
  DUPLICATE_REQUEST: [409],
  CONFLICT: [409],
  PRECONDITION_FAILED: [412],
  MALFORMED_JSON: [400],
  PAYLOAD_TOO_LARGE: [413],
  UNSUPPORTED_MEDIA_TYPE: [415],
  ROUTE_NOT_FOUND: [404],
  METHOD_NOT_ALLOWED: [405],
  RATE_LIMITED: [429],
  BUDGET_EXCEEDED: [429],
  DATABASE_ERROR: [500],
  DATABASE_CONSTRAINT_ERROR: [500],
  DUPLICATE_KEY: [500],
  TIMEOUT_ERROR: [500],
  DATABASE_CONNECTION_ERROR: [500],
  ORCHESTRATION_ERROR: [502],
  SERVICE_UNAVAILABLE: [503],
  INTERNAL_ERROR: [500],
} as const satisfies Record<string, readonly [number, ...number[]]>;

export type ErrorCode = keyof typeof ERROR_STATUS;
export const ERROR_CODES = Object.keys(ERROR_STATUS) as ErrorCode[];

export type ErrorDetails = Record<string, unknown>;
export type ErrorStatus = (typeof ERROR_STATUS)[ErrorCode][number];

type Options<C extends ErrorCode> = {
  details?: ErrorDetails;
  /** For codes with two statuses; defaults to the table's first. */
  status?: (typeof ERROR_STATUS)[C][number];
  /** The caught error. Logged, never sent. */
  cause?: unknown;
};

/** A refusal, reported to the caller. Any other exception is a bug and becomes one masked 500. */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: ErrorCode;
  readonly status: ErrorStatus;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, options: Options<ErrorCode> = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status ?? ERROR_STATUS[code][0];
    this.details = options.details ?? {};
  }
}

/** 400 from below the route: a service received an invalid value. */
export const invalid = (field: string, message: string): AppError =>
  new AppError("VALIDATION_ERROR", message, { details: { fields: [{ field, message }] } });

/** 503 with a retry time: a required dependency is unavailable. */
export const unavailable = (message: string, cause: unknown): AppError =>
  new AppError("SERVICE_UNAVAILABLE", message, { details: { retry_after_ms: 5_000 }, cause });

/** 429 with a retry time. `scope` names the limit. */
export const rateLimited = (scope: string, retryAfterMs: number): AppError =>
  new AppError("RATE_LIMITED", "Too many requests", { details: { scope, retry_after_ms: retryAfterMs } });

export const notFound = (resourceType: string, resourceId: string | null): AppError =>
  new AppError("RESOURCE_NOT_FOUND", `No such ${resourceType}`, {
    details: { resource_type: resourceType, resource_id: resourceId },
  });

/** A refusal of the error table, as a value. */
export type Refused = { kind: "refused"; code: ErrorCode; message: string; details: ErrorDetails };

/** Whether the error says that the database can't be reached or does not answer in time. */
export const isDatabaseUnavailable = (error: unknown): boolean =>
  error instanceof AppError && (error.code === "DATABASE_CONNECTION_ERROR" || error.code === "TIMEOUT_ERROR");

/** A conversation's refusal as an error to throw. */
export const toAppError = ({ code, message, details }: Refused): AppError => new AppError(code, message, { details });

/** Runs a check and returns its refusal as a value for RPC; null when the check passes. */
export function toRefused(check: () => void): Refused | null {
  try {
    check();
    return null;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { kind: "refused", code: error.code, message: error.message, details: error.details };
  }
}

/** The refusal for an unknown or erased session. */
export function sessionNotFound(sessionId: string): Refused {
  const { code, message, details } = notFound("conversation", sessionId);
  return { kind: "refused", code, message, details };
}
