import { INSTANCE } from "../support/demo.ts";
import { tokenFor } from "../support/tokens.ts";
import { messages, newNumber, sign, text } from "../support/whatsapp.ts";
import { send } from "./load.ts";
import type { Call } from "./load.ts";
import type { Stage } from "./stage.ts";

export type Floor = keyof typeof FLOORS;

/** Something Parley does, with the bare piece of the runtime it is measured beside and the status of its answer. */
export type Scenario = {
  name: string;
  floor: Floor;
  status: number;
  next: () => Call;
  /** A second. Set where the answer comes before the work: sent as fast as it goes, each would wait for the work before it. */
  pace?: number;
};

/** So many that no two callers ever speak in the same conversation at once. */
const CONVERSATIONS = 200;
const CONTENT = "Where is my order? I was told that it would be here on Monday.";

/** What a floor is, in words. */
export const FLOORS = {
  route: "a bare Hono route",
  query: "a bare route that asks Postgres once",
  object: "one object call that writes once",
  turn: "the bare shape of a turn",
  "first-turn": "the bare shape of a turn, in a new object",
} as const;

let last = 0;
const fresh = (prefix: string): string => `${prefix}-${process.pid}-${(last += 1)}`;

/** One after the other, round and round. */
function inTurn<Item>(items: readonly Item[]): () => Item {
  let index = -1;
  return () => items[(index = (index + 1) % items.length)]!;
}
const named = (prefix: string, count: number) => Array.from({ length: count }, (_, index) => `${prefix}-${index}`);

/** A message of somebody who is known by a device. */
export const message = ({ parley }: Stage, device: string, requestId = fresh("m")): Call => ({
  url: `${parley}/api/messages`,
  body: JSON.stringify({
    ...{ instance_id: INSTANCE.chat, request_id: requestId, content: CONTENT },
    user: { device_id: device },
  }),
});

/** People who speak one after the other, as many as are asked for. */
export const people = (prefix: string, count = CONVERSATIONS): (() => string) => inTurn(named(prefix, count));

export function floors({ floor }: Stage): Record<Floor, () => Call> {
  const known = inTurn(named("floor", CONVERSATIONS));
  const call = (path: string, conversation: () => string) => (): Call => ({
    url: `${floor}/${path}`,
    body: JSON.stringify({ conversation: conversation(), content: CONTENT }),
  });
  return {
    route: call("route", known),
    query: call("query", known),
    object: call("object", known),
    turn: call("turn", known),
    "first-turn": call("turn", () => fresh("new")),
  };
}

/** Makes the conversations the scenarios speak in, then gives the scenarios. */
export async function scenarios(stage: Stage): Promise<Scenario[]> {
  const device = people("known");
  const known: { session: string; token: string; call: Call }[] = [];
  const numbers: string[] = [];
  const webhook = (): Call => {
    const body = JSON.stringify(messages(text({ phone: number() }, CONTENT)));
    return { url: `${stage.parley}/webhooks/whatsapp`, headers: { "X-Hub-Signature-256": sign(body) }, body };
  };
  for (let index = 0; index < CONVERSATIONS; index += 1) {
    const call = message(stage, device());
    const { data } = JSON.parse((await send(call)).body);
    known.push({ session: data.session_id, token: await tokenFor(data.user_id), call });
    numbers.push(newNumber());
  }
  const [person, number] = [inTurn(known), inTurn(numbers)];
  for (const _ of numbers) await send(webhook());

  const conversation = ({ session, token }: (typeof known)[number]) => ({
    url: `${stage.parley}/api/v1/conversations/${session}/messages`,
    headers: { Authorization: `Bearer ${token}` },
  });
  const transcript = JSON.stringify({ role: "user", content: CONTENT });
  // Each caller has a conversation of their own, as in a call that goes on.
  const busy = people("busy", 16);
  return [
    { name: "warm message", floor: "turn", status: 200, next: () => message(stage, device()) },
    { name: "warm message, 16 conversations", floor: "turn", status: 200, next: () => message(stage, busy()) },
    { name: "first contact", floor: "first-turn", status: 200, next: () => message(stage, fresh("device")) },
    { name: "duplicate", floor: "object", status: 409, next: () => person().call },
    { name: "history page", floor: "query", status: 200, next: () => ({ ...conversation(person()), method: "GET" }) },
    {
      ...{ name: "transcript save", floor: "object", status: 202 },
      next: () => ({ ...conversation(person()), body: transcript }),
    },
    { name: "webhook acknowledgement", floor: "object", status: 200, next: webhook, pace: 25 },
  ];
}
