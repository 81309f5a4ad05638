import { createServer } from "node:http";
import type { RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair } from "jose";
import { describe, expect, test } from "vitest";
import { fetchKeySet, KEY_SET_ALGORITHMS, readKeys, toEntry } from "../../src/clients/jwks.ts";

const it = test.extend("serve", async ({}, { onCleanup }) =>
  async (listener: RequestListener): Promise<string> => {
    const server = createServer(listener);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onCleanup(() => {
      server.close();
      server.closeAllConnections();
    });
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`;
  });

const publicKey = async (algorithm: string, options = {}) =>
  exportJWK((await generateKeyPair(algorithm, { extractable: true, ...options })).publicKey);

describe("fetching a key set", () => {
  it("a redirect is not followed", async ({ serve }) => {
    const visited: (string | undefined)[] = [];
    const url = await serve((request, response) => {
      visited.push(request.url);
      if (request.url === "/jwks.json") response.writeHead(302, { Location: "/elsewhere" }).end();
      else response.end('{"keys": [{"kty": "RSA"}]}');
    });
    await expect(fetchKeySet(url)).rejects.toThrow("302");
    expect(visited).toEqual(["/jwks.json"]);
  });

  it("a key set without end is cut off at 256 KB while it is read", async ({ serve }) => {
    let written = 0;
    const { promise: closed, resolve: close } = Promise.withResolvers<void>();
    const url = await serve((_request, response) => {
      const chunk = " ".repeat(16_384);
      const write = (): void => {
        for (let taken = true; taken && !response.destroyed; written += chunk.length) taken = response.write(chunk);
      };
      response.on("drain", write).on("close", close);
      write();
    });
    await expect(fetchKeySet(url)).rejects.toThrow("larger than 262144 bytes");
    await closed;
    // The reader's limit and what the sockets of both ends may hold.
    expect(written).toBeLessThan(32 * 1024 * 1024);
  });

  it("a key set that declares more than 256 KB is not read", async ({ serve }) => {
    const url = await serve((_request, response) => {
      response.writeHead(200, { "Content-Length": "262145" }).write("{");
    });
    await expect(fetchKeySet(url)).rejects.toThrow("larger than 262144 bytes");
  });

  it.for(["no JSON", "[]", '{"keys": {}}'])("a response that is no key set is refused: %s", async (body, { serve }) => {
    const url = await serve((_request, response) => void response.end(body));
    await expect(fetchKeySet(url)).rejects.toThrow(/JSON|invalid/i);
  });
});

describe("the keys of a set", () => {
  it.for([
    ["RS256", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]],
    ["ES256", ["ES256"]],
    ["ES384", ["ES384"]],
    ["ES512", ["ES512"]],
    ["EdDSA", ["EdDSA", "Ed25519"]],
  ] as const)("a key without alg verifies each algorithm of its type: %s", async ([algorithm, algorithms]) => {
    const { keys, unusable } = await readKeys([{ ...(await publicKey(algorithm)), kid: "k" }]);
    expect([keys, unusable]).toMatchObject([[{ kid: "k", algorithms }], []]);
  });

  it.for([
    ["RS384", "RS384", ["RS384"]],
    ["PS512", "PS512", ["PS512"]],
    ["ES384", "ES384", ["ES384"]],
    ["Ed25519", "EdDSA", ["EdDSA", "Ed25519"]],
    ["Ed25519", "Ed25519", ["EdDSA", "Ed25519"]],
  ] as const)("a key of %s with the alg %s verifies that one only", async ([algorithm, alg, algorithms]) => {
    expect((await readKeys([{ ...(await publicKey(algorithm)), alg }])).keys).toMatchObject([
      { kid: null, algorithms },
    ]);
    expect(KEY_SET_ALGORITHMS).toEqual(expect.arrayContaining([...algorithms]));
  });

  it("an unusable key is named with the reason, and the others are used", async () => {
    const good = { ...(await publicKey("RS256")), kid: "good" };
    const { privateKey } = await generateKeyPair("ES256", { extractable: true });
    const entries = [
      null,
      "text",
      { kid: "no-type" },
      { kty: "oct", k: "c2VjcmV0", kid: "symmetric" },
      { ...(await exportJWK(privateKey)), kid: "private" },
      { kty: "RSA", e: "AQAB", kid: "no-modulus" },
      { kty: "EC", crv: "P-256", x: "AA", y: "AA", kid: "no-point" },
      { kty: "EC", crv: "secp256k1", x: "AA", y: "AA", kid: "curve" },
      { ...good, kid: "alg", alg: "RS1" },
      { ...(await publicKey("RS256", { modulusLength: 2048 })), n: "u_7o", kid: "short" },
      good,
    ];
    const { keys, unusable } = await readKeys(entries);
    expect(keys.map(({ kid }) => kid)).toEqual(["good"]);
    expect(unusable.map(({ key }) => key)).toEqual([
      ...["#0", "#1", "no-type", "symmetric", "private", "no-modulus", "no-point", "curve", "alg", "short"],
    ]);
    expect(unusable.every(({ reason }) => reason !== "")).toBe(true);
  });

  it("a key for encryption is no fault and no key", async () => {
    const key = await publicKey("RS256");
    expect(
      await readKeys([
        { ...key, use: "enc" },
        { ...key, key_ops: ["encrypt"] },
      ]),
    ).toEqual({ keys: [], unusable: [] });
  });

  it("a key is stored without what verification does not need, and read as the same key", async () => {
    const entries = [
      { ...(await publicKey("RS256")), kid: "a", alg: "RS256", use: "sig", x5c: ["..."], x5t: "..." },
      { ...(await publicKey("RS256")) },
    ];
    const { keys } = await readKeys(entries);
    const stored = keys.map(toEntry);
    expect(Object.keys(stored[0] ?? {}).toSorted()).toEqual(["alg", "e", "kid", "kty", "n"]);
    expect((await readKeys(stored)).keys).toEqual(keys);
  });
});
