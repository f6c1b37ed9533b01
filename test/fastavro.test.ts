/** A stock Avro reader opens every segment and every export, and finds what was appended. */
import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Random } from '../sidecar/storage/random.ts';
import { run } from './cluster/child.ts';
import { pythonPackage, testNeeding } from './requirement.ts';
import { asMap, type ReadEntry, type RespClient, readAll } from './resp-client.ts';
import { RunningSidecar, Workplace } from './running-sidecar.ts';

const fastavro = pythonPackage('fastavro', '1.13.1', 'backports.zstd==1.8.0');
const readerFile = fileURLToPath(new URL('fastavro_reader.py', import.meta.url));
const urls = ['d1', 'd2'];
const collections = ['orders', 'a.b/c', 'Größe', 'trimmed', 'emptied'];
const batches = 40;
const exportStep = 50;
/** More than so many entries take. */
const exportBytes = 2_000_000;
const testLimitMs = 120_000;

/** What `fastavro_reader.py` says of a file. */
interface AvroFile {
  readonly codec: string;
  readonly schema: string;
  readonly collection: string;
  /** Sequence, microseconds, operation, key, payload in hexadecimal. */
  readonly entries: readonly (readonly [number, number, string, string, string])[];
}

type Row = AvroFile['entries'][number];

/** Operation, key and payload of an entry: empty, binary, large ones. */
function makeEntry(random: Random): [string, string, Buffer] {
  const operation = ['INSERT', 'UPDATE', 'DELETE', 'opaque_2'][random.below(4)] ?? '';
  const key = ['', 'k', 'ключ', 'x'.repeat(4096)][random.below(4)] ?? '';
  const bytes = [0, 1, 300, 3000, 100_000][random.below(40) === 0 ? 4 : random.below(4)] ?? 0;
  return [operation, key, Buffer.from(Array.from({ length: bytes }, () => random.below(256)))];
}

/** Appends batches to all collections, with checkpoints in between; resolves with what was appended, by collection. */
async function fill(client: RespClient, random: Random): Promise<Map<string, [string, string, Buffer][]>> {
  const appended = new Map(collections.map((name): [string, [string, string, Buffer][]] => [name, []]));
  for (let batch = 0; batch < batches; batch++) {
    for (const [name, entries] of appended) {
      const added = Array.from({ length: 1 + random.below(6) }, () => makeEntry(random));
      entries.push(...added);
      assert.equal(await client.send('WAL.APPEND', name, '*', ...added.flat()), entries.length);
    }
  }
  await client.send('WAL.FLUSH');
  const count = (name: string): number => appended.get(name)?.length ?? 0;
  await client.send('WAL.CHECKPOINT', 'trimmed', Math.floor(count('trimmed') / 2));
  await client.send('WAL.CHECKPOINT', 'emptied', count('emptied'));
  return appended;
}

async function readWithFastavro(paths: readonly string[]): Promise<AvroFile[]> {
  const environment = { ...process.env, PYTHONPATH: await fastavro.path() };
  const output = await run('python3', [readerFile], { input: paths.join('\n'), environment });
  return output
    .trimEnd()
    .split('\n')
    .map((line): AvroFile => JSON.parse(line));
}

function rowOf({ sequence, timestampUs, operation, key, payload }: ReadEntry): Row {
  return [sequence, timestampUs, operation, key, payload.toString('hex')];
}

async function segmentPaths(workplace: Workplace): Promise<string[]> {
  const paths: string[] = [];
  for (const url of urls) {
    const files = await readdir(workplace.path(url), { recursive: true });
    paths.push(...files.filter((file) => file.endsWith('.avro')).map((file) => workplace.path(url, file)));
  }
  return paths;
}

/** Exports that hold all of the collection from its first kept entry on, each with one entry of the next one at least. */
async function exportAll(client: RespClient, workplace: Workplace, collection: string): Promise<string[]> {
  const statistics = asMap(await client.send('WAL.STAT', collection));
  const paths: string[] = [];
  const [first, next] = [Number(statistics.get('first_sequence')), Number(statistics.get('next_sequence'))];
  for (let from = first; from <= next; from += exportStep) {
    const exported = await client.send('WAL.EXPORT', collection, from, 'BYTES', exportBytes);
    assert.ok(Buffer.isBuffer(exported));
    const path = workplace.path(`export-${collections.indexOf(collection)}-${from}`);
    await writeFile(path, exported);
    paths.push(path);
  }
  return paths;
}

/** The files' entries by collection, in the order of their sequences, without those that stand in two files. */
function rowsOf(files: readonly AvroFile[]): Map<string, Row[]> {
  const rows = new Map<string, Map<number, Row>>();
  for (const { collection, entries } of files) {
    const known = rows.get(collection) ?? new Map<number, Row>();
    for (const row of entries) known.set(row[0], row);
    rows.set(collection, known);
  }
  return new Map([...rows].map(([name, known]) => [name, [...known.values()].toSorted((a, b) => a[0] - b[0])]));
}

async function compare(workplace: Workplace, compression: string, codec: string): Promise<string> {
  const configuration = workplace.configuration(urls, { memory_flush_size_bytes: 20_000, compression });
  const sidecar = await RunningSidecar.start({ workplace, configuration });
  try {
    const client = await sidecar.connect();
    const appended = await fill(client, new Random(7));
    const read = new Map<string, Row[]>();
    const exports: string[] = [];
    for (const name of collections) {
      read.set(name, (await readAll(client, name)).map(rowOf));
      exports.push(...(await exportAll(client, workplace, name)));
    }
    const exported = rowsOf(await readWithFastavro(exports));
    assert.equal(await sidecar.stop(), 0);
    const segments = await readWithFastavro(await segmentPaths(workplace));
    const stored = rowsOf(segments);
    for (const [name, entries] of appended) {
      const rows = read.get(name) ?? [];
      const first = entries.length - rows.length;
      const expected = entries.slice(first).map(([operation, key, payload], index): Row => {
        return [first + index + 1, rows[index]?.[1] ?? 0, operation, key, payload.toString('hex')];
      });
      assert.deepEqual(rows, expected, `${name}: WAL.READ`);
      assert.deepEqual(exported.get(name) ?? [], expected, `${name}: exports`);
      assert.deepEqual((stored.get(name) ?? []).slice(-rows.length || entries.length), expected, `${name}: segments`);
    }
    assert.equal(read.get('emptied')?.length, 0);
    const withEntries = segments.filter((file) => file.entries.length > 0);
    assert.ok(segments.some((file) => file.collection === 'emptied' && file.entries.length === 0));
    assert.ok(segments.every((file) => file.schema === 'io.proximadb.wal.WalEntry'));
    assert.ok(withEntries.every((file) => file.codec === codec));
    return `${segments.length} segments, ${segments.length - withEntries.length} without entries, ${exports.length} exports`;
  } finally {
    await sidecar.kill();
  }
}

for (const [compression, codec] of [
  ['none', 'null'],
  ['deflate', 'deflate'],
  ['zstd', 'zstandard'],
] as const) {
  testNeeding(
    [fastavro],
    `fastavro reads every segment and export, compression ${compression}`,
    { timeout: testLimitMs },
    async (t) => {
      const workplace = await Workplace.make();
      try {
        t.diagnostic(await compare(workplace, compression, codec));
      } finally {
        await workplace.end();
      }
    },
  );
}
