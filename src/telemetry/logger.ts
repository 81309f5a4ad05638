import { fitMetadata } from "../domain/sanitize.ts";
import { redact } from "../domain/redact.ts";
import type { LogEvent } from "./events.ts";

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export type LogFields = Record<string, unknown>;

/** One line per event. Each method returns undefined, so a handler can log a failure and return nothing in one expression. */
export type Logger = {
  debug(event: LogEvent, fields?: LogFields): undefined;
  info(event: LogEvent, fields?: LogFields): undefined;
  warn(event: LogEvent, fields?: LogFields): undefined;
  error(event: LogEvent, fields?: LogFields): undefined;
  /** A logger that adds these fields to every line. */
  with(context: LogFields): Logger;
};

type Options = {
  level: LogLevel;
  format: "json" | "text";
  /** The component that logs: field `logger`. */
  name?: string;
  /** Writes one finished line. The platform stores and rotates stdout. */
  write: (line: string) => void;
  now: () => number;
};

/** Bytes. The platform truncates longer lines, which would break their JSON. */
const MAX_LINE = 65_536;
/** Bytes reserved for timestamp, level, logger and event. */
const HEAD_BYTES = 1_024;

/**
 * Creates a logger of lines that are safe to store: secrets are redacted by key and by value, and a line's length is
 * bounded. Never throws: a field that can't be serialised is logged as the reason why.
 */
export function createLogger(options: Options, context: LogFields = {}): Logger {
  const log =
    (level: LogLevel) =>
    (event: LogEvent, fields?: LogFields): undefined => {
      if (LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(options.level)) return;
      const timestamp = new Date(options.now()).toISOString();
      const head = { timestamp, level, logger: options.name ?? "parley", event };
      // Spread twice: the head stands first in the line, and no field of the same name overrides it.
      const line = { ...head, ...safe({ ...context, ...fields }), ...head };
      options.write(options.format === "json" ? JSON.stringify(line) : asText(line));
    };
  return {
    debug: log("debug"),
    info: log("info"),
    warn: log("warn"),
    error: log("error"),
    with: (more) => createLogger(options, { ...context, ...more }),
  };
}

/** Returns the fields as plain JSON without secrets, cut to the line's length. */
function safe(fields: LogFields): LogFields {
  const logged: LogFields = {};
  for (const [name, value] of Object.entries(fields)) {
    try {
      Object.assign(logged, redact({ [name]: value instanceof Error ? describe(value) : value }));
    } catch (error) {
      // A getter that throws, or a disposed stub.
      logged[name] = `could not be logged: ${error instanceof Error ? error.name : typeof error}`;
    }
  }
  const { value, truncated } = fitMetadata(logged, MAX_LINE - HEAD_BYTES);
  return truncated ? { ...value, truncated } : value;
}

/** Depth to which the causes of an error are logged. */
const MAX_CAUSES = 5;

/** Fields of a Postgres error beside its message. */
const DETAILS = ["code", "constraint", "table", "column", "routine"] as const;

/** Classes of SQLSTATE with messages that name tables and constraints, never a value. */
const QUOTES_NO_VALUE = /^(?:08|23|25|40|42|53|55|57)/;

/** Messages of Drizzle and some of Postgres quote parameters, which hold message text. */
function quotesValues({ name, message }: Error, code: unknown): boolean {
  if (name === "DrizzleQueryError" || message.startsWith("Failed query:")) return true;
  return name === "NeonDbError" && typeof code === "string" && !QUOTES_NO_VALUE.test(code);
}

/** Returns an error and its causes as fields. A message that quotes values is left out; its kind and stack stay. */
function describe(error: unknown, depth = 1): LogFields {
  if (!(error instanceof Error)) return { message: String(error) };
  const fields: LogFields = { name: error.name };
  for (const detail of DETAILS) {
    const value: unknown = Reflect.get(error, detail);
    if (value !== undefined && value !== null) fields[detail] = value;
  }
  const quotes = quotesValues(error, fields["code"]);
  if (!quotes) fields["message"] = error.message;
  // A stack begins with the message.
  const frames = error.stack?.indexOf("\n    at ") ?? -1;
  if (error.stack && (!quotes || frames >= 0)) fields["stack"] = quotes ? error.stack.slice(frames + 1) : error.stack;
  const cause: unknown = error.cause ?? Reflect.get(error, "sourceError");
  if (cause !== undefined && depth < MAX_CAUSES) fields["cause"] = describe(cause, depth + 1);
  return fields;
}

const asText = ({ timestamp, level, logger, event, ...fields }: LogFields): string =>
  [
    timestamp,
    String(level).toUpperCase(),
    logger,
    event,
    ...Object.entries(fields).map(([key, value]) => `${key}=${JSON.stringify(value)}`),
  ].join(" ");
