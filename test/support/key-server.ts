import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import type { JWK, JWTHeaderParameters, JWTPayload } from "jose";

export type Issuer = {
  issuer: string;
  audience: string;
  /** Signing algorithm and key id. */
  kid: string;
  jwk: JWK;
  sign(claims: JWTPayload, header?: Partial<JWTHeaderParameters>): Promise<string>;
};

export type KeyServer = {
  url: string;
  /** Number of requests. */
  requests: number;
  /** Sets the served key set; null makes the server fail. */
  serve(keys: JWK[] | null): void;
  close(): Promise<void>;
};

/** A brand's identity provider: a key, and tokens signed with it. */
export async function createIssuer(name: string, algorithm: "RS256" | "ES256" | "EdDSA" = "RS256"): Promise<Issuer> {
  const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true });
  const kid = `${name}-1`;
  return {
    issuer: `https://${name}.example`,
    audience: `${name}-app`,
    kid,
    jwk: { ...(await exportJWK(publicKey)), kid, alg: algorithm, use: "sig" },
    sign: (claims, header = {}) =>
      new SignJWT(claims).setProtectedHeader({ alg: algorithm, kid, ...header }).sign(privateKey),
  };
}

/** A local server for a brand's key set. */
export async function startKeyServer(keys: JWK[]): Promise<KeyServer> {
  let served: JWK[] | null = keys;
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
