import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ManagedUrl } from '../assignment/assignment.ts';
import { openFileStorage } from '../storage/file.ts';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import { MemoryBudget } from './budget.ts';
import { Committer } from './committer.ts';
import { decodeEntry, encodeEntry, entryOverheadBytesMax } from './entry.ts';
import type { EntryRun } from './memory.ts';
import { hadEntries, type MergedIncarnation, mergeTraces, type Trace } from './merge.ts';
import { ReplayedCollection } from './replayed.ts';
import { segmentName } from './segment.ts';
import { SegmentFile } from './segment-file.ts';
import type { Shelf, SurveyedSegment } from './survey.ts';

const fileSystem = new SimulatedFileSystem({ seed: 1 });
const incarnation = 'ab'.repeat(16);

const nothing = (): void => undefined;

/** Nothing is written by merging: the committer only says which URL it is. */
function committerOf(index: number): Committer {
  const url = `file:///disks/${index}`;
  const storage = openFileStorage(url, `/disks/${index}`, fileSystem);
  const managed: ManagedUrl = { component: 'wal', index, url, storage, state: 'Recovering', reason: '', id: undefined };
  return new Committer({
    managed,
    clock: { nowUs: () => 0, monotonicMs: () => 0 },
    budget: new MemoryBudget(1, 1),
    startEpoch: () => Promise.reject(new Error('no epoch here')),
    onPublished: nothing,
    onPressure: nothing,
    reroute: nothing,
    onState: nothing,
  });
}

const urls = [committerOf(0), committerOf(1)] as const;

function run(first: number, last: number, text: string): EntryRun {
  const parts: Buffer[] = [];
  for (let sequence = first; sequence <= last; sequence++) {
    const payload = Buffer.from(text);
    const target = Buffer.alloc(entryOverheadBytesMax + 6 + payload.length);
    const end = encodeEntry(target, 0, sequence, 1, Buffer.from('INSERT'), Buffer.alloc(0), payload);
    parts.push(target.subarray(0, end));
  }
  return { first, count: parts.length, bytes: Buffer.concat(parts) };
}

type Range = readonly [first: number, last: number];

/** What one URL has; ranges of the journal may carry another text than `same`. */
interface Found {
  readonly url?: 0 | 1;
  readonly segments?: readonly (readonly [first: number, last: number, checkpoint?: number | 'unreadable'])[];
  readonly journal?: readonly (readonly [first: number, last: number, text?: string])[];
  readonly lost?: readonly Range[];
  readonly checkpoint?: number;
  readonly next?: number;
  readonly damage?: string;
  readonly doubt?: string;
  readonly seenAfterDamage?: boolean;
  readonly isJournalOnly?: boolean;
  readonly isShelfOnly?: boolean;
}

function segmentOf(
  committer: Committer,
  first: number,
  last: number,
  checkpoint: number | 'unreadable',
): SurveyedSegment {
  const file = new SegmentFile(committer.storage, 'c', { name: segmentName(first, last), first, last }, 100, 100);
  if (checkpoint === 'unreadable') return { file, header: undefined };
  return { file, header: { collection: 'c', incarnation, checkpoint, compression: 'none', blocks: [] } };
}

function traceOf(found: Found): Trace {
  const committer = urls[found.url ?? 0];
  const segments = (found.segments ?? []).map(([first, last, at]) => segmentOf(committer, first, last, at ?? 0));
  const replayed = new ReplayedCollection('c', incarnation);
  for (const [first, last, text] of found.journal ?? []) {
    replayed.add(run(first, last, text ?? 'same'));
    replayed.nextSequence = Math.max(replayed.nextSequence, last + 1);
  }
  for (const [first, last] of found.lost ?? []) {
    replayed.lost.push({ first, last });
    replayed.nextSequence = Math.max(replayed.nextSequence, last + 1);
  }
  replayed.checkpoint = found.checkpoint ?? 0;
  replayed.nextSequence = Math.max(replayed.nextSequence, found.next ?? 1);
  replayed.damage ||= found.damage ?? '';
  replayed.seenAfterDamage = found.seenAfterDamage ?? true;
  const shelf: Shelf = {
    directory: 'c',
    collection: 'c',
    incarnation,
    assignedAt: '2026-01-01T00:00:00Z',
    segments: [...segments],
  };
  return {
    committer,
    shelf: found.isJournalOnly ? undefined : shelf,
    segments,
    replayed: found.isShelfOnly ? undefined : replayed,
    doubt: found.doubt ?? '',
  };
}

function sequencesOf({ memory }: MergedIncarnation): number[] {
  const sequences: number[] = [];
  for (const { bytes } of memory.runsFrom(0)) {
    for (let at = 0; at < bytes.length; ) {
      const { entry, end } = decodeEntry(bytes, at);
      sequences.push(entry.sequence);
      at = end;
    }
  }
  return sequences;
}

const upTo = (first: number, last: number): number[] =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index);

interface Expected {
  readonly checkpoint: number;
  readonly published: number;
  readonly memory: readonly number[];
  readonly home?: 0 | 1;
}

const whole: readonly [string, readonly Found[], Expected][] = [
  ['nothing yet', [{}], { checkpoint: 0, published: 0, memory: [] }],
  ['a directory alone', [{ isShelfOnly: true }], { checkpoint: 0, published: 0, memory: [] }],
  ['the journal alone', [{ journal: [[1, 5]] }], { checkpoint: 0, published: 5, memory: upTo(1, 5) }],
  [
    'segments alone',
    [
      {
        segments: [
          [1, 5],
          [6, 9],
        ],
      },
    ],
    { checkpoint: 0, published: 9, memory: [] },
  ],
  [
    'segments, then the journal',
    [{ segments: [[1, 5]], journal: [[6, 8]] }],
    { checkpoint: 0, published: 8, memory: upTo(6, 8) },
  ],
  [
    'a batch that the checkpoint cuts and a segment goes on from, and more behind the segments',
    [
      {
        segments: [
          [6, 19],
          [20, 24],
        ],
        journal: [
          [1, 9],
          [25, 30],
        ],
        checkpoint: 6,
      },
    ],
    { checkpoint: 6, published: 30, memory: upTo(25, 30) },
  ],
  [
    'a journal that begins within the segment',
    [{ segments: [[1, 5]], journal: [[3, 8]] }],
    { checkpoint: 0, published: 8, memory: upTo(6, 8) },
  ],
  [
    'a journal within the segment',
    [{ segments: [[1, 9]], journal: [[3, 8]] }],
    { checkpoint: 0, published: 9, memory: [] },
  ],
  [
    'a checkpoint amid the journal',
    [{ journal: [[1, 9]], checkpoint: 4 }],
    { checkpoint: 4, published: 9, memory: upTo(5, 9) },
  ],
  [
    'a checkpoint above what is left',
    [{ journal: [[6, 9]], checkpoint: 5 }],
    { checkpoint: 5, published: 9, memory: upTo(6, 9) },
  ],
  [
    'all trimmed: the state record knows the next sequence',
    [{ checkpoint: 9, next: 10 }],
    { checkpoint: 9, published: 9, memory: [] },
  ],
  [
    'all trimmed: an entry-free segment knows it',
    [{ segments: [[10, 9, 9]], isShelfOnly: true }],
    { checkpoint: 9, published: 9, memory: [] },
  ],
  [
    'an unreadable entry-free segment says it by its name',
    [{ segments: [[10, 9, 'unreadable']], isShelfOnly: true }],
    { checkpoint: 9, published: 9, memory: [] },
  ],
  [
    'an unreadable entry-free segment that the checkpoint covers',
    [
      {
        segments: [
          [1, 5],
          [10, 9, 'unreadable'],
        ],
        checkpoint: 9,
        next: 10,
      },
    ],
    { checkpoint: 9, published: 9, memory: [] },
  ],
  [
    'an unreadable entry-free segment that would trim entries which are there: it is not believed (R1)',
    [
      {
        segments: [
          [1, 5],
          [10, 9, 'unreadable'],
        ],
        journal: [[6, 7]],
      },
    ],
    { checkpoint: 0, published: 7, memory: upTo(6, 7) },
  ],
  [
    'a checkpoint of a segment’s header, the record is gone',
    [{ segments: [[6, 9, 5]] }],
    { checkpoint: 5, published: 9, memory: [] },
  ],
  [
    'a checkpoint amid a segment',
    [{ segments: [[1, 9]], checkpoint: 4, next: 10 }],
    { checkpoint: 4, published: 9, memory: [] },
  ],
  [
    'the highest checkpoint of all counts',
    [{ segments: [[6, 9, 5]], checkpoint: 7, next: 10 }],
    { checkpoint: 7, published: 9, memory: [] },
  ],
  [
    'lost entries that a segment holds',
    [{ segments: [[1, 9]], lost: [[3, 5]] }],
    { checkpoint: 0, published: 9, memory: [] },
  ],
  [
    'lost entries that two segments hold',
    [
      {
        segments: [
          [1, 4],
          [5, 9],
        ],
        lost: [[3, 6]],
      },
    ],
    { checkpoint: 0, published: 9, memory: [] },
  ],
  [
    'lost entries that a copy in the journal holds',
    [{ journal: [[1, 9]], lost: [[3, 6]] }],
    { checkpoint: 0, published: 9, memory: upTo(1, 9) },
  ],
  [
    'lost entries at or below the checkpoint',
    [{ journal: [[6, 9]], lost: [[1, 5]], checkpoint: 5 }],
    { checkpoint: 5, published: 9, memory: upTo(6, 9) },
  ],
  [
    'lost entries half below the checkpoint, half in a segment',
    [{ segments: [[4, 9]], lost: [[1, 6]], checkpoint: 3, next: 10 }],
    { checkpoint: 3, published: 9, memory: [] },
  ],
  [
    'doubt, but seen after the damage',
    [{ journal: [[1, 5]], doubt: 'a doubt' }],
    { checkpoint: 0, published: 5, memory: upTo(1, 5) },
  ],
  [
    'two URLs: the older segments there, the newer here',
    [
      { url: 1, segments: [[1, 5]] },
      { url: 0, segments: [[6, 9]] },
    ],
    { checkpoint: 0, published: 9, memory: [], home: 0 },
  ],
  [
    'two URLs: the home has the highest sequence',
    [
      { url: 0, segments: [[1, 5]] },
      { url: 1, journal: [[6, 9]] },
    ],
    { checkpoint: 0, published: 9, memory: upTo(6, 9), home: 1 },
  ],
  [
    'two URLs: identical copies in both journals',
    [
      { url: 0, journal: [[1, 5]] },
      { url: 1, journal: [[3, 9]] },
    ],
    { checkpoint: 0, published: 9, memory: upTo(1, 9), home: 1 },
  ],
  [
    'two URLs: the same segment twice',
    [
      { url: 0, segments: [[1, 5]] },
      { url: 1, segments: [[1, 5]] },
    ],
    { checkpoint: 0, published: 5, memory: [], home: 0 },
  ],
  [
    'two URLs: of equal sequences the one with a directory is home',
    [
      { url: 0, journal: [[1, 5]], isJournalOnly: true },
      { url: 1, journal: [[1, 5]] },
    ],
    { checkpoint: 0, published: 5, memory: upTo(1, 5), home: 1 },
  ],
  [
    'two URLs: lost here, held there',
    [
      { url: 0, journal: [[1, 2]], lost: [[3, 5]] },
      { url: 1, journal: [[3, 5]] },
    ],
    { checkpoint: 0, published: 5, memory: upTo(1, 5) },
  ],
  [
    'two URLs: the checkpoint of either counts',
    [
      { url: 0, journal: [[1, 5]], checkpoint: 2 },
      { url: 1, journal: [[6, 9]], checkpoint: 4 },
    ],
    { checkpoint: 4, published: 9, memory: upTo(5, 9), home: 1 },
  ],
];

for (const [what, found, expected] of whole) {
  test(`merged whole: ${what} (E20, E22, E23)`, () => {
    const merged = mergeTraces(found.map(traceOf));
    assert.equal(merged.damage, '');
    assert.equal(merged.checkpoint, expected.checkpoint);
    assert.equal(merged.published, expected.published);
    assert.deepEqual(sequencesOf(merged), expected.memory);
    assert.equal(merged.home, urls[expected.home ?? 0]);
  });
}

const stopped: readonly [string, readonly Found[], RegExp][] = [
  [
    'a gap between segments',
    [
      {
        segments: [
          [1, 5],
          [8, 9],
        ],
      },
    ],
    /entries 6 to 7 are missing under file:\/\/\/disks\/0/,
  ],
  ['a gap at the beginning', [{ segments: [[3, 5]] }], /entries 1 to 2 are missing/],
  [
    'a gap at the beginning, the first segment unreadable',
    [{ segments: [[3, 5, 'unreadable']] }],
    /entries 1 to 2 are missing/,
  ],
  ['a gap between segment and journal', [{ segments: [[1, 5]], journal: [[7, 9]] }], /entries 6 to 6 are missing/],
  [
    'a gap in the journal',
    [
      {
        journal: [
          [1, 3],
          [6, 9],
        ],
      },
    ],
    /entries 4 to 5 are missing/,
  ],
  [
    'a segment is gone of which the journal still has the entries',
    [
      {
        segments: [[4, 6]],
        journal: [
          [1, 3],
          [7, 9],
        ],
      },
    ],
    /entries 1 to 3 are missing/,
  ],
  ['a gap above the checkpoint', [{ journal: [[6, 9]], checkpoint: 3 }], /entries 4 to 5 are missing/],
  ['entries missing at the end, by a state record', [{ journal: [[1, 5]], next: 8 }], /entries 6 to 7 are missing/],
  ['all entries missing, by a state record', [{ next: 8, checkpoint: 2 }], /entries 3 to 7 are missing/],
  [
    'lost entries that nothing holds',
    [
      {
        journal: [
          [1, 2],
          [6, 9],
        ],
        lost: [[3, 5]],
      },
    ],
    /entries 3 to 5 are lost to damage in the journal of file:\/\/\/disks\/0/,
  ],
  [
    'lost entries of which a part is held',
    [
      {
        journal: [
          [1, 4],
          [6, 9],
        ],
        lost: [[3, 5]],
      },
    ],
    /entries 3 to 5 are lost/,
  ],
  ['lost last entries', [{ journal: [[1, 2]], lost: [[3, 5]] }], /entries 3 to 5 are lost/],
  ['doubt', [{ journal: [[1, 5]], doubt: 'a doubt', seenAfterDamage: false }], /^a doubt; /],
  [
    'doubt where the journal says nothing of the collection',
    [{ segments: [[1, 5]], doubt: 'a doubt', isShelfOnly: true }],
    /^a doubt; /,
  ],
  ['damage by a state record, although all is there', [{ journal: [[1, 5]], damage: 'as before' }], /^as before/],
  [
    'different entries in two journals',
    [
      { url: 0, journal: [[1, 5]] },
      { url: 1, journal: [[4, 7, 'other']] },
    ],
    /two different entries have one sequence in the journals of file:\/\/\/disks\/0, file:\/\/\/disks\/1/,
  ],
  [
    'different entries in two journals, one within the other',
    [
      { url: 0, journal: [[1, 9]] },
      { url: 1, journal: [[4, 5, 'other']] },
    ],
    /two different entries/,
  ],
  [
    'different entries in a part that begins before another',
    [
      {
        journal: [
          [5, 9],
          [3, 6, 'other'],
        ],
      },
    ],
    /two different entries/,
  ],
];

for (const [what, found, pattern] of stopped) {
  test(`stopped: ${what} (E20, E21, E22)`, () => {
    const merged = mergeTraces(found.map(traceOf));
    assert.match(merged.damage, pattern);
    assert.match(merged.damage, /drop the collection|as before/, 'the remedy is named');
    assert.ok(merged.checkpoint <= merged.published);
  });
}

test('sequences that were ever given out are not given out again, damaged or not (R1)', () => {
  const cases: [Found, number][] = [
    [{ journal: [[1, 2]], lost: [[3, 5]] }, 5],
    [{ journal: [[1, 2]], next: 9 }, 8],
    [
      {
        segments: [
          [1, 5],
          [9, 12],
        ],
      },
      12,
    ],
    [{ checkpoint: 4, next: 5 }, 4],
  ];
  for (const [found, published] of cases) assert.equal(mergeTraces([traceOf(found)]).published, published);
});

test('memory beside gaps is without gaps in itself, and so can be written and read', () => {
  const cases: [readonly Found[], number[]][] = [
    [
      [
        {
          journal: [
            [1, 3],
            [6, 9],
          ],
        },
      ],
      [1, 2, 3],
    ],
    [
      [
        {
          url: 0,
          journal: [
            [1, 3],
            [6, 9],
          ],
        },
        { url: 1, journal: [[10, 12]] },
      ],
      [1, 2, 3],
    ],
    [
      [
        {
          url: 0,
          journal: [
            [1, 3],
            [6, 9],
          ],
        },
        {
          url: 1,
          journal: [
            [2, 4],
            [7, 12],
          ],
        },
      ],
      [1, 2, 3, 4],
    ],
    [
      [
        {
          journal: [
            [4, 6],
            [9, 9],
          ],
        },
      ],
      [4, 5, 6],
    ],
    [[{ journal: [[1, 3]], segments: [[12, 14]] }], []],
    [
      [
        {
          journal: [
            [1, 3],
            [15, 17],
          ],
          segments: [[12, 14]],
        },
      ],
      [15, 16, 17],
    ],
  ];
  for (const [found, expected] of cases) {
    const merged = mergeTraces(found.map(traceOf));
    assert.deepEqual(sequencesOf(merged), expected, JSON.stringify(found));
    assert.match(merged.damage, /are missing/);
  }
});

test('void segments are told apart from those that count (E11)', () => {
  const merged = mergeTraces([
    traceOf({
      segments: [
        [1, 9],
        [3, 5],
        [10, 9, 9],
      ],
      checkpoint: 0,
    }),
  ]);
  assert.deepEqual(
    merged.voidSegments.map(({ file }) => [file.range.first, file.range.last]),
    [[3, 5]],
  );
  assert.equal(merged.segments.length, 2);
});

test('an incarnation that never had an entry is told from one that had (E22)', () => {
  const cases: [Found, boolean][] = [
    [{}, false],
    [{ isShelfOnly: true }, false],
    [{ journal: [[1, 1]] }, true],
    [{ segments: [[1, 1]], isShelfOnly: true }, true],
    [{ segments: [[5, 4, 4]], isShelfOnly: true }, true],
    [{ checkpoint: 3, next: 4 }, true],
    [{ lost: [[1, 1]] }, true],
  ];
  for (const [found, expected] of cases) assert.equal(hadEntries([traceOf(found)]), expected, JSON.stringify(found));
});
