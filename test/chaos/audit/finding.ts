/** What became of one promise. */
export class Finding {
  readonly invariant: string;
  readonly promise: string;
  checked = 0;
  readonly violations: string[] = [];

  constructor(invariant: string, promise: string) {
    this.invariant = invariant;
    this.promise = promise;
  }

  /** Looks at one thing; `what` says what is wrong with it, if it is. */
  check(isKept: boolean, what: () => string): void {
    this.checked += 1;
    if (!isKept) this.violations.push(what());
  }
}
