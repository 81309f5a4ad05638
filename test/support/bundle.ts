import type { InstanceBundle } from "../../src/domain/instance.ts";

/** An instance that can answer, for tests that need no database. */
export const demoBundle = (changes: { brandId?: string } = {}): InstanceBundle => ({
  instance: {
    id: "00000000-0000-4000-8000-000000000010",
    brandId: changes.brandId ?? "00000000-0000-4000-8000-000000000001",
    name: "Acme",
    channel: "api",
    recipientNumber: null,
    phoneNumberId: null,
    acceptGuestUsers: true,
  },
  config: {
    id: "00000000-0000-4000-8000-0000000000c1",
    defaultReply: "Sorry",
    sessionTimeoutMinutes: null,
    routingPlanKey: null,
    policy: {},
    templateSet: {
      id: "00000000-0000-4000-8000-0000000000a1",
      name: "Support",
      functions: { response: "reply" },
      templates: {
        reply: {
          id: "00000000-0000-4000-8000-0000000000b1",
          templateKey: "reply",
          name: "Reply",
          sections: [{ name: "system", budget_tokens: 100 }],
          llmModel: {
            id: "00000000-0000-4000-8000-0000000000d1",
            name: "Small",
            apiModelName: "small-1",
            provider: "acme",
            temperature: "0.2",
            inputPricePer1k: "0.15",
            outputPricePer1k: "0.6",
          },
        },
      },
    },
  },
});
