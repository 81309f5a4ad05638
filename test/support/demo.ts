/** The demo's instances (scripts/database/demo.ts) by their use in tests. */
const id = (last: string) => `00000000-0000-4000-8000-${last.padStart(12, "0")}`;

export const ACME = id("1");
export const GLOBEX = id("2");
export const ACME_KEY = "parley_dev_acme";
export const GLOBEX_KEY = "parley_dev_globex";

export const INSTANCE = {
  /** Acme's; guests are accepted. */
  chat: id("10"),
  guestless: id("11"),
  inactive: id("12"),
  unconfigured: id("13"),
  /** Acme's; guests are accepted. */
  whatsapp: id("20"),
  /** Another brand's; guests are accepted. */
  globex: id("30"),
  unknown: id("999"),
} as const;
