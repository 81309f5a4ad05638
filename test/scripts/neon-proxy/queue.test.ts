import { describe, expect, it } from "vitest";
import { TaskQueue } from "../../../scripts/neon-proxy/queue.ts";

describe("the queue before the embedded database", () => {
  it("the queue runs one task at a time in the order of arrival, also after a failure", async () => {
    const queue = new TaskQueue();
    const log: string[] = [];
    const task = (name: string) => async () => {
      log.push(`${name} begins`);
      await new Promise((resolve) => setTimeout(resolve, 2));
      log.push(`${name} ends`);
      if (name === "b") throw new Error("b failed");
    };
    const outcomes = await Promise.allSettled(["a", "b", "c"].map((name) => queue.run(task(name))));
    expect(log).toEqual(["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  });

  it("the queue skips a task whose caller left", async () => {
    const queue = new TaskQueue();
    const gone = new AbortController();
    const ran: string[] = [];
    const first = queue.run(async () => {
      ran.push("first");
      gone.abort();
    });
    const second = queue.run(async () => void ran.push("second"), gone.signal);
    const third = queue.run(async () => void ran.push("third"));
    await expect(second).rejects.toMatchObject({ code: "08P01" });
    await Promise.all([first, third]);
    expect(ran).toEqual(["first", "third"]);
  });

  it("the queue lets its running task end at closing and refuses the rest", async () => {
    const queue = new TaskQueue();
    const begun = Promise.withResolvers<void>();
    const end = Promise.withResolvers<string>();
    const running = queue.run(() => {
      begun.resolve();
      return end.promise;
    });
    await begun.promise;
    const waiting = queue.run(async () => "never");
    const closed = queue.close();
    await expect(waiting).rejects.toMatchObject({ code: "57P01" });
    end.resolve("done");
    await closed;
    expect(await running).toBe("done");
    await expect(queue.run(async () => "late")).rejects.toMatchObject({ code: "57P01" });
  });
});
