/**
 * The operator with 1,000 WalStorages and 3,000 pods that exist in the API alone, 50 changes a second for 5 minutes, its
 * connections cut and the API server restarted meanwhile; against a bare writer at a tenth of that rate, at the same
 * time, through the same proxy. `test/operator-scale.ts` is the scene; `test/operator-churn.ts` says what a change is.
 */
import { loadavg } from 'node:os';
import type { ShownChange } from '../test/operator-churn.ts';
import { measureScale, percentile99, type ScaleFigures } from '../test/operator-scale.ts';
import { type Bar, reached } from './bar.ts';

const storages = 1_000;
const perSecond = 50;
const seconds = 300;
/** The bars. */
const timesOfBareMax = 2;
const requestsOfBareMax = 1.5;
const residentBytesMax = 250_000_000;

const kinds = ['spec', 'report', 'deleted', 'created'] as const;

/** Measures, prints what it finds, and resolves with whether every bar was reached. */
export async function benchOperator(): Promise<boolean> {
  const program = 'dist/sidecar/cli/main.js';
  const startMs = performance.now();
  const onProgress = (line: string): void => {
    const elapsed = `${Math.round((performance.now() - startMs) / 1000)} s`;
    process.stdout.write(`${elapsed.padStart(6)}  ${line} (load ${(loadavg()[0] ?? 0).toFixed(1)})\n`);
  };
  const figures = await measureScale({ storages, changes: perSecond * seconds, perSecond, program, onProgress });
  for (const kind of [undefined, ...kinds]) {
    const [operator, bare] = [figures.operator, figures.bare].map((side) =>
      side.changes.filter((change) => kind === undefined || change.kind === kind),
    );
    process.stdout.write(`${(kind ?? 'all').padEnd(8)} operator ${show(operator)}   bare ${show(bare)}\n`);
  }
  return reached(barsOf(figures));
}

function show(changes: readonly ShownChange[] = []): string {
  const times = changes.map(({ shownAfterMs }) => shownAfterMs).toSorted((a, b) => a - b);
  const at = (part: number): string => `${(times[Math.floor(times.length * part)] ?? 0).toFixed(0)} ms`.padStart(8);
  return `${String(times.length).padStart(6)} changes  p50 ${at(0.5)}  p99 ${at(0.99)}  max ${at(1 - 1e-9)}`;
}

function barsOf({ operator, bare, peakResidentBytes, drift }: ScaleFigures): Bar[] {
  const timeOf = ({ changes }: typeof operator): number =>
    percentile99(changes.map(({ shownAfterMs }) => shownAfterMs));
  const times = timeOf(operator) / timeOf(bare);
  const requests = percentile99(operator.requests) / percentile99(bare.requests);
  const sums = [operator, bare].map(
    (side) => side.requests.reduce((sum, count) => sum + count, 0) / side.requests.length,
  );
  const [mean = 0, bareMean = 0] = sums;
  return [
    { what: `${drift} objects had drifted; none may`, isReached: drift === 0 },
    {
      what: `${Math.round(peakResidentBytes / 1e6)} MB resident at most; below ${residentBytesMax / 1e6}`,
      isReached: peakResidentBytes < residentBytesMax,
    },
    {
      what:
        `change to status, 99th percentile: ${timeOf(operator).toFixed(0)} ms, ${times.toFixed(2)} × the bare ` +
        `writer's ${timeOf(bare).toFixed(0)} ms; at most ${timesOfBareMax}`,
      isReached: times <= timesOfBareMax,
    },
    {
      what:
        `requests a change, 99th percentile: ${percentile99(operator.requests)}, ${requests.toFixed(2)} × the bare ` +
        `writer's; at most ${requestsOfBareMax} (mean ${mean.toFixed(2)} and ${bareMean.toFixed(2)})`,
      isReached: requests <= requestsOfBareMax,
    },
  ];
}
