import {
  after,
  answerWith,
  breakOff,
  drip,
  endless,
  garbage,
  hang,
  redirect,
  reset,
} from "../../support/orchestrator.ts";
import type { Behaviour } from "../../support/orchestrator.ts";
import { refuse, takeSilently } from "../../support/graph-api.ts";
import type { Behaviour as GraphBehaviour } from "../../support/graph-api.ts";
import { ORCHESTRATOR_TIMEOUT_MS } from "../world.ts";
import { standing } from "./fault.ts";
import type { Fault } from "./fault.ts";

const orchestrator = (name: string, behaviour: Behaviour): Fault =>
  standing("orchestrator", `orchestrator ${name}`, ({ world }) => world.orchestrator.misbehave(behaviour));

const graph = (name: string, behaviour: GraphBehaviour): Fault =>
  standing("graph", `Graph API ${name}`, ({ world }) => {
    let felt = 0;
    world.graph.always((call, response) => {
      felt += 1;
      return behaviour(call, response);
    });
    return { felt: () => felt, stop: () => world.graph.always(null) };
  });

export const orchestratorFaults: readonly Fault[] = [
  orchestrator("answers 500", answerWith({ error: "no" }, 500)),
  orchestrator("never answers", hang),
  orchestrator("answers too late", after(ORCHESTRATOR_TIMEOUT_MS + 500)),
  orchestrator("answers garbage", garbage),
  orchestrator("answers without end", endless),
  orchestrator("drips", drip),
  orchestrator("hangs up", reset),
  orchestrator("breaks off", breakOff),
  orchestrator("redirects", redirect),
];

/** https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes */
export const graphFaults: readonly Fault[] = [
  graph("rate limit", refuse(400, 130429)),
  graph("pair rate limit", refuse(400, 131056)),
  graph("temporarily unavailable", refuse(500, 131016)),
  graph("refuses for good", refuse(400, 131026)),
  graph("answer lost", takeSilently),
];
