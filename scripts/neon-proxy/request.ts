import type { IncomingHttpHeaders } from "node:http";
import type { IsolationLevel, Statement, TransactionMode, Work } from "./backend.ts";
import { DatabaseFailure } from "./errors.ts";
import type { RowShape } from "./response.ts";

export type SqlRequest = {
  work: Work;
  batch: boolean;
  statements: Statement[];
  /** One per statement: `arrayMode` in the body wins over the header. */
  shapes: RowShape[];
};

const LEVELS: string[] = ["ReadUncommitted", "ReadCommitted", "RepeatableRead", "Serializable"];
const isLevel = (value: string): value is IsolationLevel => LEVELS.includes(value);

/** Reads a `/sql` request as Neon's proxy does; a header counts as set only when it is exactly `true`. */
export function parseRequest(body: string, headers: IncomingHttpHeaders): SqlRequest {
  const payload = parseJson(body);
  const rawText = headers["neon-raw-text-output"] === "true";
  const arrayMode = headers["neon-array-mode"] === "true";
  const transaction = transactionMode(headers);
  const entry = (value: unknown) => {
    const statement = parseStatement(value);
    const own = (value as { arrayMode?: unknown }).arrayMode;
    return { statement, shape: { rawText, arrayMode: typeof own === "boolean" ? own : arrayMode } };
  };

  if (isRecord(payload) && typeof payload["query"] === "string") {
    const { statement, shape } = entry(payload);
    return { work: { statement }, batch: false, statements: [statement], shapes: [shape] };
  }
  if (isRecord(payload) && Array.isArray(payload["queries"])) {
    const entries = payload["queries"].map(entry);
    const statements = entries.map(({ statement }) => statement);
    return { work: { statements, transaction }, batch: true, statements, shapes: entries.map(({ shape }) => shape) };
  }
  throw new DatabaseFailure("could not parse the HTTP request body: neither `query` nor `queries`");
}

function transactionMode(headers: IncomingHttpHeaders): TransactionMode {
  const level = headers["neon-batch-isolation-level"];
  if (level !== undefined && (typeof level !== "string" || !isLevel(level))) {
    throw new DatabaseFailure("invalid isolation level");
  }
  return {
    ...(level === undefined ? {} : { isolationLevel: level }),
    readOnly: headers["neon-batch-read-only"] === "true",
    deferrable: headers["neon-batch-deferrable"] === "true",
  };
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (error) {
    throw new DatabaseFailure(
      `could not parse the HTTP request body: ${error instanceof Error ? error.message : "not JSON"}`,
    );
  }
}

function parseStatement(value: unknown): Statement {
  if (!isRecord(value) || typeof value["query"] !== "string") {
    throw new DatabaseFailure("could not parse the HTTP request body: a query must have a `query` string");
  }
  const params = value["params"] ?? [];
  if (!Array.isArray(params)) {
    throw new DatabaseFailure("could not parse the HTTP request body: `params` must be a list");
  }
  return { query: value["query"], params: params.map(toPostgresText) };
}

/** JSON to Postgres text by Neon's rules: a list becomes an array literal, an object its JSON. */
function toPostgresText(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (Array.isArray(value)) return arrayLiteral(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

function arrayLiteral(values: unknown[]): string {
  const elements = values.map((value) => {
    if (value === null) return "NULL";
    if (Array.isArray(value)) return arrayLiteral(value);
    if (typeof value === "number" || typeof value === "boolean") return String(value);
    // An array literal escapes with backslashes inside double quotes, which is JSON's own string form for both.
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
  });
  return `{${elements.join(",")}}`;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
