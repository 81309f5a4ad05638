import { INSTANCE } from "../support/demo.ts";
import { tokenFor } from "../support/tokens.ts";
import { messages, newNumber, sign, text } from "../support/whatsapp.ts";
import { send } from "./load.ts";
import type { Call } from "./load.ts";
import type { Stage } from "./stage.ts";

export type Floor = keyof typeof FLOORS;

/** An operation of Parley, its floor and the expected status. */
export type Scenario = {
  name: string;
  floor: Floor;
  status: number;
  next: () => Call;
  /** Requests per second. Set where the response precedes the work: at full speed requests would wait for earlier work. */
  pace?: number;
};

/** Enough that no two callers use the same conversation at once. */
const CONVERSATIONS = 200;
const CONTENT = "Where is my order? I was told that it would be here on Monday.";

/** Floors with their description. */
export const FLOORS = {
  route: "a bare Hono route",
  query: "a bare route with one Postgres query",
  object: "one object call with one write",
  turn: "a bare turn",
  "first-turn": "a bare turn in a new object",
} as const;

let last = 0;
const fresh = (prefix: string): string => `${prefix}-${process.pid}-${(last += 1)}`;

/** Cycles through the items. */
function inTurn<Item>(items: readonly Item[]): () => Item {
  let index = -1;
  return () => items[(index = (index + 1) % items.length)]!;
}
const named = (prefix: string, count: number) => Array.from({ length: count }, (_, index) => `${prefix}-${index}`);

/** A message of a user identified by a device id. */
export const message = ({ parley }: Stage, device: string, requestId = fresh("m")): Call => ({
  url: `${parley}/api/messages`,
  body: JSON.stringify({
    ...{ instance_id: INSTANCE.chat, request_id: requestId, content: CONTENT },
    user: { device_id: device },
  }),
});

/** Cycles through this many users. */
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

/** Creates the conversations, then returns the scenarios. */
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
  // Each caller has its own conversation, as in a voice call.
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
