import { call, untilKnown } from "../caller.ts";
import type { Reply } from "../caller.ts";
import { sentNow } from "../journal.ts";
import type { Turn } from "../journal.ts";
import type { Scene } from "./scene.ts";
import type { Answer } from "../../../src/domain/submission.ts";

/** A message and its route. */
export type Line = {
  brandId: string;
  requestId: string;
  content: string;
  poison?: boolean;
  path: string;
  headers: Record<string, string>;
  body: Record<string, unknown>;
};

/** The answer of a response: in the body, or inside the error of a duplicate. */
export const answerIn = ({ status, body }: Reply): (Answer & { guest_token?: string }) | undefined =>
  status === 200 ? body.data : body?.error?.details?.cached_response;

/** Starts a message; the returned function sends it once and records the answer. */
export function begin({ world, journal }: Scene, line: Line): () => Promise<Reply | null> {
  const { brandId, requestId, content, poison = false, path, headers, body } = line;
  const turn: Turn = { brandId, requestId, content, poison, answers: [], ...sentNow() };
  journal.turns.push(turn);
  return async () => {
    const reply = await call(world, journal, { path, headers, body });
    const answer = reply && answerIn(reply);
    if (answer) {
      turn.answers.push(answer);
      turn.knownAt ??= Date.now();
    }
    return reply;
  };
}

/** Sends a message until its outcome is known; null when it stays unknown. */
export async function say(scene: Scene, line: Line): Promise<ReturnType<typeof answerIn> | null> {
  const { journal, random } = scene;
  const ask = begin(scene, line);
  // Some are sent twice at once and some again after their answer, as impatient clients and proxies do.
  const [answer] = await Promise.all([
    untilKnown(journal, ask, answerIn),
    ...(random() < 0.15 ? [untilKnown(journal, ask, answerIn)] : []),
  ]);
  if (random() < 0.15) await ask();
  return answer;
}
