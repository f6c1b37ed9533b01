/**
 * A new epoch of a URL's journal (E17): everything that only older epochs hold and that is still needed is written into it and
 * synced; then the `recovered` frame, by itself. From then on the older files are void, and go.
 */
import type { SyncMode } from '../config/configuration.ts';
import { WalError } from '../errors.ts';
import { damagedPrefix, journalDirectory } from '../journal/file-name.ts';
import { dropRecord, type FrameBatch, type FrameCollection, type FrameRecord } from '../journal/frame.ts';
import { Journal } from '../journal/journal.ts';
import { isTemporaryName } from '../storage/file.ts';
import type { Collection } from './collection.ts';
import type { Committer } from './committer.ts';

/** A frame is written when it holds so much. */
const frameBytes = 1024 * 1024;
const frameRecords = 1000;

/** What earlier epochs left in the `_journal` directory of a URL. */
export interface OldJournal {
  /** No epoch was above it. */
  highestEpoch: number;
  /** Names of files, to be deleted once the new epoch has recovered. */
  files: string[];
  /** Those of them that are kept under another name because they hold damage, or what a repair may need (E21). */
  damagedFiles: ReadonlySet<string>;
}

/**
 * Starts the next epoch of the committer's journal with what its collections hold in memory, their states, and its drops in
 * force. Throws NOSPACE or UNAVAILABLE; what was written so far is void then, and removed, or noted in `old` for the next try.
 * `onProgress` is called after each frame.
 */
export async function startEpoch(
  committer: Committer,
  old: OldJournal,
  fileBytesMax: number,
  syncMode: SyncMode,
  onProgress: () => void,
): Promise<Journal> {
  const { storage, use } = committer;
  const epoch = ++old.highestEpoch;
  const journal = new Journal({ storage, epoch, fileBytesMax });
  journal.durableWrites = false;
  use.clear();
  try {
    const writer = new EpochWriter(journal, committer, onProgress);
    for (const collection of [...committer.collections, ...committer.guests]) await writer.writeCollection(collection);
    for (const [incarnation, drop] of use.drops) drop.file = await writer.writeDrop(drop.name, incarnation);
    await writer.flush();
    await journal.writeRecovered();
  } catch (error) {
    await journal.close();
    await giveUp(committer, old, journal, error);
    throw error;
  }
  journal.durableWrites = syncMode === 'Always';
  await discardOldFiles(committer, old);
  return journal;
}

/** An epoch that never recovered is void (E18): where there was no room for it, it must not take what room there is. */
async function giveUp(committer: Committer, old: OldJournal, journal: Journal, error: unknown): Promise<void> {
  const names = journal.files.map((file) => file.name);
  const isFull = error instanceof WalError && error.code === 'NOSPACE';
  try {
    if (isFull) await committer.storage.remove(journalDirectory, names);
    else old.files.push(...names);
  } catch {
    old.files.push(...names);
  }
}

async function discardOldFiles(committer: Committer, old: OldJournal): Promise<void> {
  const { storage } = committer;
  for (const name of old.files.filter((file) => old.damagedFiles.has(file))) {
    await storage.rename(journalDirectory, name, `${damagedPrefix}${name}`);
  }
  const names = (await storage.list(journalDirectory)).map(({ name }) => name);
  // Whoever died while making a journal file left it under a temporary name; nobody makes one now.
  const needless = [...old.files.filter((file) => !old.damagedFiles.has(file)), ...names.filter(isTemporaryName)];
  if (needless.length > 0) await storage.remove(journalDirectory, needless);
  old.files = [];
}

/** Gathers what collections hold into frames. */
class EpochWriter {
  readonly #journal: Journal;
  readonly #committer: Committer;
  readonly #onProgress: () => void;
  #collections: FrameCollection[] = [];
  #batches: FrameBatch[] = [];
  #records: FrameRecord[] = [];
  #body: Buffer[] = [];
  #bodyBytes = 0;
  #touched = new Map<Collection, number>();
  #stated: Collection[] = [];

  constructor(journal: Journal, committer: Committer, onProgress: () => void) {
    this.#journal = journal;
    this.#committer = committer;
    this.#onProgress = onProgress;
  }

  async writeCollection(collection: Collection): Promise<void> {
    const { name, incarnation, checkpoint, published, damage } = collection;
    for (const run of collection.memory.runsFrom(checkpoint + 1)) {
      const last = run.first + run.count - 1;
      this.#batches.push({ collection: this.#collections.length, entries: run.count, bytes: run.bytes.length });
      this.#collections.push({ name, incarnation, first: run.first, last });
      this.#touched.set(collection, last);
      this.#body.push(run.bytes);
      this.#bodyBytes += run.bytes.length;
      if (this.#bodyBytes >= frameBytes) await this.flush();
    }
    const hasState = published > 0 || checkpoint > 0 || damage !== '';
    if (!hasState) return;
    if (collection.home === this.#committer) this.#stated.push(collection);
    await this.#addRecord(name, incarnation, { kind: 'state', nextSequence: published + 1, checkpoint, damage });
  }

  /** Resolves with the number of the file that the record went into. */
  async writeDrop(name: string, incarnation: string): Promise<number> {
    await this.#addRecord(name, incarnation, dropRecord);
    return this.flush();
  }

  /** Writes what is gathered. */
  async flush(): Promise<number> {
    if (this.#collections.length === 0) return 0;
    const content = { collections: this.#collections, batches: this.#batches, records: this.#records };
    const file = await this.#journal.write(content, Buffer.concat(this.#body));
    this.#onProgress();
    this.#committer.use.note(
      file,
      Array.from(this.#touched, ([collection, last]) => ({ collection, last })),
    );
    for (const collection of this.#stated) collection.stateFile = file;
    this.#collections = [];
    this.#batches = [];
    this.#records = [];
    this.#body = [];
    this.#bodyBytes = 0;
    this.#touched = new Map();
    this.#stated = [];
    return file;
  }

  async #addRecord(name: string, incarnation: string, record: Omit<FrameRecord, 'collection'>): Promise<void> {
    this.#records.push({ ...record, collection: this.#collections.length });
    this.#collections.push({ name, incarnation, first: record.nextSequence, last: record.nextSequence - 1 });
    if (this.#records.length >= frameRecords) await this.flush();
  }
}
