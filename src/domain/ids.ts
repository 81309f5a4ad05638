import { z } from "zod";
import { sha256, hex } from "./crypto.ts";

/** What a client may call things: echoed in headers and logs, so nothing that could break out of either. */
export const SAFE_ID = /^[A-Za-z0-9._:-]{1,128}$/;

export const Uuid = z.uuid();
const dashed = (digits: string): string =>
  [digits.slice(0, 8), digits.slice(8, 12), digits.slice(12, 16), digits.slice(16, 20), digits.slice(20)].join("-");

/** A UUIDv7 (RFC 9562): sorts by the millisecond it was made in. */
export function uuidv7(now: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const time = now.toString(16).padStart(12, "0");
  const random = hex(bytes).slice(12);
  const variant = (Number.parseInt(random.charAt(4), 16) & 0x3) | 0x8;
  return dashed(`${time}7${random.slice(1, 4)}${variant.toString(16)}${random.slice(5)}`);
}

/** The millisecond a UUIDv7 was made in. */
export const timeOfUuid = (id: string): number => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);

/** 32 random hex digits, as W3C trace ids are. */
export const newTraceId = (): string => hex(crypto.getRandomValues(new Uint8Array(16)));

/** A UUID (version 8) that is the same for the same text: the first 122 bits of its SHA-256. */
export async function uuidOf(text: string): Promise<string> {
  const digest = await sha256(text);
  const variant = (Number.parseInt(digest.charAt(16), 16) & 0x3) | 0x8;
  return dashed(`${digest.slice(0, 12)}8${digest.slice(13, 16)}${variant.toString(16)}${digest.slice(17, 32)}`);
}

/** A turn's id ends in 0, and what belongs to the turn differs in that digit: a second run of a turn makes the same rows. */
export const newTurnId = (now: number): string => `${uuidv7(now).slice(0, -1)}0`;
export const inboundMessageIdOf = (turnId: string): string => `${turnId.slice(0, -1)}1`;
export const replyMessageIdOf = (turnId: string): string => `${turnId.slice(0, -1)}2`;
export const usageIdOf = (turnId: string): string => `${turnId.slice(0, -1)}3`;
