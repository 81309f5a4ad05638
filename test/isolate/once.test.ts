import { expect, it } from "vitest";
import { oncePer, oncePerName } from "../../src/isolate/once.ts";

it("a value is made once per object, also when it is undefined", () => {
  let made = 0;
  const valueOf = oncePer((_key: object): undefined => void (made += 1));
  const key = {};
  valueOf(key);
  valueOf(key);
  valueOf({});
  expect(made).toBe(2);
});

it("a value that could not be made is made again", () => {
  let fails = true;
  const valueOf = oncePer((_key: object) => {
    if (fails) throw new Error("not now");
    return "value";
  });
  const key = {};
  expect(() => valueOf(key)).toThrow("not now");
  fails = false;
  expect(valueOf(key)).toBe("value");
});

it("a value is made once per name", () => {
  const valueOf = oncePerName<number>();
  expect([valueOf("a", () => 1), valueOf("a", () => 2), valueOf("b", () => 3)]).toEqual([1, 1, 3]);
});
