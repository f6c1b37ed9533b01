/** One WAL URL's journal: every frame against its checksums, and what they say of the collections. */

import { systemCode } from '../errors.ts';
import { damagedPrefix, journalDirectory } from '../journal/file-name.ts';
import type { FrameHeader } from '../journal/frame.ts';
import { type JournalDamage, type ReplayHandler, replayJournal } from '../journal/replay.ts';
import type { Storage } from '../storage/storage.ts';
import type { DirectoryView } from './directory.ts';
import type { Finding } from './finding.ts';
import { Sequences } from './sequences.ts';

export interface JournalHoldings {
  readonly journalFiles: number;
  readonly journalBytes: number;
}

/** Reads a URL's whole journal; what its frames hold goes to `sequences`. */
export async function verifyJournal(
  { url, storage }: DirectoryView,
  sequences: Sequences,
  findings: Finding[],
): Promise<JournalHoldings> {
  if (storage === undefined) return { journalFiles: 0, journalBytes: 0 };
  const where = `${url}/${journalDirectory}`;
  try {
    const replay = await replayJournal(storage, () => new Listener(url));
    if (replay.handler !== undefined) sequences.merge(replay.handler.heard);
    findings.push(...replay.damages.map((damage) => damageFinding(where, damage)));
    if (replay.uncleanEnd !== undefined) {
      const { file, offset, bytes } = replay.uncleanEnd;
      const problem = `ends in ${bytes} bytes, from offset ${offset}, of a write that was under way or interrupted`;
      const remedy = 'nothing to do: what stands there was never acknowledged, and the next start cuts it';
      findings.push({ level: 'note', where: `${where}/${file}`, problem, remedy });
    }
    await noteSetAside(storage, where, findings);
    return { journalFiles: replay.files.length, journalBytes: replay.bytes };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const remedy = 'give this user the right to read it, and check the disk';
    findings.push({ level: 'wrong', where, problem: `cannot be read: ${reason}`, remedy });
    return { journalFiles: 0, journalBytes: 0 };
  }
}

/** Hears one epoch: what its frames hold, and what their records say. */
class Listener implements ReplayHandler {
  readonly heard = new Sequences();
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  frame({ collections, records }: FrameHeader, body: Buffer | undefined): void {
    // What stood in a damaged body is lost; that is a damage of its own.
    if (body !== undefined) for (const collection of collections) this.heard.add({ ...collection, url: this.#url });
    for (const record of records) {
      const collection = collections[record.collection];
      if (collection === undefined || record.kind === 'recovered') continue;
      if (record.kind === 'drop') this.heard.drop(collection.incarnation);
      else this.heard.state({ ...record, name: collection.name, incarnation: collection.incarnation });
    }
  }

  damage(): void {
    // `replayJournal` gives all damages back at its end.
  }
}

function damageFinding(where: string, { file, offset, bytes, collections }: JournalDamage): Finding {
  const names = collections?.map(({ name, first, last }) => `${JSON.stringify(name)} (${first} to ${last})`);
  const lost = names === undefined ? 'which collections lose entries is not known' : `it held ${names.join(', ')}`;
  return {
    level: 'wrong',
    where: `${where}/${file}`,
    problem: `is damaged: ${bytes} bytes from offset ${offset}, once durable, do not match their checksums; ${lost}`,
    remedy: 'restore the file from a copy, or drop the collections that are DAMAGED',
  };
}

async function noteSetAside(storage: Storage, where: string, findings: Finding[]): Promise<void> {
  try {
    for (const { name } of await storage.list(journalDirectory)) {
      if (!name.startsWith(damagedPrefix)) continue;
      const problem = 'is a journal file that held damage, set aside at a recovery';
      findings.push({
        level: 'note',
        where: `${where}/${name}`,
        problem,
        remedy: 'remove it when it is needed no more',
      });
    }
  } catch (error) {
    // A URL that never had a journal has no directory for it.
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}
