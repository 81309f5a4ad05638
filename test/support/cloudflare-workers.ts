/** Stands in for `cloudflare:workers` outside the runtime: the base class of an object, with its two fields. */
export class DurableObject {
  readonly ctx: unknown;
  readonly env: unknown;

  constructor(ctx: unknown, env: unknown) {
    this.ctx = ctx;
    this.env = env;
  }
}
