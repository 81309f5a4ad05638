import { SignJWT } from "jose";
import { ACME } from "./demo.ts";

const SECRET = "parley-development-secret-not-for-production";

/** A user's token, as `npm run token` creates it. */
export const tokenFor = (userId: string, brandId: string = ACME): Promise<string> =>
  new SignJWT({ brand_id: brandId })
    .setProtectedHeader({ alg: "HS256" })
    .setSubject(userId)
    .setIssuer("parley")
    .setAudience("parley")
    .setExpirationTime("1 day")
    .sign(new TextEncoder().encode(SECRET));
