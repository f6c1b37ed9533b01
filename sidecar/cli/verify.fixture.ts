/** Directories and a configuration for the tests of `verify`, made with the parts that a sidecar makes them with. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import type { Component } from '../assignment/assignment.ts';
import { createCollectionFile } from '../assignment/collection-file.ts';
import { escapeCollection } from '../assignment/directory-name.ts';
import { type NamedUrl, writeUrlFile } from '../assignment/url-file.ts';
import type { Compression } from '../config/configuration.ts';
import { Journal } from '../journal/journal.ts';
import { DiskFileSystem } from '../storage/disk.ts';
import { openFileStorage } from '../storage/file.ts';
import type { Storage } from '../storage/storage.ts';
import type { Finding } from '../verify/finding.ts';
import { encodeEntry } from '../wal/entry.ts';
import type { EntryRun } from '../wal/memory.ts';
import { encodeSegment, segmentName } from '../wal/segment.ts';
import type { OutputForm } from './terminal.ts';
import { verify } from './verify.ts';

const assignedAt = '2026-11-01T00:00:00.000Z';

/** A hex id of 32 digits made of one digit. */
export const id = (digit: string) => digit.repeat(32);

/** A configuration over directories of a temporary one: two for the WAL, one for VIPER. */
export class Setup {
  readonly root: string;
  readonly configFile: string;
  readonly walUrls: string[];
  readonly viperUrl: string;
  readonly #context: TestContext;

  constructor(context: TestContext, root: string) {
    this.#context = context;
    this.root = root;
    this.configFile = join(root, 'walstorage.toml');
    this.walUrls = ['w0', 'w1'].map((name) => `file://${root}/${name}`);
    this.viperUrl = `file://${root}/viper`;
  }

  /** A URL's storage with its `_url.json`. */
  async storage(name: string, component: Component, ownId: string, others: NamedUrl[] = []): Promise<Storage> {
    const directory = join(this.root, name);
    await mkdir(directory, { recursive: true });
    const storage = openFileStorage(`file://${directory}`, directory, new DiskFileSystem());
    this.#context.after(() => storage.close());
    await writeUrlFile(storage, { id: ownId, component, affinityWasFalse: false, others, forgotten: [] });
    return storage;
  }

  async verify(output: OutputForm = 'text'): Promise<{ status: number; stdout: string; stderr: string }> {
    const stdout = new Text();
    const stderr = new Text();
    const status = await verify({ config: this.configFile, output }, { stdout, stderr, environment: {} });
    return { status, stdout: stdout.text, stderr: stderr.text };
  }

  async findings(): Promise<{ status: number; wrong: string[]; notes: string[] }> {
    const { status, stdout } = await this.verify('json');
    const { findings }: { findings: Finding[] } = JSON.parse(stdout);
    const say = (level: Finding['level']) =>
      findings
        .filter((found) => found.level === level)
        .map(({ where, problem }) => `${where}: ${problem}`.replaceAll(this.root, ''));
    return { status, wrong: say('wrong'), notes: say('note') };
  }
}

class Text extends Writable {
  text = '';

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

export async function setUp(context: TestContext): Promise<Setup> {
  const root = await mkdtemp(join(tmpdir(), 'walstorage-verify-'));
  context.after(() => rm(root, { recursive: true }));
  const setup = new Setup(context, root);
  const lines = [
    '[storage.wal_config]',
    `wal_urls = ${JSON.stringify(setup.walUrls)}`,
    'linger_ms = 20',
    '[storage.viper_config]',
    `data_urls = ["${setup.viperUrl}"]`,
  ];
  await writeFile(setup.configFile, `${lines.join('\n')}\n`);
  return setup;
}

function runOf(first: number, last: number, payloadBytes = 100): EntryRun {
  const count = last - first + 1;
  const bytes = Buffer.alloc(count * (payloadBytes + 64));
  let at = 0;
  for (let sequence = first; sequence <= last; sequence += 1) {
    const payload = Buffer.alloc(payloadBytes, sequence);
    at = encodeEntry(bytes, at, sequence, 1_700_000_000_000_000, Buffer.from('INSERT'), Buffer.from('key'), payload);
  }
  return { first, count, bytes: bytes.subarray(0, at) };
}

export async function addCollection(storage: Storage, collection: string, incarnation: string): Promise<void> {
  await createCollectionFile(storage, { collection, incarnation, assignedAt });
}

interface SegmentOf {
  readonly collection: string;
  readonly incarnation: string;
  readonly first: number;
  readonly last: number;
  readonly checkpoint?: number;
  readonly compression?: Compression;
  readonly payloadBytes?: number;
}

export async function addSegment(storage: Storage, segment: SegmentOf): Promise<string> {
  const { collection, incarnation, first, last, checkpoint = 0, compression = 'none', payloadBytes } = segment;
  const runs = last < first ? [] : [runOf(first, last, payloadBytes)];
  const path = `${escapeCollection(collection)}/${segmentName(first, last)}`;
  await storage.publish(path, await encodeSegment({ collection, incarnation, checkpoint }, compression, runs));
  return path;
}

/** A journal with a frame of its own for each range, and the records given. */
export async function addJournal(
  storage: Storage,
  frames: readonly {
    name: string;
    incarnation: string;
    first: number;
    last: number;
    damage?: string;
    drop?: boolean;
  }[],
): Promise<Journal> {
  const journal = new Journal({ storage, epoch: 1, fileBytesMax: 1024 * 1024 });
  await journal.writeRecovered();
  for (const { name, incarnation, first, last, damage, drop } of frames) {
    const run = last < first ? { count: 0, bytes: Buffer.alloc(0) } : runOf(first, last);
    const kind = drop === true ? 'drop' : 'state';
    const isRecord = drop === true || damage !== undefined;
    await journal.write(
      {
        collections: [{ name, incarnation, first, last }],
        batches: run.count === 0 ? [] : [{ collection: 0, entries: run.count, bytes: run.bytes.length }],
        records: isRecord ? [{ kind, collection: 0, nextSequence: last + 1, checkpoint: 0, damage: damage ?? '' }] : [],
      },
      run.bytes,
    );
    await journal.sync();
  }
  await journal.close();
  return journal;
}

/** Two whole WAL URLs and one of VIPER, that know each other. */
export async function whole(setup: Setup): Promise<[Storage, Storage, Storage]> {
  const [zero = '', one = ''] = setup.walUrls;
  return [
    await setup.storage('w0', 'wal', id('a'), [{ id: id('b'), url: one }]),
    await setup.storage('w1', 'wal', id('b'), [{ id: id('a'), url: zero }]),
    await setup.storage('viper', 'viper', id('c')),
  ];
}
