/** What is known of a person: `guest` nothing, `standard` an identifier they claimed, `verified` one a channel vouches for. */
export const USER_TIERS = ["guest", "standard", "verified"] as const;
export type UserTier = (typeof USER_TIERS)[number];

/** What a person is recognised by, in the order it counts. A token names its user and is never stored. */
export const STORED_IDENTIFIER_TYPES = ["phone_e164", "email", "device_id", "whatsapp_user_id"] as const;
export type StoredIdentifierType = (typeof STORED_IDENTIFIER_TYPES)[number];

export type StoredIdentifier = { type: StoredIdentifierType; value: string };

export type User = { id: string; tier: UserTier };

/** How the speaker was recognised; it decides what the model may do for them. */
export type AuthState = "anonymous" | "guest" | "identified" | "authenticated";
