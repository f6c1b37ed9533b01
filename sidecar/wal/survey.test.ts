import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openFileStorage } from '../storage/file.ts';
import { SimulatedFileSystem } from '../storage/simulated.ts';
import type { Storage } from '../storage/storage.ts';
import { encodeEntry, entryOverheadBytesMax } from './entry.ts';
import type { EntryRun } from './memory.ts';
import { encodeSegment, segmentName } from './segment.ts';
import { SegmentFile } from './segment-file.ts';
import { type SurveyedSegment, separateVoid, surveyUrl } from './survey.ts';

const incarnation = 'cd'.repeat(16);
const empty = Buffer.alloc(0);

async function mounted(fileSystem = new SimulatedFileSystem({ seed: 1 })): Promise<Storage> {
  const storage = openFileStorage('file:///disks/1', '/disks/1', fileSystem);
  await storage.lock('test', 0);
  return storage;
}

function run(first: number, last: number): EntryRun {
  const parts: Buffer[] = [];
  for (let sequence = first; sequence <= last; sequence++) {
    const target = Buffer.alloc(entryOverheadBytesMax + 6);
    parts.push(target.subarray(0, encodeEntry(target, 0, sequence, 1, Buffer.from('INSERT'), empty, empty)));
  }
  return { first, count: parts.length, bytes: Buffer.concat(parts) };
}

async function publish(storage: Storage, directory: string, first: number, last: number): Promise<void> {
  const metadata = { collection: directory, incarnation, checkpoint: 0 };
  const runs = last < first ? [] : [run(first, last)];
  await storage.createDirectory(directory);
  await storage.publish(`${directory}/${segmentName(first, last)}`, await encodeSegment(metadata, 'none', runs));
}

type Range = readonly [first: number, last: number];

/** Those at places in `unreadable` have no header. */
async function voidOf(
  ranges: readonly Range[],
  unreadable: readonly number[] = [],
): Promise<{ live: Range[]; dead: Range[] }> {
  const storage = await mounted();
  const header = { collection: 'c', incarnation, checkpoint: 0, compression: 'none', blocks: [] } as const;
  const segments = ranges.map(([first, last], place): SurveyedSegment => {
    const range = { name: segmentName(first, last), first, last };
    const file = new SegmentFile(storage, 'c', range, 100, 100);
    return { file, header: unreadable.includes(place) ? undefined : header };
  });
  const { live, dead } = separateVoid(segments);
  return { live: rangesOf(live), dead: rangesOf(dead) };
}

function rangesOf(segments: readonly SurveyedSegment[]): Range[] {
  return segments.map(({ file: { range } }) => [range.first, range.last]);
}

const table: readonly [string, readonly Range[], dead: readonly Range[]][] = [
  [
    'neighbours',
    [
      [1, 5],
      [6, 9],
    ],
    [],
  ],
  [
    'a gap',
    [
      [1, 5],
      [8, 9],
    ],
    [],
  ],
  [
    'one inside another',
    [
      [1, 9],
      [3, 5],
    ],
    [[3, 5]],
  ],
  [
    'one with the same first',
    [
      [1, 5],
      [1, 9],
    ],
    [[1, 5]],
  ],
  [
    'one with the same last',
    [
      [1, 9],
      [5, 9],
    ],
    [[5, 9]],
  ],
  [
    'several inside one',
    [
      [1, 3],
      [1, 9],
      [4, 6],
      [7, 9],
    ],
    [
      [1, 3],
      [4, 6],
      [7, 9],
    ],
  ],
  [
    'overlap that is no inclusion',
    [
      [1, 5],
      [4, 9],
    ],
    [],
  ],
  [
    'two equal ones (two URLs): the first counts',
    [
      [1, 5],
      [1, 5],
    ],
    [[1, 5]],
  ],
  [
    'three equal ones',
    [
      [1, 5],
      [1, 5],
      [1, 5],
    ],
    [
      [1, 5],
      [1, 5],
    ],
  ],
  ['an entry-free one alone', [[6, 5]], []],
  [
    'an entry-free one beside an older segment: the older goes later, by the checkpoint',
    [
      [1, 5],
      [6, 5],
    ],
    [],
  ],
  [
    'an entry-free one beside one that begins at its next',
    [
      [6, 5],
      [6, 9],
    ],
    [[6, 5]],
  ],
  [
    'an entry-free one beside one whose last is its next',
    [
      [6, 5],
      [3, 6],
    ],
    [[6, 5]],
  ],
  [
    'an entry-free one beside one whose last is just below its next',
    [
      [6, 5],
      [3, 5],
    ],
    [],
  ],
  [
    'an entry-free one beside a later entry-free one',
    [
      [6, 5],
      [9, 8],
    ],
    [[6, 5]],
  ],
  [
    'an entry-free one does not make others void, even inside them',
    [
      [1, 9],
      [5, 4],
    ],
    [[5, 4]],
  ],
];

for (const [what, ranges, expected] of table) {
  test(`void segments: ${what} (E11)`, async () => {
    const { live, dead } = await voidOf(ranges);
    assert.deepEqual(dead, expected);
    assert.equal(live.length + dead.length, ranges.length);
    for (const range of ranges) assert.ok([...live, ...dead].some((found) => found.join() === range.join()));
  });
}

test('a segment that cannot be read makes no other void, and is void where others hold its range (E11, R1)', async () => {
  const cases: [readonly Range[], unreadable: readonly number[], dead: readonly Range[]][] = [
    // Any file under such a name: deleting what it seems to hold would lose it.
    [
      [
        [1, 9],
        [3, 5],
      ],
      [0],
      [],
    ],
    [
      [
        [1, 5],
        [1, 5],
      ],
      [0],
      [[1, 5]],
    ],
    [
      [
        [1, 5],
        [6, 9],
        [1, 9],
      ],
      [2],
      [[1, 9]],
    ],
    [
      [
        [1, 5],
        [7, 9],
        [1, 9],
      ],
      [2],
      [],
    ],
    [
      [
        [1, 9],
        [3, 5],
      ],
      [1],
      [[3, 5]],
    ],
    [
      [
        [1, 9],
        [3, 5],
      ],
      [0, 1],
      [],
    ],
    [
      [
        [6, 5],
        [6, 9],
      ],
      [1],
      [],
    ],
    [
      [
        [6, 5],
        [9, 8],
      ],
      [1],
      [],
    ],
    [
      [
        [6, 5],
        [9, 8],
      ],
      [0],
      [[6, 5]],
    ],
  ];
  for (const [ranges, unreadable, expected] of cases) {
    const { dead } = await voidOf(ranges, unreadable);
    assert.deepEqual(dead, expected, JSON.stringify([ranges, unreadable]));
  }
});

test('a hundred thousand segments are told apart in a moment (E16)', async () => {
  const ranges = Array.from({ length: 100_000 }, (_, index): Range => [3 * index + 1, 3 * index + 3]);
  const startedMs = performance.now();
  const { live } = await voidOf([...ranges, [2, 2]]);
  assert.equal(live.length, 100_000);
  assert.ok(performance.now() - startedMs < 5_000);
});

test('a segment of another collection is none of this one, and is left alone', async () => {
  const storage = await mounted();
  await publish(storage, 'a', 1, 3);
  await publish(storage, 'b', 1, 3);
  const stray = segmentName(4, 6);
  const metadata = { collection: 'b', incarnation, checkpoint: 0 };
  await storage.publish(`a/${stray}`, await encodeSegment(metadata, 'none', [run(4, 6)]));
  const { shelves, discovery } = await surveyUrl(storage, () => undefined);
  assert.deepEqual(
    shelves.map(({ segments }) => rangesOf(segments)),
    [[[1, 3]], [[1, 3]]],
  );
  assert.deepEqual(discovery.foreign, [`a/${stray}`]);
  assert.ok((await storage.list('a')).some(({ name }) => name === stray));
});

test('all that makes no entry the fewer is kept: what is dead is covered by what lives (E11)', async () => {
  for (let round = 0; round < 200; round++) {
    const ranges = Array.from({ length: 6 }, (): Range => {
      const first = 1 + Math.floor(Math.random() * 12);
      return [first, first - 1 + Math.floor(Math.random() * 6)];
    });
    const { live, dead } = await voidOf(ranges);
    for (const [first, last] of dead) {
      const isCovered = live.some(([from, to]) =>
        last < first ? to >= first || (to < from && from >= first) : from <= first && last <= to,
      );
      assert.ok(isCovered, `${first}-${last} of ${JSON.stringify(ranges)}`);
    }
  }
});

test('origin: segments that a flush wrote are what discovery looks for', async () => {
  const storage = await mounted();
  await publish(storage, 'orders', 1, 3);
  await publish(storage, 'orders', 4, 9);
  const { shelves } = await surveyUrl(storage, () => undefined);
  const [shelf] = shelves;
  assert.equal(shelf?.collection, 'orders');
  assert.deepEqual(
    shelf?.segments.map(({ file, header }) => [file.range.first, file.range.last, header?.incarnation]),
    [
      [1, 3, incarnation],
      [4, 9, incarnation],
    ],
  );
});

test('what a dead process left half-written is removed, under the URL and in collections (E8)', async () => {
  const storage = await mounted();
  await publish(storage, 'orders', 1, 3);
  for (const path of ['_tmp-7', 'orders/_tmp-1']) await storage.publish(path, [Buffer.from('x')]);
  await surveyUrl(storage, () => undefined);
  for (const directory of ['', 'orders']) {
    const names = (await storage.list(directory)).map((entry) => entry.name);
    assert.deepEqual(
      names.filter((name) => name.startsWith('_tmp-')),
      [],
      directory,
    );
  }
});

test('a segment counts only after its directory and the parent were synced by this process (E17)', async () => {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const storage = await mounted(fileSystem);
  await storage.createDirectory('orders');
  const name = segmentName(1, 3);
  // As a process that was killed between its rename and its sync leaves it.
  const file = await fileSystem.create('/disks/1/orders/_tmp-1');
  await file.write(await encodeSegment({ collection: 'orders', incarnation, checkpoint: 0 }, 'none', [run(1, 3)]));
  await file.sync();
  await fileSystem.rename('/disks/1/orders/_tmp-1', `/disks/1/orders/${name}`);
  const { shelves } = await surveyUrl(storage, () => undefined);
  assert.equal(shelves[0]?.segments.length, 1);
  for (let seed = 0; seed < 30; seed++) {
    const after = openFileStorage('file:///disks/1', '/disks/1', fileSystem.crash(seed));
    assert.deepEqual(
      (await after.listFiles('orders')).map((found) => found.name),
      [name],
      `seed ${seed}`,
    );
  }
});

test('a segment that cannot be read is there all the same: its name says what it held (E16)', async () => {
  const storage = await mounted();
  await publish(storage, 'orders', 1, 3);
  await storage.publish(`orders/${segmentName(1, 3)}`, [Buffer.from('not a segment')]);
  const { shelves } = await surveyUrl(storage, () => undefined);
  assert.deepEqual(
    shelves[0]?.segments.map(({ file, header }) => [file.range.first, file.range.last, header]),
    [[1, 3, undefined]],
  );
});

test('a URL or directory that cannot be listed is an error, not an empty one (R6)', async () => {
  const fileSystem = new SimulatedFileSystem({ seed: 1 });
  const storage = await mounted(fileSystem);
  await publish(storage, 'orders', 1, 3);
  for (const directory of [/disks\/1$/, /orders$/]) {
    fileSystem.failNext('list', directory, 'EIO');
    await assert.rejects(
      surveyUrl(storage, () => undefined),
      { code: 'EIO' },
    );
  }
});

test('what lies beside segments and is none is left alone', async () => {
  const storage = await mounted();
  await publish(storage, 'orders', 1, 3);
  await storage.createDirectory('lost+found');
  for (const path of ['note.txt', 'orders/note.txt', 'orders/1-3.avro', 'lost+found/x']) {
    await storage.publish(path, [Buffer.from('x')]);
  }
  const { shelves, discovery } = await surveyUrl(storage, () => undefined);
  assert.equal(shelves.length, 1);
  assert.equal(shelves[0]?.segments.length, 1);
  assert.deepEqual(discovery.foreign, ['lost+found']);
  assert.deepEqual((await storage.read('orders/note.txt')).toString(), 'x');
});

test('a URL of many directories reports progress as it goes on', async () => {
  const storage = await mounted();
  for (let index = 0; index < 40; index++) await storage.createDirectory(`c${index}`);
  let progress = 0;
  const { shelves } = await surveyUrl(storage, () => {
    progress += 1;
  });
  assert.equal(shelves.length, 40);
  assert.ok(progress >= 3);
});
