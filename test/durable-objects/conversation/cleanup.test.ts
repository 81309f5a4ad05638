import { expect, it } from "vitest";
import { incarnation, submission } from "../../support/conversation.ts";
import type { BegunRun } from "../../support/conversation.ts";
import { sqliteStorage } from "../../support/sqlite-storage.ts";

const DAY_MS = 86_400_000;

it("forty messages of one conversation cost a handful of alarms the next day, and then nothing is stored", async () => {
  let now = 1_800_000_000_000;
  const emptied: number[] = [];
  const runs: BegunRun[] = [];
  const object = incarnation(sqliteStorage(), 0, () => now, runs, { empty: () => void emptied.push(now) });
  for (let message = 0; message < 40; message += 1) {
    const outcome = object.submit(submission(`m${message}`, "x"));
    runs.at(-1)?.answer("An answer");
    expect(await outcome).toMatchObject({ kind: "answered" });
    now += 15_000;
  }
  object.outbox.confirm(object.outbox.pull(10_000_000));

  const nextDay = now + DAY_MS / 2;
  let alarms = 0;
  while (emptied.length === 0) {
    const set = object.alarms.length;
    object.alarm.run(now);
    if (emptied.length > 0) break;
    expect(object.alarms.length, "an object that stores something has an alarm").toBeGreaterThan(set);
    now = object.alarms.at(-1)!;
    if (now > nextDay) alarms += 1;
  }
  expect(alarms).toBeLessThanOrEqual(4);
});
