import { cleanText } from "./text.ts";

/** A dot-atom of RFC 5322 with the letters of any script (RFC 6531), or a quoted string of RFC 5321. */
const ATOM = /^[\w!#$%&'*+/=?^`{|}~\-\p{L}\p{M}\p{N}]+(?:\.[\w!#$%&'*+/=?^`{|}~\-\p{L}\p{M}\p{N}]+)*$/u;
const QUOTED = /^"(?:[ !#-[\]-~]|\\[ -~])*"$/;

/** Two labels or more, the last of which is no number: neither an IP address nor a name of a local network. */
const DOMAIN = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?=[a-z0-9-]*[a-z])[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])$/;
/** What a URL's host is parsed up to, and what it decodes. */
const NOT_IN_A_HOST = /[\s/?#@:\\%[\]<>^|]/;

/**
 * An address in the form in which addresses are compared: NFKC, lower case, the domain in punycode. An address that is not
 * valid comes back as text that `isEmail` refuses.
 */
export function normalizeEmail(text: string): string {
  const address = cleanText(text).normalize("NFKC").trim().toLowerCase();
  const at = address.lastIndexOf("@");
  return at === -1 ? address : `${address.slice(0, at)}@${punycode(address.slice(at + 1))}`;
}

/** Whether a normalised text is an e-mail address. */
export function isEmail(address: string): boolean {
  const at = address.lastIndexOf("@");
  const [local, domain] = [address.slice(0, at), address.slice(at + 1)];
  return at > 0 && (ATOM.test(local) || QUOTED.test(local)) && DOMAIN.test(domain);
}

function punycode(domain: string): string {
  const url = `http://${domain}`;
  return NOT_IN_A_HOST.test(domain) || !URL.canParse(url) ? domain : new URL(url).hostname;
}
