/** How long to wait before the next attempt after failures. */
export interface Backoff {
  readonly firstMs: number;
  readonly maxMs: number;
}

/**
 * The pause after the `failures`th failure in a row (from 1), in milliseconds: doubling from `firstMs` to `maxMs`,
 * and of that a random half to whole, so that many clients of a returning server don't come at once.
 */
export function pauseMs(backoff: Backoff, failures: number, random: () => number = Math.random): number {
  const full = Math.min(backoff.maxMs, backoff.firstMs * 2 ** Math.min(failures - 1, 30));
  return full * (0.5 + random() / 2);
}
