import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import * as fc from 'fast-check';
import type { Configuration } from './configuration.ts';
import { fileBytesMax, load, parse, refuseUnsupported } from './parse.ts';
import { format } from './problem.ts';

const mebibyte = 1024 * 1024;
const environment = { POD_NAME: 'proximadb-0', TOKEN: 'hush' };

/** The smallest file that holds, with more keys in [storage.wal_config]. */
function withWal(keys: string): string {
  return `[storage.wal_config]\nwal_urls = ["file:///data/wal"]\n${keys}\n`;
}

function problemsOf(text: string): string {
  const { configuration, problems } = parse(text, environment);
  assert.equal(configuration === undefined, problems.length > 0);
  return format(problems);
}

function warningsOf(text: string): string {
  const { problems, warnings } = parse(text, environment);
  assert.equal(format(problems), '');
  return format(warnings);
}

function configurationOf(text: string): Configuration {
  const { configuration, problems } = parse(text, environment);
  assert.ok(configuration, format(problems));
  return configuration;
}

const everything = `
[storage.wal_config]
wal_urls = ["file:///mnt/nvme1/wal", "file:///mnt/nvme2/wal", "s3://wal-bucket1/proximadb", "adls://acct.dfs.core.windows.net/container/path", "gcs://bucket/prefix"]
distribution_strategy = "LoadBalanced"
collection_affinity = true
memory_flush_size_bytes = 1048576
global_flush_threshold = 536870912
sync_mode = "Always"
linger_ms = 50
compression = "none"

[storage.viper_config]
data_urls = ["file:///mnt/nvme1/viper", "s3://data-bucket/viper"]
[storage.lsm_config]
storage_urls = ["file:///mnt/ssd1/lsm", "file:///mnt/ssd2/lsm"]
[storage.index_config]
index_urls = ["file:///mnt/nvme1/index"]
[storage.metadata_config]
metadata_urls = ["file:///mnt/nvme1/metadata"]
`;

test('the file of the documents parses, and its values are the defaults', () => {
  const { wal, components } = configurationOf(everything);
  assert.deepEqual(
    wal.urls.map(({ scheme }) => scheme),
    ['file', 'file', 's3', 'adls', 'gcs'],
  );
  const { urls: _, ...values } = wal;
  const { urls: __, ...defaults } = configurationOf(withWal('')).wal;
  assert.deepEqual(values, defaults);
  assert.deepEqual(defaults, {
    distributionStrategy: 'LoadBalanced',
    collectionAffinity: true,
    memoryFlushSizeBytes: mebibyte,
    globalFlushThresholdBytes: 512 * mebibyte,
    syncMode: 'Always',
    syncIntervalMs: 1000,
    lingerMs: 50,
    compression: 'none',
  });
  assert.deepEqual([...components.keys()], ['wal', 'viper', 'lsm', 'index', 'metadata']);
  assert.equal(components.get('wal'), wal);
  assert.equal(components.get('lsm')?.urls[1]?.url, 'file:///mnt/ssd2/lsm');
});

test('every key of the WAL section is read', () => {
  const { wal } = configurationOf(
    withWal(`distribution_strategy = "Hash"
      collection_affinity = false
      memory_flush_size_bytes = 2097152
      global_flush_threshold = 134217728
      sync_mode = "Periodic"
      sync_interval_ms = 200
      linger_ms = 0
      compression = "zstd"`),
  );
  const { urls: _, ...values } = wal;
  assert.deepEqual(values, {
    distributionStrategy: 'Hash',
    collectionAffinity: false,
    memoryFlushSizeBytes: 2 * mebibyte,
    globalFlushThresholdBytes: 128 * mebibyte,
    syncMode: 'Periodic',
    syncIntervalMs: 200,
    lingerMs: 0,
    compression: 'zstd',
  });
});

test('each component takes distribution_strategy and collection_affinity', () => {
  const text = `${withWal('')}[storage.index_config]\nindex_urls = ["gs://bucket"]\ndistribution_strategy = "RoundRobin"\ncollection_affinity = false`;
  const index = configurationOf(text).components.get('index');
  assert.equal(index?.distributionStrategy, 'RoundRobin');
  assert.equal(index?.collectionAffinity, false);
});

test('a flush size is 2 MiB by default where all URLs are object stores, 1 MiB otherwise', () => {
  const stores = '[storage.wal_config]\nwal_urls = ["s3://bucket/a", "gs://bucket/b"]';
  const mixed = '[storage.wal_config]\nwal_urls = ["s3://bucket/a", "file:///b"]';
  assert.equal(configurationOf(stores).wal.memoryFlushSizeBytes, 2 * mebibyte);
  assert.equal(configurationOf(mixed).wal.memoryFlushSizeBytes, mebibyte);
});

test('legacy wal_dir stands in for wal_urls, with a warning', () => {
  for (const text of [
    '[storage]\nwal_dir = "/data/wal"',
    '[storage]\nwal_dir = "/data/wal"\n[storage.wal_config]\nlinger_ms = 50',
  ]) {
    assert.deepEqual(
      configurationOf(text).wal.urls.map(({ url }) => url),
      ['file:///data/wal'],
    );
    assert.match(
      warningsOf(text),
      /^storage\.wal_dir = "\/data\/wal": is the old form; .*wal_urls = \["file:\/\/\/data\/wal"\]/,
    );
  }
});

test('wal_urls wins over wal_dir, with a warning', () => {
  const text = `[storage]\nwal_dir = "/elsewhere"\n${withWal('')}`;
  assert.equal(configurationOf(text).wal.urls[0]?.url, 'file:///data/wal');
  assert.match(
    warningsOf(text),
    /^storage\.wal_dir = "\/elsewhere": is ignored, since storage\.wal_config\.wal_urls is there/,
  );
});

test('without wal_urls and wal_dir there is no built-in directory', () => {
  for (const text of ['', '[server]\nport = 5678', '[storage]', '[storage.wal_config]\nlinger_ms = 50']) {
    assert.match(problemsOf(text), /^storage\.wal_config\.wal_urls: is missing.*no built-in directory; write /);
  }
});

test('variables are expanded, and the URL as written is kept', () => {
  const [url] = configurationOf('[storage.wal_config]\nwal_urls = ["file:///data/${POD_NAME}/wal"]').wal.urls;
  assert.equal(url?.url, 'file:///data/proximadb-0/wal');
  assert.equal(url?.written, 'file:///data/${POD_NAME}/wal');
});

const refused: readonly [title: string, text: string, said: RegExp][] = [
  [
    'origin: an empty list divided by zero; here it',
    '[storage.wal_config]\nwal_urls = []',
    /wal_urls = \[\]: is an empty list; name/,
  ],
  [
    'an empty list beside wal_dir',
    '[storage]\nwal_dir = "/a"\n[storage.wal_config]\nwal_urls = []',
    /is an empty list/,
  ],
  ['a list that is none', '[storage.wal_config]\nwal_urls = "file:///a"', /wal_urls = "file:\/\/\/a": must be a list/],
  ['an element that is no text', '[storage.wal_config]\nwal_urls = [1]', /wal_urls\[0\] = 1: must be a string/],
  [
    'R5: more than 32 URLs',
    `[storage.wal_config]\nwal_urls = [${Array.from({ length: 33 }, (_, index) => `"file:///d${index}"`).join()}]`,
    /has 33 URLs, 32 are allowed/,
  ],
  [
    'a duplicate',
    '[storage.wal_config]\nwal_urls = ["file:///a", "file:///a/"]',
    /\[1\].*same place as storage\.wal_config\.wal_urls\[0\]/,
  ],
  ['a duplicate in another form', '[storage.wal_config]\nwal_urls = ["gs://buck/a", "gcs://buck/a"]', /same place/],
  ['a URL inside another', '[storage.wal_config]\nwal_urls = ["s3://bucket", "s3://bucket/a"]', /\[1\].*lies inside/],
  ['a URL around another', '[storage.wal_config]\nwal_urls = ["file:///a/b", "file:///a"]', /\[1\].*contains/],
  [
    'a URL inside that of another component',
    `${withWal('')}[storage.lsm_config]\nstorage_urls = ["file:///data/wal/lsm"]`,
    /lsm_config\.storage_urls\[0\].*lies inside storage\.wal_config\.wal_urls\[0\]/,
  ],
  [
    'a duplicate of wal_dir',
    '[storage]\nwal_dir = "/a"\n[storage.viper_config]\ndata_urls = ["file:///a"]',
    /data_urls\[0\].*same place as storage\.wal_dir/,
  ],
  ['a relative wal_dir', '[storage]\nwal_dir = "data/wal"', /wal_dir = "data\/wal": must be an absolute directory/],
  ['a wal_dir that is a URL', '[storage]\nwal_dir = "s3://b/c"', /must be an absolute directory.*wal_urls/],
  ['a wal_dir with ..', '[storage]\nwal_dir = "/a/../b"', /^storage\.wal_dir = .*\.\./],
  ['an unset variable', '[storage.wal_config]\nwal_urls = ["file:///${NOPE}"]', /variable NOPE is not set/],
  [
    'a section without its list',
    `${withWal('')}[storage.viper_config]\ncollection_affinity = true`,
    /data_urls: is missing/,
  ],
  ['a section that is no table', `${withWal('')}[storage]\nviper_config = 1`, /viper_config = 1: must be a table/],
  ['a WAL section that is no table', '[storage]\nwal_config = "x"', /wal_config = "x": must be a table/],
  ['storage that is no table', 'storage = 1', /^storage = 1: must be a table/],
  [
    'a strategy',
    withWal('distribution_strategy = "Random"'),
    /"Random": must be one of "RoundRobin", "Hash", "LoadBalanced"/,
  ],
  ['a misspelt strategy', withWal('distribution_strategy = "roundrobin"'), /did you mean "RoundRobin"\?/],
  ['an affinity', withWal('collection_affinity = "yes"'), /"yes": must be a boolean/],
  ['a sync mode', withWal('sync_mode = "PerBatch"'), /must be one of "Always", "Periodic", "Never"/],
  ['a compression', withWal('compression = "gzip"'), /must be one of "none", "deflate", "zstd"/],
  ['a flush size of 0', withWal('memory_flush_size_bytes = 0'), /= 0: must be at least 1 bytes/],
  [
    'a flush size with a point',
    withWal('memory_flush_size_bytes = 1048576.0'),
    /= 1048576\.0: must be an integer, in bytes/,
  ],
  ['a flush size in quotes', withWal('memory_flush_size_bytes = "1Mi"'), /= "1Mi": must be an integer/],
  ['a date', withWal('memory_flush_size_bytes = 1979-05-27'), /= 1979-05-27: must be an integer/],
  [
    'an integer above 2^53',
    withWal('global_flush_threshold = 9007199254740993'),
    /= 9007199254740993: must be at most/,
  ],
  ['a threshold under 128 MiB', withWal('global_flush_threshold = 134217727'), /must be at least 134217728 bytes/],
  [
    'a threshold under two flushes',
    withWal('memory_flush_size_bytes = 100000000\nglobal_flush_threshold = 199999999'),
    /global_flush_threshold = 199999999: must be at least 2 × memory_flush_size_bytes.*write global_flush_threshold = 200000000/,
  ],
  [
    'the default threshold under two flushes',
    withWal('memory_flush_size_bytes = 300000000'),
    /global_flush_threshold: is 536870912 by default, and must be at least 2 ×/,
  ],
  ['a sync interval of 0', withWal('sync_interval_ms = 0'), /must be at least 1 ms/],
  ['a sync interval over an hour', withWal('sync_interval_ms = 3600001'), /must be at most 3600000 ms/],
  ['a negative linger', withWal('linger_ms = -1'), /must be at least 0 ms/],
  ['a linger over a minute', withWal('linger_ms = 60001'), /must be at most 60000 ms/],
  ['failover, reserved', withWal('failover = true'), /failover = true: is reserved for a later version/],
  ['mirrors, reserved', withWal('mirrors = 2'), /mirrors = 2: is reserved/],
  [
    'draining_urls, reserved',
    `${withWal('')}[storage.lsm_config]\nstorage_urls = ["file:///l"]\ndraining_urls = []`,
    /storage\.lsm_config\.draining_urls = \[\]: is reserved/,
  ],
  [
    'an unknown key',
    withWal('flux = 1'),
    /wal_config\.flux = 1: is an unknown key; remove it; the keys here are wal_urls/,
  ],
  ['a misspelt key', withWal('sync_mod = "Always"'), /is an unknown key; did you mean sync_mode\?/],
  ['half a key', withWal('memory_flush_size = 1'), /did you mean memory_flush_size_bytes\?/],
  ['a quoted unknown key', withWal('"a b" = 1'), /storage\.wal_config\."a b" = 1: is an unknown key/],
  ['the key __proto__', withWal('__proto__ = 1'), /__proto__ = 1: is an unknown key/],
  ['a misspelt list', `${withWal('')}[storage.viper_config]\ndata_url = ["file:///v"]`, /did you mean data_urls\?/],
  [
    'a key of the WAL in another section',
    `${withWal('')}[storage.lsm_config]\nstorage_urls = ["file:///l"]\nlinger_ms = 1`,
    /lsm_config\.linger_ms = 1: is an unknown key/,
  ],
  [
    'a secret in a section',
    withWal('secret_access_key = "hush"'),
    /= \*\*\*: looks like an inline secret; .*credentials_dir/,
  ],
  [
    'options of no URL',
    `${withWal('')}[storage.url_options.s3]\nregion = "a"`,
    /url_options\.s3 = \{…\}: matches no URL of this file; use a URL exactly/,
  ],
  [
    'options of nearly a URL',
    `${withWal('')}[storage.url_options."file:///data/wal/"]`,
    /did you mean "file:\/\/\/data\/wal"\?/,
  ],
  [
    'options that are no table',
    `${withWal('')}[storage.url_options]\n"file:///data/wal" = 1`,
    /"file:\/\/\/data\/wal" = 1: must be a table/,
  ],
  ['rendered_by that is no text', `rendered_by = 1\n${withWal('')}`, /^rendered_by = 1: must be a string/],
  ['a key twice', withWal('linger_ms = 1\nlinger_ms = 2'), /^the file is not valid TOML at line 4, column 1/],
  ['a table twice', `${withWal('')}${withWal('')}`, /^the file is not valid TOML at line 4/],
];

for (const [title, text, said] of refused) {
  test(`${title} is refused: ${said.source}`, () => {
    assert.match(problemsOf(text), said);
  });
}

test('every problem is reported at once, each with its key path, value and remedy', () => {
  const { problems } = parse(
    `[storage.wal_config]
    wal_urls = ["wal", "s3:///x", "file:///a", "file:///a"]
    sync_mode = "Sometimes"
    linger_ms = -5
    flux = true
    [storage.viper_config]
    data_urls = ["ftp://x"]
    [storage.url_options."s3://none"]`,
    environment,
  );
  assert.deepEqual(problems.map(({ keyPath }) => keyPath).toSorted(), [
    'storage.url_options."s3://none"',
    'storage.viper_config.data_urls[0]',
    'storage.wal_config.flux',
    'storage.wal_config.linger_ms',
    'storage.wal_config.sync_mode',
    'storage.wal_config.wal_urls[0]',
    'storage.wal_config.wal_urls[1]',
    'storage.wal_config.wal_urls[3]',
  ]);
  for (const { value, problem, remedy } of problems) {
    assert.notEqual(value, '');
    assert.notEqual(problem, '');
    assert.notEqual(remedy, '');
  }
});

test('R7 a syntax error names line and column, and quotes nothing of the file', () => {
  const said = problemsOf('[storage]\nsecret = "hush\nx = 1');
  assert.match(said, /^the file is not valid TOML at line 2, column \d+: /);
  assert.doesNotMatch(said, /hush/);
});

test('long values are shortened', () => {
  const [problem] = parse(withWal(`sync_mode = "${'x'.repeat(500)}"`), environment).problems;
  assert.equal(problem?.value.length, 100);
  assert.ok(problem?.value.endsWith('…'));
});

test('no text makes parse throw: it parses, or its problems are told', () => {
  const pieces = fc.constantFrom(
    ...everything.split(/(?<=\s)/),
    '[[storage]]\n',
    '= 1979-05-27\n',
    '= nan\n',
    '= {}\n',
    '\u0000',
  );
  const texts = fc.array(fc.oneof(pieces, fc.string({ unit: 'grapheme', maxLength: 5 })), { maxLength: 40 });
  fc.assert(
    fc.property(texts, (some) => {
      const { configuration, problems } = parse(some.join(''), environment);
      assert.equal(configuration === undefined, problems.length > 0);
    }),
    { numRuns: 2000 },
  );
  const values = fc.constantFrom(
    '1',
    '1.0',
    'nan',
    '"x"',
    "'''x'''",
    'true',
    '[]',
    '[{}]',
    '{ a = 1 }',
    '07:32:00',
    '1979-05-27',
  );
  const keys = fc.constantFrom(
    'wal_urls',
    'linger_ms',
    'sync_mode',
    'flux',
    '"a.b"',
    'storage.wal_config',
    'wal_dir',
    'url_options."x".y',
  );
  const tables = fc.constantFrom(
    '',
    '[storage]',
    '[storage.wal_config]',
    '[storage.url_options."x"]',
    '[storage.lsm_config]',
  );
  const lines = fc.tuple(tables, keys, values).map(([table, key, value]) => `${table}\n${key} = ${value}\n`);
  fc.assert(
    fc.property(fc.array(lines, { maxLength: 4 }), (some) => {
      const { configuration, problems } = parse(some.join(''), environment);
      assert.equal(configuration === undefined, problems.length > 0);
    }),
    { numRuns: 2000 },
  );
});

test("ProximaDB's own tables and keys are ignored", () => {
  const text = `
    [server]
    port = 5678
    data_dir = "/data"
    [storage]
    mmap_enabled = true
    metadata_url = "file:///data/metadata"
    [[storage.locations]]
    url = "file:///data/disk1"
    [storage.metadata_backend]
    storage_url = "file:///data/metadata"
    [storage.lsm_config]
    block_size_kb = 64
    compression = "snappy"
    [storage.index_config]
    [logging]
    started = 1979-05-27T07:32:00Z
    ${withWal('')}`;
  assert.equal(warningsOf(text), '');
  assert.deepEqual([...configurationOf(text).components.keys()], ['wal']);
});

test('near misses of our names, up to edit distance 2, warn', () => {
  const rows: readonly [text: string, said: RegExp][] = [
    [`${withWal('')}[storag.viper_config]`, /^storag = \{…\}: is not read by us; did you mean storage\?/],
    [`renderd_by = "1"\n${withWal('')}`, /did you mean rendered_by\?/],
    [`${withWal('')}[storage.vipre_config]`, /^storage\.vipre_config = .*did you mean storage\.viper_config\?/],
    [`${withWal('')}[storage.urloption]`, /did you mean storage\.url_options\?/],
    [`[storage]\nwal_dirs = "/a"\n${withWal('')}`, /did you mean storage\.wal_dir\?/],
  ];
  for (const [text, said] of rows) assert.match(warningsOf(text), said);
  assert.equal(warningsOf(`${withWal('')}[storage.vip_conf]`), '');
});

test('in a file whose first key is rendered_by, unknown and reserved keys of ours only warn', () => {
  const text = `# by the operator\nrendered_by = "9.9.9"\n${withWal('flux = 1\nmirrors = 2')}
    [storage.url_options."file:///data/wal"]\nflavour = "hush"`;
  const { configuration, problems, warnings } = parse(text, environment);
  assert.equal(format(problems), '');
  assert.equal(configuration?.renderedBy, '9.9.9');
  const said = format(warnings);
  assert.match(said, /flux = 1: is a key that this version does not know, so it is ignored/);
  assert.match(said, /mirrors = 2: is reserved for a later version, so this one ignores it/);
  assert.match(said, /flavour = \*\*\*: is a key that this version does not know/);
  assert.match(problemsOf(`rendered_by = "9.9.9"\n${withWal('sync_mode = "New"')}`), /must be one of/);
});

test('rendered_by anywhere but first makes no file a rendered one', () => {
  const text = `[server]\n${withWal('flux = 1')}`;
  assert.match(problemsOf(`title = "x"\nrendered_by = "9.9.9"\n${text}`), /flux = 1: is an unknown key/);
  assert.equal(configurationOf(`title = "x"\nrendered_by = "9.9.9"\n${withWal('')}`).renderedBy, undefined);
});

test('affinity false parses, and this version refuses it for each component', () => {
  const text = `${withWal('collection_affinity = false')}[storage.viper_config]\ndata_urls = ["file:///v"]\ncollection_affinity = false`;
  const refusals = refuseUnsupported(configurationOf(text));
  assert.deepEqual(
    refusals.map(({ keyPath }) => keyPath),
    ['storage.wal_config.collection_affinity', 'storage.viper_config.collection_affinity'],
  );
  assert.deepEqual(refuseUnsupported(configurationOf(withWal(''))), []);
});

test('load reads a file, with a byte order mark too', async (context) => {
  const directory = await mkdtemp(join(tmpdir(), 'walstorage-config-'));
  context.after(() => rm(directory, { recursive: true }));
  const file = join(directory, 'walstorage.toml');
  await writeFile(file, `\uFEFF${withWal('')}`);
  assert.equal((await load(file, environment)).configuration?.wal.urls.length, 1);
});

test('load reports a missing, a large, a binary file and a directory as a problem that names it', async (context) => {
  const directory = await mkdtemp(join(tmpdir(), 'walstorage-config-'));
  context.after(() => rm(directory, { recursive: true }));
  const file = join(directory, 'walstorage.toml');
  assert.match(format((await load(file, environment)).problems), /walstorage\.toml.*ENOENT.*--config/);
  assert.match(format((await load(directory, environment)).problems), /EISDIR/);
  await writeFile(file, Buffer.from([0xff, 0xfe, 0x00]));
  assert.match(format((await load(file, environment)).problems), /not valid/);
  await writeFile(file, '#'.repeat(fileBytesMax + 1));
  assert.match(format((await load(file, environment)).problems), /more than 1048576 bytes/);
});

test('the quickstart configuration holds, with four WAL directories below the checkout', async () => {
  const { configuration, problems, warnings } = await load(
    new URL('../../examples/quickstart.toml', import.meta.url).pathname,
    { PWD: '/checkout' },
  );
  assert.equal(format([...problems, ...warnings]), '');
  assert.deepEqual(
    configuration?.wal.urls.map(({ url }) => url),
    ['d1', 'd2', 'd3', 'd4'].map((name) => `file:///checkout/data/${name}`),
  );
});
