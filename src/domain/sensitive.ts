/**
 * On a key in snake case. A token is one when the name ends in it (`access_token`, `guestToken`); `token_plan`,
 * `token_usage`, `max_tokens` and `budget_tokens` are counts.
 */
const SENSITIVE_KEY = new RegExp(
  [
    "pass_?(word|wd|phrase)",
    "(^|_)pwd(_|$)",
    "secret$|(^|_)secrets?(_|$)",
    "token$|(^|_)(access|refresh|auth|id|bearer)_?tokens$",
    "authorization$",
    "(^|_)(set_?)?cookies?$",
    "(^|_)(jwt|ssn|credentials?)(_|$)",
    "(api|private|secret|signing|encryption)_?keys?(_|$)",
    "credit_?card|card_?number|(^|_)(cvv2?|cvc2?)(_|$)",
  ].join("|"),
);

/** An ASCII key without any of these is not sensitive: the cheap test for most keys. */
const MAYBE_SENSITIVE = /[^\x20-\x7E]|pass|pwd|secret|token|author|cookie|jwt|ssn|credential|key|card|cv[vc]/i;

/** Whether a key names a secret: `password`, `apiKey`, `X-Api-Key`, `refresh_token`, `cvv` and the like. */
export const isSensitiveKey = (key: string): boolean => MAYBE_SENSITIVE.test(key) && SENSITIVE_KEY.test(snakeCase(key));

/** A key in snake case; compatibility forms are unified, invisible and control characters ignored. */
const snakeCase = (key: string): string =>
  key
    .normalize("NFKC")
    .replace(/[\p{Cf}\p{Cc}]/gu, "")
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replace(/[^A-Za-z0-9]+/g, "_")
    .toLowerCase();
