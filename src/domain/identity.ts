import { z } from "zod";
import { isEmail, normalizeEmail } from "./email.ts";
import { invalid } from "./errors.ts";
import { cleanText } from "./text.ts";
import type { UserTier } from "./user.ts";

/** The identifiers a user is looked up by, in order of priority. The fourth, a token, is verified and never looked up. */
export const IDENTIFIER_TYPES = ["phone_e164", "email", "device_id"] as const;
export type IdentifierType = (typeof IDENTIFIER_TYPES)[number];

/** Phones copy numbers with dashes, no-break spaces and bidi marks. */
const normalizePhone = (text: string): string => cleanText(text).replace(/[\s.()\p{Pd}]/gu, "");

/** E.164: + and 2 to 15 digits, the first of them not 0. Spaces, dashes, dots and parentheses are taken out. */
export const PhoneE164 = z
  .string()
  .overwrite(normalizePhone)
  .regex(/^\+[1-9]\d{1,14}$/, "must be + and 2 to 15 digits (E.164)")
  .meta({ example: "+14155550123" });

export const Email = z
  .string()
  .overwrite(normalizeEmail)
  .max(128, "must be at most 128 characters")
  .refine(isEmail, "must be an e-mail address")
  .meta({ type: "string", format: "email" });

/** Not a `regex` of the schema: a pattern in the OpenAPI document has no flags. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u;

/** Invisible characters are refused: two ids that look alike would be two users. */
export const DeviceId = z
  .string()
  .overwrite((text) => text.normalize("NFC").trim())
  .min(1)
  .max(128, "must be at most 128 characters")
  .refine((text) => !INVISIBLE.test(text), "must not contain control characters");

const AuthToken = z.string().trim().min(1).max(8192);

const isBlank = (value: unknown): boolean =>
  value === undefined || value === null || (typeof value === "string" && value.trim() === "");

/** Forms send an empty field as "" or null, which counts as absent. */
const leftOut = <T extends z.ZodType>(schema: T) =>
  z.preprocess((value) => (isBlank(value) ? undefined : value), schema.optional()).optional();

/** The sender's identifiers, normalised. All four are optional. */
export const Identifiers = z
  .object({
    phone_e164: leftOut(PhoneE164),
    email: leftOut(Email),
    device_id: leftOut(DeviceId),
    auth_token: leftOut(AuthToken),
  })
  .meta({ id: "Identifiers" });
export type Identifiers = z.infer<typeof Identifiers>;

const SCHEMAS = { phone_e164: PhoneE164, email: Email, device_id: DeviceId } satisfies Record<
  IdentifierType,
  z.ZodType
>;

/** The normalised value; null when blank and not required. Refuses (400) a blank required one and a badly formed one. */
export function validateIdentifier(
  type: IdentifierType,
  value: unknown,
  { required }: { required: boolean },
): string | null {
  if (isBlank(value)) {
    if (required) throw invalid(type, `${type} is required`);
    return null;
  }
  const result = SCHEMAS[type].safeParse(value);
  if (!result.success) throw invalid(type, `${type} ${result.error.issues[0]?.message ?? "is not valid"}`);
  return result.data;
}

/**
 * The identifiers for a look-up, normalised, by priority. The token is not among them: it identifies its user once it is
 * verified, and is never stored. Refuses (400) a malformed value.
 */
export const presented = (identifiers: Identifiers): { type: IdentifierType; value: string }[] =>
  IDENTIFIER_TYPES.flatMap((type) => {
    const value = validateIdentifier(type, identifiers[type], { required: false });
    return value === null ? [] : [{ type, value }];
  });

export type UserType = "guest" | "verified";

/** The tier of a new identified user: `verified` where the channel vouches for identifiers, elsewhere they are claims. */
export const tierFor = ({ vouchesForIdentifiers }: { vouchesForIdentifiers: boolean }): Exclude<UserTier, "guest"> =>
  vouchesForIdentifiers ? "verified" : "standard";

/** The user type in the orchestrator's adapter. */
export const userTypeFor = (tier: UserTier): UserType => (tier === "guest" ? "guest" : "verified");
