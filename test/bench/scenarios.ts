import { INSTANCE } from "../support/demo.ts";
import { tokenFor } from "../support/tokens.ts";
import { messages, newNumber, sign, text } from "../support/whatsapp.ts";
import { send } from "./load.ts";
import type { Call } from "./load.ts";
import type { Stage } from "./stage.ts";

export type Floor = "route" | "object" | "turn";

/** Something Parley does, with the bare piece of the runtime it is measured beside and the status of its answer. */
export type Scenario = { name: string; floor: Floor; status: number; next: () => Call };

/** So many that no two callers ever speak in the same conversation at once. */
const CONVERSATIONS = Number(process.env.CONV ?? 200);
const CONTENT = "Where is my order? I was told that it would be here on Monday.";

const FLOORS: Record<Floor, string> = {
  route: "a bare Hono route",
  object: "one object call that writes once",
  turn: "the bare shape of a turn",
};

export const floorName = (floor: Floor): string => FLOORS[floor];

let last = 0;
const fresh = (prefix: string): string => `${prefix}-${process.pid}-${(last += 1)}`;
/** One conversation after the other, round and round. */
function turns<Item>(items: readonly Item[]): () => Item {
  let index = -1;
  return () => items[(index = (index + 1) % items.length)]!;
}

/** A message of somebody who is known by a device. */
export const message = (url: string, device: string, requestId = fresh("m")): Call => ({
  url: `${url}/api/messages`,
  body: JSON.stringify({
    ...{ instance_id: INSTANCE.chat, request_id: requestId, content: CONTENT },
    user: { device_id: device },
  }),
});

export const floorCalls = ({ floor }: Stage): Record<Floor, () => Call> => {
  const conversation = turns(Array.from({ length: CONVERSATIONS }, (_, index) => `floor-${index}`));
  const call = (path: string) => (): Call => ({
    url: `${floor}/${path}`,
    body: JSON.stringify({ conversation: conversation(), content: CONTENT }),
  });
  return { route: call("route"), object: call("object"), turn: call("turn") };
};

export const device = turns(Array.from({ length: CONVERSATIONS }, (_, index) => `bench-${index}`));

/** Makes the conversations the scenarios speak in, then gives the scenarios. */
export async function scenarios({ parley }: Stage): Promise<Scenario[]> {
  const known: { session: string; token: string; call: Call }[] = [];
  const numbers: string[] = [];
  for (let index = 0; index < CONVERSATIONS; index += 1) {
    const call = message(parley, device());
    const { data } = JSON.parse((await send(call)).body);
    known.push({ session: data.session_id, token: await tokenFor(data.user_id), call });
    numbers.push(newNumber());
  }
  const webhook = (): Call => {
    const body = JSON.stringify(messages(text({ phone: number() }, CONTENT)));
    return { url: `${parley}/webhooks/whatsapp`, headers: { "X-Hub-Signature-256": sign(body) }, body };
  };
  const [number, person] = [turns(numbers), turns(known)];
  for (const _ of numbers) await send(webhook());
  const conversation = ({ session, token }: (typeof known)[number]) => ({
    url: `${parley}/api/v1/conversations/${session}/messages`,
    headers: { Authorization: `Bearer ${token}` },
  });
  const transcript = JSON.stringify({ role: "user", content: CONTENT });
  return [
    { name: "warm message", floor: "turn", status: 200, next: () => message(parley, device()) },
    { name: "first contact", floor: "turn", status: 200, next: () => message(parley, fresh("device")) },
    { name: "duplicate", floor: "object", status: 409, next: () => person().call },
    { name: "history page", floor: "route", status: 200, next: () => ({ ...conversation(person()), method: "GET" }) },
    {
      name: "transcript save",
      ...{ floor: "object", status: 201 },
      next: () => ({ ...conversation(person()), body: transcript }),
    },
    { name: "webhook acknowledgement", floor: "object", status: 200, next: webhook },
  ];
}
