/** The result of checking one guarantee. */
export class Finding {
  readonly invariant: string;
  readonly guarantee: string;
  checked = 0;
  readonly violations: string[] = [];

  constructor(invariant: string, guarantee: string) {
    this.invariant = invariant;
    this.guarantee = guarantee;
  }

  /** Checks one thing; `what` describes the violation. */
  check(isKept: boolean, what: () => string): void {
    this.checked += 1;
    if (!isKept) this.violations.push(what());
  }
}
