/** How far a user is known: `guest` not at all, `standard` by a claimed identifier, `verified` by one the channel verified. */
export const USER_TIERS = ["guest", "standard", "verified"] as const;
export type UserTier = (typeof USER_TIERS)[number];

/** Identifier types in order of precedence. A token names its user directly and is never stored. */
export const STORED_IDENTIFIER_TYPES = ["phone_e164", "email", "device_id", "whatsapp_user_id"] as const;
export type StoredIdentifierType = (typeof STORED_IDENTIFIER_TYPES)[number];

export type StoredIdentifier = { type: StoredIdentifierType; value: string };

export type User = { id: string; tier: UserTier };

/** How the sender was identified; decides which permissions the model gets. */
export type AuthState = "anonymous" | "guest" | "identified" | "authenticated";
