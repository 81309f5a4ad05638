import { redact } from "../domain/sanitize.ts";

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
  /** Takes a finished line. The platform keeps and rotates what goes to stdout. */
  write: (line: string) => void;
  now: () => number;
};

/**
 * A logger whose lines are safe to keep: secrets are taken out by key and by value, and what can't be serialised is
 * described rather than thrown at whoever wanted to log.
 */
export function createLogger(options: Options, context: LogFields = {}): Logger {
  const log =
    (level: LogLevel) =>
    (event: string, fields: LogFields = {}): undefined => {
      if (LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(options.level)) return;
      const { error, ...rest } = { ...context, ...fields };
      const safe = redact(error === undefined ? rest : { ...rest, error: describe(error) });
      const line = { timestamp: new Date(options.now()).toISOString(), level, event, ...(safe as LogFields) };
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

/** An error as fields, its causes with it. Drizzle's messages hold parameters, so they are left out. */
function describe(error: unknown): LogFields {
  if (!(error instanceof Error)) return { message: String(error) };
  const isQueryError = error.name === "DrizzleQueryError" || error.message.startsWith("Failed query:");
  return {
    name: error.name,
    message: isQueryError ? "A query failed" : error.message,
    ...("code" in error ? { code: error.code } : {}),
    ...(error.stack && !isQueryError ? { stack: error.stack } : {}),
    ...(error.cause === undefined ? {} : { cause: describe(error.cause) }),
  };
}

const asText = ({ timestamp, level, event, ...fields }: LogFields): string =>
  [
    timestamp,
    String(level).toUpperCase(),
    event,
    ...Object.entries(fields).map(([key, value]) => `${key}=${JSON.stringify(value)}`),
  ].join(" ");
