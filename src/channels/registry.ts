import type { Channel } from "../domain/channel.ts";
import type { ChannelDefinition } from "./channel.ts";
import { whatsapp } from "./whatsapp/channel.ts";

/** A channel with a caller that names the user and receives the reply in the response. */
const direct: ChannelDefinition = { addressedBy: "user", vouchesForIdentifiers: false, delivery: null };

/** A call. Its own value: a voice instance is not reached through the chat channels. */
const voice: ChannelDefinition = { ...direct };

const CHANNEL_DEFINITIONS: Record<Channel, ChannelDefinition> = {
  api: direct,
  web: direct,
  app: direct,
  voice,
  broadcast: direct,
  whatsapp,
};

export const channelOf = (name: Channel): ChannelDefinition => CHANNEL_DEFINITIONS[name];

/** Channels of one kind share a definition: an instance of one can be reached through the others. */
export const isSameKind = (a: Channel, b: Channel): boolean => channelOf(a) === channelOf(b);
