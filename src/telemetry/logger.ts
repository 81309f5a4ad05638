import { fitMetadata } from "../domain/sanitize.ts";
import { redact } from "../domain/redact.ts";

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export type LogFields = Record<string, unknown>;

/** One line per event. Each method gives undefined, so that a failure can be logged where it is turned into nothing. */
export type Logger = {
  debug(event: string, fields?: LogFields): undefined;
  info(event: string, fields?: LogFields): undefined;
  warn(event: string, fields?: LogFields): undefined;
  error(event: string, fields?: LogFields): undefined;
  /** The same logger with fields that every line of it carries. */
  with(context: LogFields): Logger;
};

type Options = {
  level: LogLevel;
  format: "json" | "text";
  /** The part of the service that writes: the field `logger` of its lines. */
  name?: string;
  /** Takes a finished line. The platform keeps and rotates what goes to stdout. */
  write: (line: string) => void;
  now: () => number;
};

/** Bytes. A platform cuts what is longer, and then it is no JSON any more. */
const MAX_LINE = 65_536;
/** What a line says of itself: its time, level, logger and event. */
const HEAD_BYTES = 1_024;

/**
 * A logger whose lines are safe to keep: secrets are taken out by key and by value, a line has a bounded length, and what
 * can't be serialised is left out rather than thrown at whoever wanted to log.
 */
export function createLogger(options: Options, context: LogFields = {}): Logger {
  const log =
    (level: LogLevel) =>
    (event: string, fields?: LogFields): undefined => {
      if (LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(options.level)) return;
      const timestamp = new Date(options.now()).toISOString();
      const head = { timestamp, level, logger: options.name ?? "parley", event };
      // Twice: first in the line, and never overruled by a field of the same name.
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

/** The fields of a line as plain JSON without secrets; as many of them as fit. */
function safe(fields: LogFields): LogFields {
  const told: LogFields = {};
  for (const [name, value] of Object.entries(fields)) {
    try {
      Object.assign(told, redact({ [name]: value instanceof Error ? describe(value) : value }));
    } catch (error) {
      // A getter that throws, a stub of something that is gone.
      told[name] = `could not be logged: ${error instanceof Error ? error.name : typeof error}`;
    }
  }
  const { value, truncated } = fitMetadata(told, MAX_LINE - HEAD_BYTES);
  return truncated ? { ...value, truncated } : value;
}

/** How far down the causes of an error are told. */
const MAX_CAUSES = 5;

/** What an error of Postgres says beside its message. */
const DETAILS = ["code", "constraint", "table", "column", "routine"] as const;

/** Classes of SQLSTATE whose messages name tables and constraints, and never a value. */
const QUOTES_NO_VALUE = /^(?:08|23|25|40|42|53|55|57)/;

/** Drizzle's messages hold parameters and some of Postgres' do, and those are what people said. */
function quotesValues({ name, message }: Error, code: unknown): boolean {
  if (name === "DrizzleQueryError" || message.startsWith("Failed query:")) return true;
  return name === "NeonDbError" && typeof code === "string" && !QUOTES_NO_VALUE.test(code);
}

/** An error as fields, its causes with it. Where a message quotes values, what kind of error it was and where is told. */
function describe(error: unknown, depth = 1): LogFields {
  if (!(error instanceof Error)) return { message: String(error) };
  const fields: LogFields = { name: error.name };
  for (const detail of DETAILS) {
    const value: unknown = Reflect.get(error, detail);
    if (value !== undefined && value !== null) fields[detail] = value;
  }
  const quotes = quotesValues(error, fields["code"]);
  if (!quotes) fields["message"] = error.message;
  // The stack begins with the message.
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
