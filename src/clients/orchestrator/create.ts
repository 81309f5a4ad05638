import type { Config } from "../../config.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { httpOrchestrator } from "./http.ts";
import { mockOrchestrator } from "./mock.ts";
import type { Orchestrator } from "./port.ts";

/** A service binding routes by its name; the host of the URL has no meaning. */
const BINDING_URL = "https://orchestrator/";

/**
 * The configured orchestrator: an HTTP endpoint, else a service binding, else in development the mock. null when nothing
 * is configured outside development.
 */
export function createOrchestrator(config: Config, binding: Fetcher | null, log: Logger): Orchestrator | null {
  const { orchestratorUrl: url, orchestratorToken: token, orchestratorTimeoutMs: timeoutMs } = config;
  if (url !== null) return httpOrchestrator({ fetch: (input, init) => fetch(input, init), url, token, timeoutMs });
  if (binding !== null) {
    return httpOrchestrator({ fetch: (input, init) => binding.fetch(input, init), url: BINDING_URL, token, timeoutMs });
  }
  return config.environment === "development" ? mockOrchestrator(log) : null;
}

/** For an object after its deploy has lost the configuration: each call throws, so users get the default reply. */
// oxlint-disable-next-line require-yield
export const missingOrchestrator: Orchestrator = async function* () {
  throw new Error("No orchestrator is configured");
};
