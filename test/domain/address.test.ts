import { describe, expect, it } from "vitest";
import {
  addressOfSession,
  chatAddress,
  numberOfSession,
  sessionIdAt,
  startedAddress,
} from "../../src/domain/address.ts";
import { Uuid } from "../../src/domain/ids.ts";

const [acme, globex] = ["00000000-0000-4000-8000-000000000010", "00000000-0000-4000-8000-000000000030"];
const [ann, bob] = ["01a203c1-5b09-7963-9685-2aef74277b10", "01a203c1-5b09-7963-9685-2aef74277b11"];

describe("the address of a conversation", () => {
  it("is one for a person and an instance, and another for anybody and anything else", () => {
    expect(chatAddress(acme, ann)).toBe(chatAddress(acme, ann));
    const others = [chatAddress(acme, bob), chatAddress(globex, ann), startedAddress(acme, "a")];
    expect(new Set([chatAddress(acme, ann), ...others, startedAddress(acme, "b")]).size).toBe(5);
  });

  it("says nothing of whose it is", () => {
    expect(chatAddress(acme, ann)).toMatch(/^[0-9a-f]{22}$/);
  });
});

describe("the id of a session", () => {
  it("is a UUID that tells where the session lives", () => {
    const address = chatAddress(acme, ann);
    const id = sessionIdAt(address, 1_795_357_000);
    expect(Uuid.parse(id)).toBe(id);
    expect([addressOfSession(id), numberOfSession(id)]).toEqual([address, 1_795_357_000]);
  });

  it("sorts by the second in which it began", () => {
    const address = chatAddress(acme, ann);
    const ids = [0, 1, 255, 4096, 1_795_357_000, 4_294_967_295].map((number) => sessionIdAt(address, number));
    expect(ids.toSorted()).toEqual(ids);
  });

  it.each(["01a203c1-5b09-7963-9685-2aef74277b10", "b7f9b0a2-6f0e-4d58-8d8e-0c5f4a4f0b1e", "no uuid"])(
    "tells nothing when it was not made here: %s",
    (id) => {
      expect(addressOfSession(id)).toBeNull();
    },
  );
});
