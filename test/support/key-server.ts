import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import type { GenerateKeyPairResult, JWK, JWTHeaderParameters, JWTPayload } from "jose";

export type Issuer = {
  issuer: string;
  audience: string;
  /** Signing algorithm and key id. */
  kid: string;
  pair: GenerateKeyPairResult;
  jwk: JWK;
  sign(claims: JWTPayload, header?: Partial<JWTHeaderParameters>): Promise<string>;
};

export type KeyServer = {
  url: string;
  /** Number of requests. */
  requests: number;
  /** Sets the served key set; null makes the server fail. */
  serve(keys: unknown[] | null): void;
  close(): Promise<void>;
};

/** A brand's identity provider: a key, and tokens signed with it. `like` shares the key of another. */
export async function createIssuer(name: string, algorithm = "RS256", like?: Issuer): Promise<Issuer> {
  const pair = like?.pair ?? (await generateKeyPair(algorithm, { extractable: true }));
  const kid = `${name}-1`;
  return {
    issuer: `https://${name}.example`,
    audience: `${name}-app`,
    kid,
    pair,
    jwk: { ...(await exportJWK(pair.publicKey)), kid, alg: algorithm, use: "sig" },
    sign: (claims, header = {}) =>
      new SignJWT(claims).setProtectedHeader({ alg: algorithm, kid, ...header }).sign(pair.privateKey),
  };
}

/** A local server for a brand's key set. */
export async function startKeyServer(keys: unknown[]): Promise<KeyServer> {
  let served: unknown[] | null = keys;
  const server = createServer((_request, response) => {
    keyServer.requests += 1;
    const body = served === null ? "away" : JSON.stringify({ keys: served });
    response.writeHead(served === null ? 503 : 200, { "Content-Type": "application/json" }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const keyServer: KeyServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`,
    requests: 0,
    serve: (next) => {
      served = next;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return keyServer;
}
