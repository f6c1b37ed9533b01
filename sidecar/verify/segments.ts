/** One WAL URL's segments: every byte against its checksum, every entry against its place. */
import avro from 'avsc';
import type { Found } from '../assignment/discovery.ts';
import { systemCode, WalError } from '../errors.ts';
import { isTemporaryName } from '../storage/file.ts';
import type { Storage } from '../storage/storage.ts';
import { entrySequence, skipEntry } from '../wal/entry.ts';
import type { EntryRun } from '../wal/memory.ts';
import { parseSegmentName, type SegmentHeader } from '../wal/segment.ts';
import { SegmentFile } from '../wal/segment-file.ts';
import { type SurveyedSegment, separateVoid } from '../wal/survey.ts';
import { type DirectoryView, noteLeftovers, unlisted } from './directory.ts';
import type { Finding } from './finding.ts';
import type { Sequences } from './sequences.ts';

const longType = avro.Type.forSchema('long');
/** The sync marker that follows each block. */
const syncBytes = 16;

export interface SegmentHoldings {
  readonly files: number;
  readonly bytes: number;
  readonly entries: number;
}

/** Reads all segments of a URL, one after the other; their ranges go to `sequences`. */
export async function verifySegments(
  { storage, collections }: DirectoryView,
  sequences: Sequences,
  findings: Finding[],
): Promise<SegmentHoldings> {
  const sum = { files: 0, bytes: 0, entries: 0 };
  if (storage === undefined) return sum;
  for (const found of collections) {
    const segments = await readCollection(storage, found, sequences, findings);
    for (const { file, header } of segments) {
      sum.files += 1;
      sum.bytes += file.fileBytes;
      sum.entries += header?.blocks.reduce((entries, block) => entries + block.entries, 0) ?? 0;
    }
  }
  return sum;
}

/** The segments of a collection's directory that count. */
async function readCollection(
  storage: Storage,
  found: Found,
  sequences: Sequences,
  findings: Finding[],
): Promise<SurveyedSegment[]> {
  const where = `${storage.url}/${found.directory}`;
  const segments: SurveyedSegment[] = [];
  try {
    const files = await storage.listFiles(found.directory);
    const leftovers = files.filter(({ name }) => isTemporaryName(name)).map(({ name }) => name);
    noteLeftovers(where, leftovers, findings);
    for (const { name, bytes } of files) {
      const range = parseSegmentName(name);
      if (range === undefined) continue;
      const file = new SegmentFile(storage, found.directory, range, bytes, bytes);
      segments.push({ file, header: await verifySegment(file, found, findings) });
    }
  } catch (error) {
    // Dropped meanwhile, or made and removed.
    if (systemCode(error) === 'ENOENT') return [];
    findings.push(unlisted(where, error));
    return [];
  }
  return heard(storage.url, where, found, segments, sequences, findings);
}

function heard(
  url: string,
  where: string,
  found: Found,
  segments: readonly SurveyedSegment[],
  sequences: Sequences,
  findings: Finding[],
): SurveyedSegment[] {
  const { live, dead } = separateVoid(segments);
  for (const { file } of dead) {
    const remedy = 'nothing to do: it is not read, and the next start removes it';
    findings.push({ level: 'note', where: `${where}/${file.range.name}`, problem: 'is void beside others', remedy });
  }
  const name = found.collection ?? live.find(({ header }) => header !== undefined)?.header?.collection;
  if (name === undefined) {
    const remedy = 'restore its _collection.json';
    findings.push({ level: 'wrong', where, problem: 'holds a collection whose name nothing says', remedy });
  }
  for (const { file, header } of live) {
    const incarnation = header?.incarnation ?? found.incarnation;
    // A damaged segment has its own finding; that its entries are missing would be a second one for the same thing.
    if (incarnation === undefined || name === undefined) continue;
    const { first, last } = file.range;
    sequences.add({ name, incarnation, url, first, last });
    if (header !== undefined)
      sequences.state({ name, incarnation, nextSequence: 0, checkpoint: header.checkpoint, damage: '' });
  }
  return live;
}

/** Its header, if that holds. What does not hold is a finding. */
async function verifySegment(file: SegmentFile, found: Found, findings: Finding[]): Promise<SegmentHeader | undefined> {
  const where = `${file.storage.url}/${file.path}`;
  const wrong = (problem: string, remedy: string) => findings.push({ level: 'wrong', where, problem, remedy });
  let header: SegmentHeader | undefined;
  try {
    header = await file.header();
    for (const problem of contradictions(file, header, found)) wrong(problem, 'restore the directory from a copy');
    if (!(await isFramed(file, header))) wrong(unframed, 'restore the file from a copy, or drop the collection');
    for await (const run of file.runsFrom(0)) {
      const problem = misplaced(run);
      if (problem !== undefined) wrong(problem, 'restore the file from a copy, or drop the collection');
    }
  } catch (error) {
    if (error instanceof WalError) wrong(error.message, '');
    else if (systemCode(error) === undefined) throw error;
    else if (systemCode(error) !== 'ENOENT') wrong(`cannot be read: ${String(error)}`, 'check the disk');
  }
  return header;
}

/** What the segment's header says against its directory and its length. */
function contradictions(file: SegmentFile, header: SegmentHeader, found: Found): string[] {
  const problems: string[] = [];
  if (found.collection !== undefined && header.collection !== found.collection) {
    problems.push(`is of the collection ${JSON.stringify(header.collection)}, in another's directory`);
  }
  if (found.incarnation !== undefined && header.incarnation !== found.incarnation) {
    problems.push(`is of incarnation ${header.incarnation}, beside a _collection.json of ${found.incarnation}`);
  }
  const block = header.blocks.at(-1);
  const endBytes = block === undefined ? file.fileBytes : block.offset + block.storedBytes + syncBytes;
  if (endBytes !== file.fileBytes) problems.push(`has ${file.fileBytes} bytes, and its header says ${endBytes}`);
  return problems;
}

const unframed = 'has blocks whose lengths or sync markers are wrong: our reader needs neither, but others do';

/** Whether what Avro puts around each block is right; the blocks' own checksums leave it out. */
async function isFramed(file: SegmentFile, { blocks }: SegmentHeader): Promise<boolean> {
  const reader = await file.storage.openReader(file.path);
  try {
    let sync: Buffer | undefined;
    for (const { entries, offset, storedBytes } of blocks) {
      const prefix = Buffer.concat([longType.toBuffer(entries), longType.toBuffer(storedBytes)]);
      const before = await reader.read(offset - prefix.length - syncBytes, syncBytes + prefix.length);
      const after = await reader.read(offset + storedBytes, syncBytes);
      // The header's own marker stands before the first block, and its checksum holds.
      sync ??= before.subarray(0, syncBytes);
      if (!before.subarray(syncBytes).equals(prefix) || !after.equals(sync)) return false;
    }
    return true;
  } finally {
    await reader.close();
  }
}

/** What is wrong with the sequences of a block's entries. */
function misplaced(run: EntryRun): string | undefined {
  let expected = run.first;
  for (let at = 0; at < run.bytes.length; at = skipEntry(run.bytes, at)) {
    const sequence = entrySequence(run.bytes, at);
    if (sequence !== expected) return `holds the entry ${sequence} where ${expected} belongs`;
    expected += 1;
  }
  const count = expected - run.first;
  return count === run.count ? undefined : `has ${count} entries in a block of ${run.count}`;
}
