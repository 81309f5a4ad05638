/**
 * One spelling for numbers that WhatsApp spells in two ways, E.164: the mobile prefix of Mexico (+52 1) and of Argentina
 * (+54 9), and the ninth digit of Brazil, which numbers of eight digits that begin with 6 to 9 were given.
 * Numbers are sent to as they came; only addresses are made of this.
 */
export const canonicalNumber = (phone: string): string =>
  phone
    .replace(/^\+521(\d{10})$/, "+52$1")
    .replace(/^\+549(\d{10})$/, "+54$1")
    .replace(/^\+55(\d{2})9([6-9]\d{7})$/, "+55$1$2");
