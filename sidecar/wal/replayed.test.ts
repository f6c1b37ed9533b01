import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FrameCollection, FrameContent, FrameHeader, FrameRecord } from '../journal/frame.ts';
import { decodeEntry, encodeEntry, entryOverheadBytesMax } from './entry.ts';
import type { EntryRun } from './memory.ts';
import { type ReplayedCollection, ReplayedJournal, type SequenceRange } from './replayed.ts';

const key = Buffer.alloc(0);
const operation = Buffer.from('INSERT');

function run(first: number, count: number, text = ''): EntryRun {
  const parts: Buffer[] = [];
  for (let sequence = first; sequence < first + count; sequence++) {
    const payload = Buffer.from(`${text}${sequence}`);
    const target = Buffer.alloc(entryOverheadBytesMax + operation.length + payload.length);
    parts.push(target.subarray(0, encodeEntry(target, 0, sequence, 1, operation, key, payload)));
  }
  return { first, count, bytes: Buffer.concat(parts) };
}

const incarnationOf = (name: string): string => name.padEnd(32, 'f');

function header(content: Partial<FrameContent>): FrameHeader {
  return {
    collections: content.collections ?? [],
    batches: content.batches ?? [],
    records: content.records ?? [],
    offset: 64,
    syncedOffset: 64,
    recovered: true,
    headerBytes: 100,
    bodyBytes: 0,
    bodyChecksum: 0,
  };
}

function collectionOf(name: string, first: number, last: number): FrameCollection {
  return { name, incarnation: incarnationOf(name), first, last };
}

/** Hands a frame with one batch for each run over, each of its own collection. */
function deliver(journal: ReplayedJournal, runs: Record<string, EntryRun>, isDamaged = false): void {
  const names = Object.keys(runs);
  const collections = names.map((name) => {
    const { first, count } = runs[name] ?? run(1, 0);
    return collectionOf(name, first, first + count - 1);
  });
  const bodies = Object.values(runs);
  const batches = bodies.map(({ count, bytes }, collection) => ({ collection, entries: count, bytes: bytes.length }));
  const body = Buffer.concat(bodies.map(({ bytes }) => bytes));
  journal.frame(header({ collections, batches }), isDamaged ? undefined : body);
  // Bodies die with the call.
  body.fill(0xee);
  if (isDamaged) journal.damage({ file: 'f', offset: 64, bytes: 10, collections });
}

function record(journal: ReplayedJournal, name: string, partial: Partial<FrameRecord>): void {
  const whole = { kind: 'state', collection: 0, nextSequence: 1, checkpoint: 0, damage: '', ...partial } as const;
  journal.frame(header({ collections: [collectionOf(name, 1, 0)], records: [whole] }), Buffer.alloc(0));
}

function journalOf(isStored: (incarnation: string, range: SequenceRange) => boolean = () => false): ReplayedJournal {
  return new ReplayedJournal(isStored);
}

function known(journal: ReplayedJournal, name: string): ReplayedCollection {
  const collection = journal.collections.get(incarnationOf(name));
  assert.ok(collection, name);
  return collection;
}

/** The sequences of a collection's parts, each decoded. */
function partsOf(journal: ReplayedJournal, name: string): number[][] {
  return known(journal, name).parts.map((part) => {
    const sequences: number[] = [];
    for (const { bytes } of part.runsFrom(0)) {
      for (let at = 0; at < bytes.length; ) {
        const { entry, end } = decodeEntry(bytes, at);
        assert.equal(entry.payload.toString().replace(/^\D*/, ''), String(entry.sequence));
        sequences.push(entry.sequence);
        at = end;
      }
    }
    return sequences;
  });
}

test('entries of many frames and collections are put together, copied', () => {
  const journal = journalOf();
  deliver(journal, { a: run(1, 2), b: run(1, 1) });
  deliver(journal, { b: run(2, 3), a: run(3, 1) });
  assert.deepEqual(partsOf(journal, 'a'), [[1, 2, 3]]);
  assert.deepEqual(partsOf(journal, 'b'), [[1, 2, 3, 4]]);
  assert.equal(known(journal, 'b').nextSequence, 5);
});

test('several batches of one collection in a frame follow one another', () => {
  const journal = journalOf();
  const [one, two] = [run(4, 2), run(6, 3)];
  const batches = [one, two].map(({ count, bytes }) => ({ collection: 0, entries: count, bytes: bytes.length }));
  const collections = [collectionOf('a', 4, 8)];
  journal.frame(header({ collections, batches }), Buffer.concat([one.bytes, two.bytes]));
  assert.deepEqual(partsOf(journal, 'a'), [[4, 5, 6, 7, 8]]);
});

test('identical copies are one entry, however they overlap (E22)', () => {
  const journal = journalOf();
  deliver(journal, { a: run(1, 5) });
  for (const copy of [run(1, 5), run(2, 2), run(3, 5), run(1, 9), run(9, 2)]) deliver(journal, { a: copy });
  assert.deepEqual(partsOf(journal, 'a'), [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]);
  assert.equal(known(journal, 'a').damage, '');
});

test('a copy that begins before what is held is one entry with it, too (E22)', () => {
  const journal = journalOf();
  deliver(journal, { a: run(5, 3) });
  deliver(journal, { a: run(3, 4) });
  const sequences = partsOf(journal, 'a').flat();
  assert.deepEqual(
    [...new Set(sequences)].toSorted((a, b) => a - b),
    [3, 4, 5, 6, 7],
  );
  assert.equal(known(journal, 'a').damage, '');
});

for (const [what, first, second] of [
  ['the same range', run(1, 5), run(1, 5, 'x')],
  ['a part', run(1, 5), run(4, 1, 'x')],
  ['an overlap at the end', run(1, 5), run(5, 3, 'x')],
] as const) {
  test(`equal sequences with different bytes stop the collection: ${what} (E22)`, () => {
    const journal = journalOf();
    deliver(journal, { a: first, b: run(1, 1) });
    deliver(journal, { a: second });
    assert.match(known(journal, 'a').damage, /two different entries/);
    assert.equal(known(journal, 'b').damage, '');
  });
}

test('parts on both sides of a gap are kept, and joined when the gap is filled', () => {
  const journal = journalOf();
  deliver(journal, { a: run(1, 2) });
  deliver(journal, { a: run(5, 2) });
  assert.deepEqual(partsOf(journal, 'a'), [
    [1, 2],
    [5, 6],
  ]);
  deliver(journal, { a: run(3, 2) });
  assert.deepEqual(partsOf(journal, 'a').flat(), [1, 2, 3, 4, 5, 6]);
});

test('what segments hold is not kept in memory, but counts', () => {
  const journal = journalOf((incarnation, { last }) => incarnation === incarnationOf('a') && last <= 4);
  deliver(journal, { a: run(1, 2), b: run(1, 2) });
  deliver(journal, { a: run(3, 2) });
  deliver(journal, { a: run(5, 2) });
  assert.deepEqual(partsOf(journal, 'a'), [[5, 6]]);
  assert.equal(known(journal, 'a').nextSequence, 7);
  assert.deepEqual(partsOf(journal, 'b'), [[1, 2]]);
});

test('state records: the highest checkpoint and next sequence count, and damage stays (E21)', () => {
  const journal = journalOf();
  record(journal, 'a', { nextSequence: 9, checkpoint: 4 });
  record(journal, 'a', { nextSequence: 7, checkpoint: 6, damage: 'why' });
  record(journal, 'a', { nextSequence: 8, checkpoint: 5 });
  const { nextSequence, checkpoint, damage } = known(journal, 'a');
  assert.deepEqual([nextSequence, checkpoint, damage], [9, 6, 'why']);
});

test('a drop ends an incarnation, what came before and what comes after; another of the name lives (E12)', () => {
  const journal = journalOf();
  deliver(journal, { a: run(1, 3), b: run(1, 1) });
  record(journal, 'a', { kind: 'drop' });
  deliver(journal, { a: run(4, 2) });
  record(journal, 'a', { nextSequence: 9 });
  assert.equal(journal.collections.has(incarnationOf('a')), false);
  assert.deepEqual([...journal.drops], [[incarnationOf('a'), 'a']]);
  const next = { name: 'a', incarnation: 'e'.repeat(32), first: 1, last: 2 };
  const { bytes } = run(1, 2);
  const batches = [{ collection: 0, entries: 2, bytes: bytes.length }];
  journal.frame(header({ collections: [next], batches }), bytes);
  assert.equal(journal.collections.get(next.incarnation)?.nextSequence, 3);
});

test('a damaged body loses the ranges that its header names, and no others (E20)', () => {
  const journal = journalOf();
  deliver(journal, { a: run(1, 2), b: run(1, 2) });
  deliver(journal, { a: run(3, 2) }, true);
  deliver(journal, { a: run(5, 1), b: run(3, 1) });
  assert.deepEqual(known(journal, 'a').lost, [{ first: 3, last: 4 }]);
  assert.deepEqual(partsOf(journal, 'a'), [[1, 2], [5]]);
  assert.deepEqual(known(journal, 'b').lost, []);
  assert.equal(journal.unknownDamage, undefined);
});

test('a damaged last body still moves the next sequence: it is not given out again', () => {
  const journal = journalOf();
  deliver(journal, { a: run(1, 2) });
  deliver(journal, { a: run(3, 2) }, true);
  assert.equal(known(journal, 'a').nextSequence, 5);
});

test('records hold although the body of their frame is damaged: they stand in the header', () => {
  const journal = journalOf();
  const state = { kind: 'state', collection: 0, nextSequence: 4, checkpoint: 2, damage: '' } as const;
  journal.frame(header({ collections: [collectionOf('a', 4, 3)], records: [state] }), undefined);
  assert.equal(known(journal, 'a').checkpoint, 2);
});

test('damage of unknown extent puts all in doubt but those seen after it (E20)', () => {
  const journal = journalOf();
  deliver(journal, { a: run(1, 2), b: run(1, 2), c: run(1, 1) });
  journal.damage({ file: 'f', offset: 500, bytes: 90, collections: undefined });
  deliver(journal, { a: run(3, 1), d: run(1, 1) });
  record(journal, 'c', { nextSequence: 2 });
  const doubted = [...journal.collections.values()].filter((collection) => !collection.seenAfterDamage);
  assert.deepEqual(
    doubted.map(({ name }) => name),
    ['b'],
  );
  assert.equal(journal.unknownDamage?.offset, 500);
});

test('a batch of one collection stands beside records of thousands: each finds its place', () => {
  const journal = journalOf();
  const collections = Array.from({ length: 3_000 }, (_, index) => collectionOf(`c${index}`, 8, 7));
  const records = collections.map((_, collection) => {
    return { kind: 'state', collection, nextSequence: 8, checkpoint: collection % 8, damage: '' } as const;
  });
  journal.frame(header({ collections, records }), Buffer.alloc(0));
  assert.equal(journal.collections.size, 3_000);
  assert.equal(known(journal, 'c2999').checkpoint, 2999 % 8);
});
