/**
 * The address of a conversation: the name of the object that decides for it. All of them are made here, from what is
 * known before any query.
 */

/** A person's chat with an instance. */
export const chatAddress = (instanceId: string, userId: string): string => `${instanceId}:${userId}`;
