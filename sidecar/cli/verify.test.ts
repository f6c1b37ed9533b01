import assert from 'node:assert/strict';
import { appendFile, mkdir, readdir, readFile, rm, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { escapeCollection } from '../assignment/directory-name.ts';
import type { Storage } from '../storage/storage.ts';
import { segmentName } from '../wal/segment.ts';
import { addCollection, addJournal, addSegment, id, type Setup, setUp, whole } from './verify.fixture.ts';

test('origin: row 9, the report names sections, values, defaults, and what each directory holds: 11 collections, 11 files', async (context) => {
  const setup = await setUp(context);
  const [zero, one, viper] = await whole(setup);
  for (let number = 1; number <= 11; number += 1) {
    const storage = number % 2 === 0 ? zero : one;
    const named = { collection: `collection_${number}`, incarnation: number.toString(16).padStart(32, '0') };
    await addCollection(storage, named.collection, named.incarnation);
    await addSegment(storage, { ...named, first: 1, last: 2000, compression: number > 5 ? 'zstd' : 'none' });
  }
  await addJournal(zero, [
    { name: 'collection_2', incarnation: (2).toString(16).padStart(32, '0'), first: 2001, last: 2010 },
  ]);
  await addCollection(viper, 'collection_1', id('1'));
  await viper.publish('collection_1/data.vpr', [Buffer.alloc(1000)]);
  await viper.createDirectory('collection_1/deeper');
  await viper.publish('collection_1/deeper/more.vpr', [Buffer.alloc(24)]);

  const { status, stdout, stderr } = await setup.verify();
  assert.equal(stderr, '');
  assert.match(stdout, /storage\.wal_config found/);
  assert.match(stdout, /linger_ms +20\n/);
  assert.match(stdout, /sync_mode +Always {2}default\n/);
  assert.match(stdout, /memory_flush_size_bytes +1048576 \(1\.00 MiB\) {2}default\n/);
  assert.match(
    stdout,
    /Directory 0 {2}file:.*\/w0\n {4}5 collections, 5 WAL files, .* 10,000 entries; journal: 1 file, /,
  );
  assert.match(
    stdout,
    /Total: 11 collections, 11 WAL files, [\d,]+ bytes \([\d.]+ MiB\), 22,000 entries; journal: 1 file/,
  );
  assert.match(stdout, /viper\n.*\n {4}1 collection, 2 files, 1,024 bytes/);
  assert.match(stdout, /Nothing is wrong\./);
  assert.equal(status, 0);
  assert.ok(!stdout.includes('\u001b'), 'no colours in a pipe');
});

test('the JSON report holds the same, machine-readable', async (context) => {
  const setup = await setUp(context);
  const [zero] = await whole(setup);
  await addCollection(zero, 'orders', id('1'));
  const path = await addSegment(zero, { collection: 'orders', incarnation: id('1'), first: 1, last: 10 });
  const { status, stdout } = await setup.verify('json');
  const bytes = (await readFile(join(setup.root, 'w0', path))).length;
  const report: { ok: boolean; components: { component: string; total: unknown }[] } = JSON.parse(stdout);
  assert.equal(status, 0);
  assert.equal(report.ok, true);
  assert.deepEqual(report.components[0]?.total, {
    collections: 1,
    files: 1,
    bytes,
    entries: 10,
    journalFiles: 0,
    journalBytes: 0,
  });
});

test('verify writes nothing and locks nothing', async (context) => {
  const setup = await setUp(context);
  const [zero] = await whole(setup);
  await addCollection(zero, 'orders', id('1'));
  await addSegment(zero, { collection: 'orders', incarnation: id('1'), first: 2, last: 10 });
  await writeFile(join(setup.root, 'w0', 'orders', '_tmp-1'), '');
  await rm(join(setup.root, 'viper'), { recursive: true });
  const files = async () => {
    const names = (await readdir(setup.root, { recursive: true })).toSorted();
    const times = await Promise.all(names.map(async (name) => (await stat(join(setup.root, name))).ctimeMs));
    return names.map((name, index) => `${name} ${times[index]}`);
  };
  const before = await files();
  assert.equal((await setup.verify()).status, 1);
  assert.deepEqual(await files(), before);
});

test('directories that nobody has used are a note, not a problem', async (context) => {
  const setup = await setUp(context);
  const { status, wrong, notes } = await setup.findings();
  assert.equal(status, 0);
  assert.deepEqual(wrong, []);
  assert.equal(notes.length, 3);
});

test('a bad configuration ends with status 2 and all problems on stderr', async (context) => {
  const setup = await setUp(context);
  await writeFile(setup.configFile, '[storage.wal_config]\nwal_urls = []\nsync_mode = "x"\n');
  const { status, stdout, stderr } = await setup.verify();
  assert.equal(status, 2);
  assert.equal(stdout, '');
  assert.match(stderr, /2 problems:\n {2}storage.wal_config.wal_urls = \[\]: .*\n {2}storage.wal_config.sync_mode/);
});

test('affinity false, which this version refuses, ends with status 2', async (context) => {
  const setup = await setUp(context);
  await appendFile(setup.configFile, 'collection_affinity = false\n');
  const { status, stderr } = await setup.verify();
  assert.equal(status, 2);
  assert.match(stderr, /viper_config\.collection_affinity = false/);
});

interface Case {
  readonly title: string;
  readonly damage: (setup: Setup, storages: [Storage, Storage, Storage]) => Promise<unknown>;
  readonly wrong?: RegExp;
  readonly note?: RegExp;
}

const orders = { collection: 'orders', incarnation: id('1') };

const cases: readonly Case[] = [
  {
    title: 'origin: R6 a directory that cannot be listed looked empty; here it is wrong',
    damage: async ({ root }) => {
      await rm(join(root, 'w1'), { recursive: true });
      await writeFile(join(root, 'w1'), 'a file');
    },
    wrong: /^\/w1: cannot be listed, so nothing is known of what it holds: ENOTDIR|w1: cannot be listed/,
  },
  {
    title: 'E26 a URL that others name, and that is gone, is wrong',
    damage: ({ root }) => rm(join(root, 'w1'), { recursive: true }),
    wrong: /w1 should hold the id b{32}/,
  },
  {
    title: 'E26 a URL that holds collections and is configured no longer is wrong',
    damage: (setup) => setup.storage('w0', 'wal', id('a'), [{ id: id('f'), url: 'file:///gone' }]),
    wrong: /^file:\/\/\/gone: holds collections \(its id is f{32}\), and is configured no longer/,
  },
  {
    title: 'a URL of another component is wrong',
    damage: (setup) => setup.storage('viper', 'lsm', id('c')),
    wrong: /belongs to the component lsm/,
  },
  {
    title: 'a damaged _url.json is wrong',
    damage: ({ root }) => writeFile(join(root, 'viper', '_url.json'), '{'),
    wrong: /viper\/_url\.json is damaged/,
  },
  {
    title: 'collections without a _url.json are noted',
    damage: async ({ root }, [, , viper]) => {
      await addCollection(viper, 'orders', id('1'));
      await unlink(join(root, 'viper', '_url.json'));
    },
    note: /viper: holds collections \(1\), but no _url\.json/,
  },
  {
    title: 'a name that the escape rule cannot produce is noted',
    damage: ({ root }) => mkdir(join(root, 'w0', 'lost+found')),
    note: /w0: holds what is no collection of ours and is left alone: "lost\+found"/,
  },
  {
    title: 'temporary files are noted, at the URL and in a collection',
    damage: async ({ root }, [zero]) => {
      await addCollection(zero, 'orders', id('1'));
      for (let number = 0; number < 7; number += 1) await writeFile(join(root, 'w0', `_tmp-${number}`), '');
      await writeFile(join(root, 'w0', 'orders', '_tmp-1'), '');
    },
    note: /w0: holds temporary files .*"_tmp-4", 2 more[^]*w0\/orders: holds temporary files .*"_tmp-1"/,
  },
  {
    title: 'a damaged _collection.json is wrong',
    damage: async ({ root }, [zero]) => {
      await addCollection(zero, 'orders', id('1'));
      await writeFile(join(root, 'w0', 'orders', '_collection.json'), '{}');
    },
    wrong: /w0\/orders: .*has no "collection"/,
  },
  {
    title: 'a hashed directory whose name nothing says is wrong',
    damage: ({ root }) => mkdir(join(root, 'w0', escapeCollection('x'.repeat(300)))),
    wrong: /holds a collection whose name nothing says/,
  },
  {
    title: 'E16 a flipped bit in a segment is wrong',
    damage: async ({ root }, [zero]) => {
      await addCollection(zero, 'orders', id('1'));
      const file = join(root, 'w0', await addSegment(zero, { ...orders, first: 1, last: 100 }));
      const bytes = await readFile(file);
      bytes.writeUInt8(bytes.readUInt8(bytes.length - 1000) ^ 1, bytes.length - 1000);
      await writeFile(file, bytes);
    },
    wrong: /0100\.avro: .*the checksum of the block at offset \d+ is wrong/,
  },
  {
    title: 'a segment in the directory of another collection is wrong',
    damage: async ({ root }, [zero]) => {
      await addCollection(zero, 'orders', id('1'));
      await addCollection(zero, 'items', id('2'));
      const path = await addSegment(zero, { ...orders, first: 1, last: 3 });
      await writeFile(join(root, 'w0', 'items', segmentName(1, 3)), await readFile(join(root, 'w0', path)));
    },
    wrong: /items\/.*: is of the collection "orders", in another's directory/,
  },
  {
    title: 'E13 a segment of another incarnation than its directory is wrong',
    damage: async (_setup, [zero]) => {
      await addCollection(zero, 'orders', id('2'));
      await addSegment(zero, { ...orders, first: 1, last: 3 });
    },
    wrong: /is of incarnation 1{32}, beside a _collection\.json of 2{32}/,
  },
  {
    title: 'a file that lost its end is wrong',
    damage: async ({ root }, [zero]) => {
      await addCollection(zero, 'orders', id('1'));
      const file = join(root, 'w0', await addSegment(zero, { ...orders, first: 1, last: 3 }));
      await writeFile(file, (await readFile(file)).subarray(0, -3));
    },
    wrong: /has \d+ bytes, and its header says \d+/,
  },
  {
    title: 'E22 a gap between segments is wrong',
    damage: async (_setup, [zero]) => {
      await addCollection(zero, 'orders', id('1'));
      await addSegment(zero, { ...orders, first: 1, last: 10 });
      await addSegment(zero, { ...orders, first: 21, last: 30 });
    },
    wrong: /collection "orders": lacks the entries 11 to 20/,
  },
  {
    title: 'E22 a gap between segment and journal is wrong',
    damage: async (_setup, [zero]) => {
      await addCollection(zero, 'orders', id('1'));
      await addSegment(zero, { ...orders, first: 1, last: 10 });
      await addJournal(zero, [{ name: 'orders', incarnation: id('1'), first: 12, last: 13 }]);
    },
    wrong: /collection "orders": lacks the entries 11 to 11/,
  },
  {
    title: 'what a state record knows and nothing holds is wrong',
    damage: async ({ root }, [zero]) => {
      await addCollection(zero, 'orders', id('1'));
      await addJournal(zero, [{ name: 'orders', incarnation: id('1'), first: 11, last: 10, damage: '' }]);
      assert.equal((await readdir(join(root, 'w0', 'orders'))).length, 1);
    },
    wrong: /collection "orders": lacks the entries 1 to 10/,
  },
  {
    title: 'a gap below the checkpoint is none',
    damage: async (_setup, [zero]) => {
      await addCollection(zero, 'orders', id('1'));
      await addSegment(zero, { ...orders, first: 1, last: 10 });
      await addSegment(zero, { ...orders, first: 21, last: 30, checkpoint: 20 });
    },
  },
  {
    title: 'an entry-free segment and entries that go on in the journal are fine',
    damage: async (_setup, [zero]) => {
      await addCollection(zero, 'orders', id('1'));
      await addSegment(zero, { ...orders, first: 31, last: 30, checkpoint: 30 });
      await addJournal(zero, [{ name: 'orders', incarnation: id('1'), first: 31, last: 33 }]);
    },
  },
  {
    title: 'E11 a segment inside another is void, which is noted',
    damage: async (_setup, [zero]) => {
      await addCollection(zero, 'orders', id('1'));
      await addSegment(zero, { ...orders, first: 1, last: 30 });
      await addSegment(zero, { ...orders, first: 11, last: 20 });
    },
    note: /0011-0+20\.avro: is void beside others/,
  },
  {
    title: 'E21 damage that a recovery recorded is wrong',
    damage: (_setup, [zero]) =>
      addJournal(zero, [
        { name: 'orders', incarnation: id('1'), first: 1, last: 3, damage: 'entries 4 to 9 were lost' },
      ]),
    wrong: /collection "orders": is DAMAGED, as its last recovery found: entries 4 to 9 were lost/,
  },
  {
    title: 'E22 two undropped incarnations with entries are wrong',
    damage: async (_setup, [zero, one]) => {
      await addCollection(zero, 'orders', id('1'));
      await addSegment(zero, { ...orders, first: 1, last: 3 });
      await addCollection(one, 'orders', id('2'));
      await addSegment(one, { collection: 'orders', incarnation: id('2'), first: 1, last: 3 });
    },
    wrong: /collection "orders": has 2 incarnations that were never dropped: 1{32} at .*w0; 2{32} at .*w1/,
  },
  {
    title: 'E12 of two incarnations, one dropped in the journal of another URL, the other is fine',
    damage: async (_setup, [zero, one]) => {
      await addCollection(zero, 'orders', id('1'));
      await addSegment(zero, { ...orders, first: 5, last: 7 });
      await addCollection(one, 'orders', id('2'));
      await addSegment(one, { collection: 'orders', incarnation: id('2'), first: 1, last: 3 });
      await addJournal(one, [{ name: 'orders', incarnation: id('1'), first: 1, last: 0, drop: true }]);
    },
  },
  {
    title: 'E20 an unclean end of a journal is noted',
    damage: async ({ root }, [zero]) => {
      const journal = await addJournal(zero, [{ name: 'orders', incarnation: id('1'), first: 1, last: 3 }]);
      await appendFile(join(root, 'w0', '_journal', journal.files[0]?.name ?? ''), Buffer.alloc(77, 1));
    },
    note: /\.journal: ends in 77 bytes, from offset \d+, of a write that was under way or interrupted/,
  },
  {
    title: 'E20 damage in the middle of a journal is wrong, with the collections that it hit',
    damage: async ({ root }, [zero]) => {
      const frame = { name: 'orders', incarnation: id('1') };
      const journal = await addJournal(zero, [
        { ...frame, first: 1, last: 3 },
        { ...frame, first: 4, last: 6 },
      ]);
      const file = join(root, 'w0', '_journal', journal.files[0]?.name ?? '');
      const bytes = await readFile(file);
      const at = bytes.indexOf('INSERT');
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
      await writeFile(file, bytes);
    },
    wrong: /\.journal: is damaged: \d+ bytes from offset \d+.*it held "orders" \(1 to 3\)/,
  },
  {
    title: 'a journal file that was set aside is noted',
    damage: async ({ root }) => {
      await mkdir(join(root, 'w0', '_journal'));
      await writeFile(join(root, 'w0', '_journal', '_damaged-x'), '');
    },
    note: /_journal\/_damaged-x: is a journal file that held damage/,
  },
  {
    title: 'E23 a collection of another component under two URLs is wrong',
    damage: async (setup, [, , viper]) => {
      const config = await readFile(setup.configFile, 'utf8');
      const second = `file://${setup.root}/viper2`;
      await writeFile(setup.configFile, config.replace(`"${setup.viperUrl}"`, `"${setup.viperUrl}", "${second}"`));
      await addCollection(viper, 'orders', id('1'));
      await addCollection(await setup.storage('viper2', 'viper', id('d')), 'orders', id('2'));
    },
    wrong: /viper2: holds a directory of the collection "orders", whose home is .*viper/,
  },
  {
    title: 'R6 a URL on an object store, which this version cannot read, is wrong',
    damage: async (setup) => {
      const config = await readFile(setup.configFile, 'utf8');
      await writeFile(setup.configFile, config.replace(setup.viperUrl, 's3://bucket/viper'));
    },
    wrong: /^s3:\/\/bucket\/viper: is on an object store/,
  },
];

for (const { title, damage, wrong, note } of cases) {
  test(title, async (context) => {
    const setup = await setUp(context);
    await damage(setup, await whole(setup));
    const found = await setup.findings();
    assert.match(found.wrong.join('\n'), wrong ?? /^$/);
    if (note !== undefined) assert.match(found.notes.join('\n'), note);
    else if (wrong === undefined) assert.deepEqual(found.notes, []);
    assert.equal(found.status, wrong === undefined ? 0 : 1);
  });
}

test('E16 whichever byte of a segment is changed, verify says that it is wrong', async (context) => {
  const setup = await setUp(context);
  const [zero] = await whole(setup);
  await addCollection(zero, 'orders', id('1'));
  const path = await addSegment(zero, { ...orders, first: 1, last: 70, payloadBytes: 1000 });
  const file = join(setup.root, 'w0', path);
  const bytes = await readFile(file);
  const blocks = bytes.lastIndexOf(bytes.subarray(-16), -17);
  assert.ok(blocks > 60_000, 'there are two blocks');
  const places = [
    ...Array(1000).keys(),
    ...Array.from({ length: 60 }, (_, index) => blocks - 30 + index),
    bytes.length - 1,
  ];
  for (const place of places.filter((_, index) => index % 5 === 0 || index > 995)) {
    const changed = Buffer.from(bytes);
    changed.writeUInt8(changed.readUInt8(place) ^ 0x10, place);
    await writeFile(file, changed);
    assert.notDeepEqual((await setup.findings()).wrong, [], `byte ${place}`);
  }
});
