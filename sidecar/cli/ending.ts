/** When a process that runs until it is told to end has to: SIGTERM (Kubernetes, npm) or SIGINT (Ctrl-C). */

const signals = ['SIGTERM', 'SIGINT'] as const;
/** Exit statuses of a process that a signal ended, as shells show them. */
const statuses: Readonly<Record<(typeof signals)[number], number>> = { SIGTERM: 143, SIGINT: 130 };
/**
 * A terminal sends Ctrl-C to npm and to us, and npm passes it on: so soon after the first, a signal is the same request
 * again, and no wish for an end at once.
 */
const sameRequestMs = 1_000;

/**
 * Resolves with the first signal: time for an end in good order. From then on a signal that comes later than a second after
 * the first ends the process at once. Call it once.
 */
export async function endingSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let firstMs: number | undefined;
    for (const signal of signals) {
      process.on(signal, () => {
        firstMs ??= performance.now();
        if (performance.now() - firstMs > sameRequestMs) process.exit(statuses[signal]);
        resolve(signal);
      });
    }
  });
}

/**
 * Ends a process that waited for a signal. Node's own end, when nothing is left to do, first takes the handlers of signals
 * away, so that the one that npm passes on a little late would still kill the process and its exit status be lost.
 */
export async function end(status: Promise<number>): Promise<never> {
  process.exit(await status);
}
