/** Who said it. `system` is for notes that belong to a conversation and that nobody said. */
export const ROLES = ["user", "assistant", "system"] as const;
export type Role = (typeof ROLES)[number];
