/** What the tests of journals share: storage over a simulated machine, frames to write, and who collects what is replayed. */
import { openFileStorage } from '../storage/file.ts';
import type { SimulatedFileSystem } from '../storage/simulated.ts';
import type { Storage } from '../storage/storage.ts';
import { journalDirectory } from './file-name.ts';
import type { FrameContent, FrameHeader } from './frame.ts';
import { Journal } from './journal.ts';
import { type JournalDamage, type Replay, type ReplayHandler, replayJournal } from './replay.ts';

const root = '/disks/1';

/** A URL on the machine; its directory is made, and locked. */
export async function mount(fileSystem: SimulatedFileSystem): Promise<Storage> {
  const storage = openFileStorage(`file://${root}`, root, fileSystem);
  await storage.lock('test', 0);
  return storage;
}

export function newJournal(storage: Storage, epoch: number, fileBytesMax = 1024 * 1024): Journal {
  return new Journal({ storage, epoch, fileBytesMax });
}

/** The content of a frame with one batch of `count` entries of the collection `name`, whose body is `body`. */
export function batchOf(name: string, first: number, count: number, body: Uint8Array): FrameContent {
  const incarnation = Buffer.from(name.padEnd(16, '.')).toString('hex');
  return {
    collections: [{ name, incarnation, first, last: first + count - 1 }],
    batches: [{ collection: 0, entries: count, bytes: body.length }],
    records: [],
  };
}

/** Writes one frame whose body is `text`; resolves with its file's number. */
export async function writeText(journal: Journal, name: string, sequence: number, text: string): Promise<number> {
  const body = Buffer.from(text);
  return journal.write(batchOf(name, sequence, 1, body), body);
}

/** Keeps the frames it is given: bodies as text, `undefined` where damaged. */
export class Collector implements ReplayHandler {
  readonly headers: FrameHeader[] = [];
  readonly bodies: (string | undefined)[] = [];
  readonly damages: JournalDamage[] = [];

  frame(header: FrameHeader, body: Buffer | undefined): void {
    this.headers.push(header);
    this.bodies.push(body?.toString('latin1'));
  }

  damage(damage: JournalDamage): void {
    this.damages.push(damage);
  }

  /** Bodies that aren't empty: those of batches. */
  get texts(): (string | undefined)[] {
    return this.bodies.filter((body) => body !== '');
  }
}

/** What a new process reads of the journal. */
export async function replayed(storage: Storage): Promise<Replay<Collector>> {
  return replayJournal(storage, () => new Collector());
}

/** The names of the journal's files. */
export async function journalFiles(storage: Storage): Promise<string[]> {
  return (await storage.listFiles(journalDirectory)).map((file) => file.name);
}

/** Replaces a journal file's bytes by what `change` makes of them, as a bad disk does. */
export async function spoil(storage: Storage, name: string, change: (bytes: Buffer) => Uint8Array): Promise<void> {
  const path = `${journalDirectory}/${name}`;
  await storage.publish(path, [change(await storage.read(path))]);
}

/** The bytes with the bit `bit` of the byte at `offset` turned over. */
export function flipBit(bytes: Buffer, offset: number, bit = 0): Buffer {
  const spoiled = Buffer.from(bytes);
  spoiled[offset] = (spoiled[offset] ?? 0) ^ (1 << bit);
  return spoiled;
}
