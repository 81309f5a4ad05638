import type { Channel } from "../domain/channel.ts";
import type { ChannelDefinition } from "./channel.ts";
import { whatsapp } from "./whatsapp/channel.ts";

/** A channel with a caller that names the user and receives the reply in the response. */
const direct: ChannelDefinition = { addressedBy: "user", vouchesForIdentifiers: false, delivery: null };

const CHANNEL_DEFINITIONS: Record<Channel, ChannelDefinition> = {
  api: direct,
  web: direct,
  app: direct,
  voice: direct,
  broadcast: direct,
  whatsapp,
};

export const channelOf = (name: Channel): ChannelDefinition => CHANNEL_DEFINITIONS[name];
