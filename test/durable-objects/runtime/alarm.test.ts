import { describe, expect, it } from "vitest";
import { Alarm } from "../../../durable-objects/runtime/alarm.ts";
import type { AlarmTask } from "../../../durable-objects/runtime/alarm.ts";

function alarm(...tasks: AlarmTask[]) {
  return alarmSetTo(null, ...tasks);
}

/** An alarm of a new incarnation at the time 50, which finds the platform's set to `at`. */
function alarmSetTo(at: number | null, ...tasks: AlarmTask[]) {
  const set: number[] = [];
  const reported: unknown[] = [];
  const options = {
    at,
    now: 50,
    set: (to: number) => void set.push(to),
    report: (error: unknown) => void reported.push(error),
  };
  return { alarm: new Alarm(tasks, options), set, reported };
}

describe("an object's one alarm", () => {
  it("an alarm is only ever moved earlier", () => {
    const { alarm: one, set } = alarm();
    for (const at of [500, 700, 300, 400, 300]) one.noLaterThan(at);
    expect(set).toEqual([500, 300]);
  });

  it("an alarm is not postponed by a new incarnation of the object", () => {
    const { alarm: one, set } = alarmSetTo(500);
    one.noLaterThan(86_400_000);
    one.noLaterThan(400);
    expect(set).toEqual([400]);
  });

  it("an overdue alarm, which a crash may have lost, is set again at once", () => {
    const { alarm: one, set } = alarmSetTo(40);
    expect(set).toEqual([50]);
    one.run(50);
    one.noLaterThan(700);
    expect(set).toEqual([50, 700]);
  });

  it("an alarm runs every duty and is set to the earliest next time", () => {
    const asked: number[] = [];
    const duty =
      (next: number | null): AlarmTask =>
      (now) => {
        asked.push(now);
        return next;
      };
    const { alarm: one, set } = alarm(duty(null), duty(900), duty(800));
    one.noLaterThan(100);
    one.run(100);
    expect(asked).toEqual([100, 100, 100]);
    expect(set.at(-1)).toBe(800);
  });

  it("an alarm is not set when no duty needs it", () => {
    const { alarm: one, set } = alarm(() => null);
    one.run(100);
    expect(set).toEqual([]);
  });

  it("a failing duty is reported and retried, and the other duties run", () => {
    let done = false;
    const {
      alarm: one,
      set,
      reported,
    } = alarm(
      () => {
        throw new Error("broken");
      },
      () => {
        done = true;
        return null;
      },
    );
    one.run(100);
    expect([done, reported.length]).toEqual([true, 1]);
    expect(set).toEqual([30_100]);
  });
});
