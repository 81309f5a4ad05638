import { expect, it } from "vitest";
import { BodyTooLargeError, readBounded } from "../../src/domain/bounded-body.ts";

/** A body of `chunks` pieces of 10 bytes, and how many of them were asked for. */
function counted(chunks: number) {
  const seen = { read: 0, cancelled: false };
  const body = new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        if (seen.read === chunks) return controller.close();
        seen.read += 1;
        controller.enqueue(new Uint8Array(10).fill(seen.read));
      },
      cancel: () => void (seen.cancelled = true),
    },
    { highWaterMark: 0 },
  );
  return { seen, body };
}

it.each<Record<string, string>>([
  {},
  { "Content-Length": "30" },
  { "Content-Length": "9", "Content-Encoding": "gzip" },
])("a body within its limit is read whole, with headers %j", async (headers) => {
  const bytes = await readBounded(new Response(counted(3).body, { headers }), 30);
  expect([...bytes]).toEqual([...new Uint8Array(30).fill(1, 0, 10).fill(2, 10, 20).fill(3, 20)]);
});

it("a body without a length is read no further than its limit", async () => {
  const { seen, body } = counted(1_000_000);
  await expect(readBounded(new Response(body), 25)).rejects.toThrow(BodyTooLargeError);
  expect(seen).toEqual({ read: 3, cancelled: true });
});

it("a body that declares more than its limit is not read at all", async () => {
  const { seen, body } = counted(3);
  await expect(readBounded(new Response(body, { headers: { "Content-Length": "30" } }), 29)).rejects.toThrow(
    "29 bytes",
  );
  expect(seen).toEqual({ read: 0, cancelled: true });
});

it("a body that is larger than it declares is refused, as are compressed bytes that unpack to more", async () => {
  for (const headers of [{ "Content-Length": "5" }, { "Content-Length": "5", "Content-Encoding": "gzip" }]) {
    await expect(readBounded(new Response(counted(3).body, { headers }), 20)).rejects.toThrow(BodyTooLargeError);
  }
});

it("no body is no bytes", async () => {
  expect(await readBounded(new Response(null), 1)).toHaveLength(0);
});
