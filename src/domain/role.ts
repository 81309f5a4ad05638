/** Author of a message. `system` messages are notes of a conversation without an author. */
export const ROLES = ["user", "assistant", "system"] as const;
export type Role = (typeof ROLES)[number];
