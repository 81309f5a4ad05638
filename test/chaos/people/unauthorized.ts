import { ACME, ACME_KEY, GLOBEX, GLOBEX_KEY, INSTANCE } from "../../support/demo.ts";
import { tokenFor } from "../../support/tokens.ts";
import { call } from "../caller.ts";
import type { Call } from "../caller.ts";
import { pick } from "../random.ts";
import { goOn } from "./scene.ts";
import type { Scene } from "./scene.ts";

const PAUSE_MS = 250;

/** A client with another brand's key or token, or none, that tries every route of an open conversation. */
export async function unauthorized(scene: Scene): Promise<void> {
  const { world, journal, random } = scene;
  const [someone] = await world.query("insert into users (brand_id, tier) values ($1, 'standard') returning id", [
    ACME,
  ]);
  const neighbour = await tokenFor(someone?.["id"] ?? "", ACME);
  await goOn(scene, PAUSE_MS, async () => {
    const open = journal.turns.filter(({ answers }) => answers.length > 0);
    if (open.length === 0) return;
    const turn = pick(random, open);
    const [answer] = turn.answers;
    if (answer === undefined) return;
    const isAcmes = turn.brandId === ACME;
    const at = `/api/v1/conversations/${answer.session_id}`;
    const foreign = { Authorization: `Bearer ${isAcmes ? GLOBEX_KEY : ACME_KEY}` };
    const words = [{ role: "user", content: "put into somebody's mouth" }];
    const message = {
      instance_id: isAcmes ? INSTANCE.chat : INSTANCE.globex,
      request_id: turn.requestId,
      content: turn.content,
    };
    const doors: Call[] = [
      { method: "GET", path: `${at}/messages`, headers: foreign },
      { method: "GET", path: at, headers: foreign },
      { method: "POST", path: `${at}/messages`, headers: foreign, body: words },
      { method: "POST", path: `${at}/expire`, headers: foreign },
      { method: "DELETE", path: at, headers: foreign },
      { method: "POST", path: "/api/messages", headers: foreign, body: message },
      { method: "GET", path: `${at}/messages`, headers: { Authorization: `Bearer ${neighbour}` } },
      { method: "POST", path: "/api/messages", headers: { Authorization: "Bearer parley_dev_wrong" }, body: message },
      {
        method: "POST",
        path: "/web/messages",
        headers: { Authorization: `Bearer ${await tokenFor(answer.user_id, isAcmes ? GLOBEX : ACME)}` },
        body: message,
      },
    ];
    const door = pick(random, doors);
    const reply = await call(world, journal, door);
    if (reply === null) return;
    journal.look("I6");
    const isClosed = [401, 403, 404].includes(reply.status) || reply.status >= 500;
    const tellsNothing = !JSON.stringify(reply.body ?? null).includes(answer.text);
    if (!isClosed || !tellsNothing)
      journal.breach("I6", `${door.method} ${door.path} answered an unauthorised caller with ${reply.status}`);
  });
}
