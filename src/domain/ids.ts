import { z } from "zod";
import { sha256, hex } from "./crypto.ts";

/** Client-supplied ids. They are echoed in headers and logs, so they hold no character that could break either. */
export const SAFE_ID = /^[A-Za-z0-9._:-]{1,128}$/;

/** Any UUID that Postgres takes, of every version and variant; upper and lower case are the same id. */
export const Uuid = z
  .guid()
  .overwrite((id) => id.toLowerCase())
  .meta({ type: "string", format: "uuid" });

const dashed = (digits: string): string =>
  [digits.slice(0, 8), digits.slice(8, 12), digits.slice(12, 16), digits.slice(16, 20), digits.slice(20)].join("-");

/** A UUIDv7 (RFC 9562), which sorts by its millisecond of creation. */
export function uuidv7(now: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const time = now.toString(16).padStart(12, "0");
  const random = hex(bytes).slice(12);
  const variant = (Number.parseInt(random.charAt(4), 16) & 0x3) | 0x8;
  return dashed(`${time}7${random.slice(1, 4)}${variant.toString(16)}${random.slice(5)}`);
}

/** The creation time of a UUIDv7 in epoch milliseconds. */
export const timeOfUuid = (id: string): number => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);

/** 32 random hex digits, as W3C trace ids are. */
export const newTraceId = (): string => hex(crypto.getRandomValues(new Uint8Array(16)));

/** A UUID (version 8) derived from a text: the first 122 bits of its SHA-256. */
export async function uuidOf(text: string): Promise<string> {
  const digest = await sha256(text);
  const variant = (Number.parseInt(digest.charAt(16), 16) & 0x3) | 0x8;
  return dashed(`${digest.slice(0, 12)}8${digest.slice(13, 16)}${variant.toString(16)}${digest.slice(17, 32)}`);
}

/** Derives ids of a turn's rows: a turn's id ends in 0 and theirs in another digit, so a repeated run writes the same rows. */
export const newTurnId = (now: number): string => `${uuidv7(now).slice(0, -1)}0`;
export const inboundMessageIdOf = (turnId: string): string => `${turnId.slice(0, -1)}1`;
export const replyMessageIdOf = (turnId: string): string => `${turnId.slice(0, -1)}2`;
/** The turn's id of a message id, if the message belongs to a turn. */
export const turnIdOfMessage = (messageId: string): string => `${messageId.slice(0, -1)}0`;
export const usageIdOf = (turnId: string): string => `${turnId.slice(0, -1)}3`;
