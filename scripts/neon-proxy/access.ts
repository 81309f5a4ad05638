import type { IncomingHttpHeaders } from "node:http";
import { DatabaseFailure } from "./errors.ts";

const LOCAL_HOST = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?$/i;

/**
 * Refuses (403) a request that a web page could send to this port. A page can't set the driver's header without a
 * preflight, which this endpoint never grants; a foreign `Host` means DNS rebinding; a page's POST carries `Origin`.
 */
export function requireLocalDriver(headers: IncomingHttpHeaders): void {
  if (!LOCAL_HOST.test(headers.host ?? "")) throw forbidden("the Host must be a loopback name");
  if (headers.origin !== undefined) throw forbidden("requests of web pages are refused");
  if (!headers["neon-connection-string"]) throw forbidden("the header Neon-Connection-String is missing");
}

const forbidden = (reason: string) => new DatabaseFailure(`forbidden: ${reason}`, {}, 403);
