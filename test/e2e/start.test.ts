import { expect, it } from "vitest";
import { startService } from "../support/service.ts";

it("a configuration with faults stops the start, with one clear line for each", async () => {
  const env = { ORCHESTRATOR_URL: "localhost", LOG_LEVEL: "loud", SESSION_TIMEOUT_MINUTES: "soon" };
  const refused = await startService({ env }).then(
    () => "It started",
    (error: Error) => error.message,
  );
  const faults = refused.split("\n").filter((line) => /^[A-Z_]{4,} /.test(line));
  expect(faults.map((line) => line.split(" ")[0])).toEqual([
    "ORCHESTRATOR_URL",
    "SESSION_TIMEOUT_MINUTES",
    "LOG_LEVEL",
  ]);
  expect(refused).not.toMatch(/\n {4}at /);
});
