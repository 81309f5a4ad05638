/**
 * Normalises E.164 numbers that WhatsApp spells in two ways: the mobile prefixes of Mexico (+52 1) and Argentina
 * (+54 9), and Brazil's ninth digit, which eight-digit numbers beginning with 6 to 9 received. Used for addresses only:
 * messages are sent to the number as received.
 */
export const canonicalNumber = (phone: string): string =>
  phone
    .replace(/^\+521(\d{10})$/, "+52$1")
    .replace(/^\+549(\d{10})$/, "+54$1")
    .replace(/^\+55(\d{2})9([6-9]\d{7})$/, "+55$1$2");
