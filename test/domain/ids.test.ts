import { describe, expect, it } from "vitest";
import {
  inboundMessageIdOf,
  newTraceId,
  newTurnId,
  replyMessageIdOf,
  SAFE_ID,
  timeOfUuid,
  usageIdOf,
  Uuid,
  uuidOf,
  uuidv7,
} from "../../src/domain/ids.ts";
import { sha256 } from "../../src/domain/crypto.ts";

const NOW = Date.UTC(2026, 10, 22, 12);

describe("an id that is made here", () => {
  it("an id is a UUIDv7 that is unique and sorts by its millisecond", () => {
    const ids = Array.from({ length: 1_000 }, (_, n) => uuidv7(NOW + n));
    expect(ids.every((id) => Uuid.safeParse(id).success && id[14] === "7" && "89ab".includes(id[19] ?? ""))).toBe(true);
    expect(ids.toSorted()).toEqual(ids);
    expect(new Set(Array.from({ length: 1_000 }, () => uuidv7(NOW))).size).toBe(1_000);
  });

  it("a UUIDv7 holds the time it was made", () => {
    expect([timeOfUuid(uuidv7(NOW)), timeOfUuid(newTurnId(NOW))]).toEqual([NOW, NOW]);
  });

  it("the ids of a turn's messages and usage are derived from the turn's id", () => {
    const turn = newTurnId(NOW);
    const ids = [turn, inboundMessageIdOf(turn), replyMessageIdOf(turn), usageIdOf(turn)];
    expect([new Set(ids).size, ids.every((id) => Uuid.safeParse(id).success)]).toEqual([4, true]);
    expect(ids.map((id) => id.slice(0, -1))).toEqual(ids.map(() => turn.slice(0, -1)));
  });

  it("a guest's id is a UUIDv8 derived from its text", async () => {
    const [one, again, other] = await Promise.all(["a", "a", "b"].map(uuidOf));
    expect([one, Uuid.safeParse(one).success, one?.[14]]).toEqual([again, true, "8"]);
    expect(other).not.toBe(one);
  });

  it("a trace id is 32 hexadecimal digits", () => {
    expect(newTraceId()).toMatch(/^[0-9a-f]{32}$/);
    expect(newTraceId()).not.toBe(newTraceId());
  });
});

describe("a fingerprint", () => {
  it("a fingerprint is the SHA-256 of the UTF-8 text in lower-case hexadecimal", async () => {
    expect(await sha256("abc")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect(await sha256("ü")).toBe("607474ca475a9724d7360aba71a56d5df77e61350e3f724cfa1f46e857e2d85f");
  });
});

describe("an id of a client", () => {
  it.each(["a", "order-12.3:4_5", "x".repeat(128)])("a client's id is echoed: %s", (id) => {
    expect(SAFE_ID.test(id)).toBe(true);
  });

  it.each(["", " ", "a b", "a\nSet-Cookie: x", "ü", "<b>", "x".repeat(129), "a\0"])(
    "a client's id is not echoed: %j",
    (id) => {
      expect(SAFE_ID.test(id)).toBe(false);
    },
  );
});
