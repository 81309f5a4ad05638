/** Fixed ids of the demo, so that README commands can be pasted. */
const id = (last: string) => `00000000-0000-4000-8000-${last.padStart(12, "0")}`;

export const ACME = id("1");
export const GLOBEX = id("2");

export const DEMO_INSTANCES = [
  { id: id("10"), brandId: ACME, name: "Acme demo", channel: "api", guests: true },
  { id: id("11"), brandId: ACME, name: "Acme without guests", channel: "api", guests: false },
  { id: id("12"), brandId: ACME, name: "Acme inactive", channel: "api", guests: true, inactive: true },
  {
    id: id("13"),
    brandId: ACME,
    name: "Acme without an active config",
    channel: "api",
    guests: true,
    unconfigured: true,
  },
  {
    id: id("20"),
    brandId: ACME,
    name: "Acme on WhatsApp",
    channel: "whatsapp",
    guests: true,
    recipientNumber: "+15550001111",
    phoneNumberId: "100000000000001",
  },
  { id: id("21"), brandId: ACME, name: "Acme on the phone", channel: "voice", guests: true },
  { id: id("30"), brandId: GLOBEX, name: "Globex demo", channel: "api", guests: true },
] as const satisfies readonly DemoInstance[];

type DemoInstance = {
  id: string;
  brandId: string;
  name: string;
  channel: "api" | "whatsapp" | "voice";
  guests: boolean;
  inactive?: boolean;
  unconfigured?: boolean;
  recipientNumber?: string;
  phoneNumberId?: string;
};

/** Demo brands. Their API keys are published in the README and refused outside development. */
export const DEMO_BRANDS = [
  {
    id: ACME,
    name: "Acme",
    apiKey: { id: id("101"), secret: "parley_dev_acme" },
    model: {
      id: id("102"),
      name: "Acme small model",
      temperature: "0.2",
      inputPrice: "0.00015",
      outputPrice: "0.0006",
    },
    templateSet: { id: id("103"), name: "Acme support" },
    templates: [
      {
        id: id("104"),
        key: "acme_response",
        function: "response",
        name: "Acme: answer",
        sections: [
          { name: "system", content: "You answer for Acme: friendly, short, correct.", budget_tokens: 400 },
          { name: "history", content: "", budget_tokens: 1200 },
          { name: "user", content: "", budget_tokens: 400 },
        ],
      },
      {
        id: id("105"),
        key: "acme_compose",
        function: "compose",
        name: "Acme: compose",
        sections: [
          { name: "system", content: "Put the facts given into one message in Acme's voice.", budget_tokens: 300 },
          { name: "facts", content: "", budget_tokens: 700 },
        ],
      },
    ],
  },
  {
    id: GLOBEX,
    name: "Globex",
    apiKey: { id: id("201"), secret: "parley_dev_globex" },
    model: { id: id("202"), name: "Globex large model", temperature: "0.7", inputPrice: "0.0025", outputPrice: "0.01" },
    templateSet: { id: id("203"), name: "Globex support" },
    templates: [
      {
        id: id("204"),
        key: "globex_response",
        function: "response",
        name: "Globex: answer",
        sections: [
          { name: "system", content: "You answer for Globex: formal and exact.", budget_tokens: 500 },
          { name: "history", content: "", budget_tokens: 1500 },
        ],
      },
      {
        id: id("205"),
        key: "globex_compose",
        function: "compose",
        name: "Globex: compose",
        sections: [{ name: "system", content: "Put the facts given into one formal message.", budget_tokens: 600 }],
      },
    ],
  },
] as const;
