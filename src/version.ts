import manifest from "../package.json" with { type: "json" };

/** The service's version, as /healthz and /openapi.json report it. */
export const VERSION: string = manifest.version;
