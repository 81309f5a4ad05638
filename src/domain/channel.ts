import { z } from "zod";

/** Where a message was said. A user's identifiers are scoped by brand and channel. */
export const CHANNELS = ["api", "web", "app", "whatsapp", "voice", "broadcast"] as const;
export const Channel = z.enum(CHANNELS).meta({ id: "Channel" });
export type Channel = z.infer<typeof Channel>;
