import type { ChannelDefinition } from "../channel.ts";
import { renderText, SERVICE_WINDOW_MS, templateRequest, templateText, textRequest } from "./reply.ts";

export const whatsapp: ChannelDefinition = {
  addressedBy: "contact",
  vouchesForIdentifiers: true,
  delivery: {
    serviceWindowMs: SERVICE_WINDOW_MS,
    renderText: (person, referenceOf, { content, replyTo }) =>
      renderText(content).map((body, index) =>
        textRequest({ person, reference: referenceOf(index + 1) }, body, index === 0 ? replyTo : null),
      ),
    renderTemplate: (person, reference, template) => ({
      request: templateRequest({ person, reference }, template),
      text: templateText(template),
    }),
  },
};
