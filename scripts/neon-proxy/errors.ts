/** Error fields of Neon's response, in its order and spelling. */
export const FAILURE_FIELDS = [
  "code",
  "detail",
  "hint",
  "position",
  "internalPosition",
  "internalQuery",
  "severity",
  "where",
  "table",
  "column",
  "schema",
  "dataType",
  "constraint",
  "file",
  "line",
  "routine",
] as const;

type FailureField = (typeof FAILURE_FIELDS)[number];
export type FailureDetails = Partial<Record<FailureField, string>>;

/**
 * A failed request with the HTTP status that Neon's proxy returns: 400 for a Postgres error and for a connection lost
 * in between (the outcome is then unknown), 413 and 507 for sizes, 500 when Postgres could not be reached.
 */
export class DatabaseFailure extends Error {
  readonly status: number;
  readonly details: FailureDetails;

  constructor(message: string, details: FailureDetails = {}, status = 400) {
    super(message);
    this.name = "DatabaseFailure";
    this.details = details;
    this.status = status;
  }

  get code(): string | undefined {
    return this.details.code;
  }

  toJSON(): Record<string, string | null> {
    const body: Record<string, string | null> = { message: this.message };
    for (const field of FAILURE_FIELDS) body[field] = this.details[field] ?? null;
    return body;
  }
}

/** Converts an error of either protocol library; both use Neon's field names. */
export function toDatabaseFailure(error: unknown): DatabaseFailure {
  if (error instanceof DatabaseFailure) return error;
  const details: FailureDetails = {};
  for (const field of FAILURE_FIELDS) {
    const value: unknown = typeof error === "object" && error !== null ? Reflect.get(error, field) : undefined;
    if (typeof value === "string" || typeof value === "number") details[field] = String(value);
  }
  return new DatabaseFailure(error instanceof Error ? error.message : String(error), details);
}

export const clientDisconnected = () =>
  new DatabaseFailure("Query cancelled, connection was terminated", { code: "08P01" });

export const shuttingDown = () =>
  new DatabaseFailure("the database endpoint is shutting down", { code: "57P01", severity: "FATAL" });
