/** Limits a wait for a condition far above its duration, so that a busy machine causes no failure. */
export const PATIENCE = { timeout: 60_000, interval: 50 };
