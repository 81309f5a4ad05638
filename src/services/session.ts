import type { Config } from "../config.ts";
import type { InstanceConfig } from "../domain/instance.ts";

/** How long a session may be quiet, in milliseconds: the instance's own setting, else the service's. */
export const sessionTimeoutMs = (
  instance: Pick<InstanceConfig, "sessionTimeoutMinutes"> | null,
  config: Config,
): number => (instance?.sessionTimeoutMinutes ?? config.sessionTimeoutMinutes) * 60_000;
