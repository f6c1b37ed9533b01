/**
 * Appends of 1 KiB over 100 collections, 50 connections, 16 requests in a pipeline, against the same to streams of
 * a Redis that syncs always, on the disk of the checkout. Three runs of each, in turn; medians count.
 */
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { basename, join, relative } from 'node:path';
import { run } from '../test/cluster/child.ts';
import { type Bar, reached } from './bar.ts';
import { MeasuredProcess } from './measured-process.ts';

const runs = 3;
const requests = 400_000;
const payload = 'x'.repeat(1024);
/** The bars. */
const shareOfRedis = 0.6;
const residentBytesMax = 700_000_000;

interface Contender {
  readonly name: string;
  /** The command that is measured; its payload comes behind. */
  readonly request: readonly string[];
  /** Makes ready what it needs in `directory`; resolves with the command that starts it. */
  readonly prepare: (directory: string, socket: string) => Promise<readonly string[]>;
}

const contenders: readonly Contender[] = [
  {
    name: 'walstorage',
    request: ['WAL.APPEND', 'c__rand_int__', '*', 'INSERT', 'k'],
    prepare: async (directory, socket) => {
      const urls = [1, 2, 3, 4].map((number) => `"file://${join(directory, `d${number}`)}"`);
      const file = join(directory, 'bench.toml');
      await writeFile(file, `[storage.wal_config]\nwal_urls = [${urls.join(', ')}]\n`);
      const flags = ['--config', file, '--socket', socket, '--http', '127.0.0.1:0', '--log-level', 'warn'];
      return [process.execPath, 'dist/sidecar/cli/main.js', 'sidecar', ...flags];
    },
  },
  {
    name: 'redis',
    request: ['XADD', 's__rand_int__', '*', 'f'],
    // It goes into its directory before it makes the socket.
    prepare: async (directory, socket) => {
      const durability = ['--appendonly', 'yes', '--appendfsync', 'always', '--save', ''];
      return ['redis-server', '--port', '0', '--unixsocket', basename(socket), '--dir', directory, ...durability];
    },
  },
];

interface Figures {
  readonly appendsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuSeconds: number;
  readonly residentBytes: number;
  readonly segments: number;
  readonly load: number;
}

/** One run in a directory of its own, which is removed. */
async function measure({ prepare, request }: Contender, place: string): Promise<Figures> {
  const directory = await mkdtemp(join(place, 'run-'));
  // Relative: a path to a socket is short.
  const socket = join(relative(process.cwd(), directory), 'bench.sock');
  const server = await MeasuredProcess.start(await prepare(directory, socket), socket, join(directory, 'server.log'));
  try {
    const load = loadavg()[0] ?? 0;
    const cpuSecondsBefore = await server.cpuSeconds();
    const options = ['-s', socket, '-n', String(requests), '-c', '50', '-P', '16', '-r', '100', '--csv', '-x'];
    const report = await run('redis-benchmark', [...options, ...request], { input: payload });
    const cpuSeconds = (await server.cpuSeconds()) - cpuSecondsBefore;
    const residentBytes = await server.peakResidentBytes();
    const files = await readdir(directory, { recursive: true });
    const segments = files.filter((file) => file.endsWith('.avro')).length;
    return { ...parseReport(report), cpuSeconds, residentBytes, segments, load };
  } finally {
    await server.end();
    await rm(directory, { recursive: true });
  }
}

/** The last line: name, requests a second, average, least, median, 95 %, 99 %, greatest latency in milliseconds. */
function parseReport(report: string): Pick<Figures, 'appendsPerSecond' | 'p50Ms' | 'p99Ms'> {
  const line = report.trimEnd().split('\n').at(-1) ?? '';
  // The name holds commas and quotes: fields are counted from the end.
  const fields = line.split(',').map((field) => Number(field.replaceAll('"', '')));
  const [appendsPerSecond = 0, p50Ms = 0, p99Ms = 0] = [fields.at(-7), fields.at(-4), fields.at(-2)];
  if (!(appendsPerSecond > 0)) throw new Error(`redis-benchmark reports no rate: ${report}`);
  return { appendsPerSecond, p50Ms, p99Ms };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

function show(name: string, figures: Figures): string {
  const { appendsPerSecond, p50Ms, p99Ms, cpuSeconds, residentBytes, segments, load } = figures;
  const columns = [
    name.padEnd(12),
    `${Math.round(appendsPerSecond).toLocaleString('en')}/s`.padStart(12),
    `p50 ${p50Ms.toFixed(1)} ms`.padStart(13),
    `p99 ${p99Ms.toFixed(1)} ms`.padStart(13),
    `${cpuSeconds.toFixed(1)} CPU s`.padStart(12),
    `${Math.round(residentBytes / 1e6)} MB`.padStart(9),
    `${segments} segments`.padStart(15),
    `load ${load.toFixed(1)}`.padStart(11),
  ];
  return columns.join('');
}

async function measureAll(place: string): Promise<Map<string, Figures[]>> {
  const found = new Map<string, Figures[]>();
  for (let round = 0; round < runs; round++) {
    for (const contender of contenders) {
      const figures = await measure(contender, place);
      found.set(contender.name, [...(found.get(contender.name) ?? []), figures]);
      process.stdout.write(`${show(contender.name, figures)}\n`);
    }
  }
  return found;
}

function barsOf(found: ReadonlyMap<string, readonly Figures[]>): Bar[] {
  const rate = (name: string): number => median((found.get(name) ?? []).map((figures) => figures.appendsPerSecond));
  const ours = found.get('walstorage') ?? [];
  const residentBytes = Math.max(...ours.map((figures) => figures.residentBytes));
  const segments = Math.min(...ours.map((figures) => figures.segments));
  const share = rate('walstorage') / rate('redis');
  return [
    { what: `${share.toFixed(2)} of Redis (medians); at least ${shareOfRedis}`, isReached: share >= shareOfRedis },
    {
      what: `${Math.round(residentBytes / 1e6)} MB resident at most; below ${residentBytesMax / 1e6}`,
      isReached: residentBytes < residentBytesMax,
    },
    { what: `${segments} segments flushed in each run at least; more than 0`, isReached: segments > 0 },
  ];
}

/** Measures, prints what it finds, and resolves with whether every bar was reached. */
export async function benchAppends(): Promise<boolean> {
  const data = join(process.cwd(), 'data');
  await mkdir(data, { recursive: true });
  const place = await mkdtemp(join(data, 'bench-'));
  try {
    return reached(barsOf(await measureAll(place)));
  } finally {
    await rm(place, { recursive: true });
  }
}
