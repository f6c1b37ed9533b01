/** A figure that is measured, and what it must be. */
export interface Bar {
  /** Both, as a sentence. */
  readonly what: string;
  readonly isReached: boolean;
}

/** Prints the bars. Returns whether all were reached. */
export function reached(bars: readonly Bar[]): boolean {
  for (const { what, isReached } of bars) process.stdout.write(`${isReached ? 'reached' : 'MISSED '}  ${what}\n`);
  return bars.every((bar) => bar.isReached);
}
