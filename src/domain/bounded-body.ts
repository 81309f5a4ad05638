/** The body is larger than its reader allows. */
export class BodyTooLargeError extends Error {
  override readonly name = "BodyTooLargeError";

  constructor(maxBytes: number) {
    super(`The body is larger than ${maxBytes} bytes`);
  }
}

/**
 * Reads the body of a request or a response. Throws `BodyTooLargeError` when more than `maxBytes` are declared or
 * received, without reading the rest.
 */
export async function readBounded(source: Request | Response, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const declared = Number(source.headers.get("Content-Length") ?? Number.NaN);
  if (declared > maxBytes) {
    await source.body?.cancel();
    throw new BodyTooLargeError(maxBytes);
  }
  // One read is cheaper. A compressed body declares its length before the platform unpacks it.
  if (declared <= maxBytes && !source.headers.has("Content-Encoding")) {
    const bytes = new Uint8Array(await source.arrayBuffer());
    // Service bindings do not enforce Content-Length.
    if (bytes.byteLength > maxBytes) throw new BodyTooLargeError(maxBytes);
    return bytes;
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of source.body ?? []) {
    size += chunk.byteLength;
    if (size > maxBytes) throw new BodyTooLargeError(maxBytes);
    chunks.push(chunk);
  }
  return concatenate(chunks, size);
}

function concatenate(chunks: readonly Uint8Array[], size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return bytes;
}
