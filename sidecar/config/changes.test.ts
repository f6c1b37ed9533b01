import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { parse as parseYaml } from 'yaml';
import type { WalStorageSpec } from '../../crds/walstorage.generated.ts';
import { components } from '../assignment/assignment.ts';
import {
  type ChangeRow,
  changes,
  componentPlaceholder,
  differences,
  restartHash,
  sectionPlaceholder,
  urlPlaceholder,
  urlsPlaceholder,
} from './changes.ts';
import type { Configuration } from './configuration.ts';
import {
  affinityKey,
  componentSections,
  legacyDirectoryKey,
  renderedByKey,
  strategyKey,
  urlOptionKeys,
  urlOptionsKey,
  walKeys,
  walSection,
} from './keys.ts';
import { parse } from './parse.ts';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly additionalProperties?: Schema;
}

/** The paths of a schema's values, as the table writes them; a list of plain values is one value. */
function* leaves(schema: Schema, path: string): Generator<string> {
  const { properties, items, additionalProperties } = schema;
  if (items?.properties !== undefined) yield* leaves(items, `${path}[]`);
  else if (additionalProperties !== undefined) yield* leaves(additionalProperties, `${path}{}`);
  else if (properties === undefined) yield path;
  else {
    for (const [name, below] of Object.entries(properties))
      yield* leaves(below, path === '' ? name : `${path}.${name}`);
  }
}

function specSchema(): Schema {
  const crd: {
    spec: { versions: { schema: { openAPIV3Schema: { properties: { spec: Schema } } } }[] };
  } = parseYaml(read('crds/walstorage.yaml'), { maxAliasCount: -1 });
  const schema = crd.spec.versions[0]?.schema.openAPIV3Schema.properties.spec;
  assert.ok(schema);
  return schema;
}

/** A row's fields, one for each component that it stands for. */
function fieldsOf({ field }: ChangeRow): string[] {
  if (field === undefined) return [];
  return field.startsWith(componentPlaceholder)
    ? components.map((name) => field.replace(componentPlaceholder, name))
    : [field];
}

/** A row's keys, one for each section that it stands for. */
function keysOf({ key }: ChangeRow): string[] {
  if (key === undefined) return [];
  if (!key.includes(sectionPlaceholder)) return [key];
  return componentSections.map(({ section, urlsKey }) =>
    key.replace(sectionPlaceholder, section).replace(urlsPlaceholder, urlsKey),
  );
}

test('O6: every field of the spec has exactly one row, and every row a field that is there', () => {
  const fields = changes.flatMap(fieldsOf);
  // Rows of a volume's source as such: its fields alone do not tell that there is one.
  const sources = ['volumes[].claimTemplate', 'volumes[].emptyDir'];
  assert.deepEqual(fields.toSorted(), [...leaves(specSchema(), ''), ...sources].toSorted());
});

test('O6: every key of the configuration file has exactly one row', () => {
  const keys = componentSections
    .flatMap(({ section, urlsKey }) => [urlsKey, strategyKey, affinityKey].map((key) => `storage.${section}.${key}`))
    .concat(Object.keys(walKeys).map((key) => `storage.${walSection.section}.${key}`))
    .concat(Object.keys(urlOptionKeys).map((key) => `storage.${urlOptionsKey}.${urlPlaceholder}.${key}`))
    .concat(`storage.${legacyDirectoryKey}`, renderedByKey);
  assert.deepEqual(changes.flatMap(keysOf).toSorted(), keys.toSorted());
});

const code = (text: string | undefined): string => (text === undefined ? '' : `\`${text}\``);

test('docs/changes.md shows the table', () => {
  const rows = changes.map(
    ({ field, key, change, note = '' }) => `| ${code(field)} | ${code(key)} | ${change} | ${note} |\n`,
  );
  const expected = `| field of the spec | key of the file | class | |\n|---|---|---|---|\n${rows.join('')}`;
  assert.ok(read('docs/changes.md').includes(expected), `the table of docs/changes.md should be\n\n${expected}`);
});

const full: WalStorageSpec = parseYaml(read('examples/full.yaml')).spec;
const small: WalStorageSpec = {
  volumes: [{ name: 'data', mountPath: '/mnt/data', claimTemplate: { resources: { requests: { storage: '20Gi' } } } }],
  wal: { urls: [{ url: 'file:///mnt/data/wal' }] },
};

/** A changed copy of a spec; `change` may do with it what it likes. */
function changed(spec: WalStorageSpec, path: string, value: unknown): WalStorageSpec {
  const copy: WalStorageSpec = structuredClone(spec);
  const steps = path.split('.');
  let place: object = copy;
  for (const step of steps.slice(0, -1)) {
    const below: unknown = Reflect.get(place, step) ?? {};
    assert.ok(typeof below === 'object' && below !== null);
    Reflect.set(place, step, below);
    place = below;
  }
  Reflect.set(place, steps.at(-1) ?? '', value);
  return copy;
}

test('O6: the hash changes with each restart field, and with no other', () => {
  const cases: readonly (readonly [path: string, value: unknown, restarts: boolean])[] = [
    ['volumes.0.mountPath', '/mnt/other', true],
    ['volumes.0.podVolume.subPath', 'other', true],
    ['volumes.1.claimTemplate.resources.requests.storage', '200Gi', false],
    ['volumes.1.claimTemplate.storageClassName', 'slow', true],
    ['volumes.3.hostPath.path', '/mnt/nvme3', true],
    ['volumes.4.emptyDir.sizeLimit', '2Gi', true],
    ['wal.urls.3.url', 's3://wal-bucket1/other', true],
    ['wal.urls.3.credentialsSecretRef.name', 'other', true],
    ['wal.urls.3.options.region', 'eu-west-1', true],
    ['wal.urls.6', { url: 's3://wal-bucket9/more' }, true],
    ['wal.distributionStrategy', 'Hash', false],
    ['viper.distributionStrategy', 'Hash', false],
    ['wal.collectionAffinity', false, true],
    ['wal.memoryFlushSize', '2Mi', false],
    ['wal.globalFlushThreshold', '1Gi', false],
    ['wal.syncMode', 'Never', true],
    ['wal.syncIntervalMs', 7, false],
    ['wal.lingerMs', 7, false],
    ['wal.compression', 'none', false],
    ['rollout', 'Restart', false],
    ['ephemeralPods', true, false],
    ['sidecar.image', 'walstorage:0.2.0', true],
    ['sidecar.resources.limits.memory', '2Gi', true],
    ['sidecar.resources.limits.cpu', 1, true],
    ['sidecar.resources.requests.cpu', '251m', true],
    ['sidecar.logLevel', 'debug', true],
    ['sidecar.httpPort', 9000, true],
  ];
  for (const [path, value, restarts] of cases) {
    assert.equal(restartHash(changed(full, path, value)) !== restartHash(full), restarts, path);
  }
});

const source = (name: string, value: object): WalStorageSpec =>
  changed(small, 'volumes.0', { name: 'data', mountPath: '/mnt/data', [name]: value });

test('O6: another source of a volume restarts, also one that has no field of its own that restarts', () => {
  const sources = [
    source('claimTemplate', { resources: { requests: { storage: '20Gi' } } }),
    source('emptyDir', {}),
    source('podVolume', { name: 'data' }),
    source('persistentVolumeClaim', { claimName: 'data' }),
    source('hostPath', { path: '/data' }),
  ];
  assert.equal(new Set(sources.map(restartHash)).size, sources.length);
});

test('O6: a default that is written out, another spelling of a quantity, and an empty object restart nothing', () => {
  const cases: readonly (readonly [WalStorageSpec, string, unknown])[] = [
    [small, 'wal.syncMode', 'Always'],
    [small, 'wal.collectionAffinity', true],
    [small, 'sidecar', {}],
    [small, 'sidecar.resources', { limits: {} }],
    [small, 'sidecar.logLevel', 'info'],
    [small, 'sidecar.httpPort', 9464],
    [small, 'wal.urls.0.options', {}],
    [small, 'wal.urls.0.options', { forcePathStyle: false }],
    [small, 'volumes.0.claimTemplate.accessModes', ['ReadWriteOnce']],
    [full, 'sidecar.resources.limits.memory', '1024Mi'],
    [full, 'sidecar.resources.requests.cpu', 0.25],
    [full, 'volumes.4.emptyDir.sizeLimit', 1_073_741_824],
  ];
  for (const [spec, path, value] of cases)
    assert.equal(restartHash(changed(spec, path, value)), restartHash(spec), path);
});

/** The value with the keys of all its objects in another order. */
function shuffled(value: unknown, seed: number): unknown {
  if (Array.isArray(value)) return value.map((item) => shuffled(item, seed));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, below]) => [key, shuffled(below, seed)] as const);
  const turn = seed % Math.max(1, entries.length);
  return Object.fromEntries([...entries.slice(turn), ...entries.slice(0, turn)].toReversed());
}

test('O6: the order of keys and of volumes does not count, that of URLs does', () => {
  fc.assert(
    fc.property(fc.nat(30), fc.shuffledSubarray([...(full.volumes ?? [])], { minLength: 5 }), (seed, volumes) => {
      const spec = shuffled({ ...full, volumes }, seed);
      assert.ok(isSpec(spec));
      assert.equal(restartHash(spec), restartHash(full));
    }),
  );
  const turned = changed(full, 'wal.urls', full.wal.urls.toReversed());
  assert.notEqual(restartHash(turned), restartHash(full));
});

function isSpec(value: unknown): value is WalStorageSpec {
  return typeof value === 'object' && value !== null && 'wal' in value;
}

test('O6: the hashes stay what they are from version to version: another one would replace every pod', () => {
  const spec: WalStorageSpec = {
    volumes: [
      { name: 'nvme1', mountPath: '/mnt/nvme1', claimTemplate: { resources: { requests: { storage: '20Gi' } } } },
      { name: 'scratch', mountPath: '/mnt/scratch', emptyDir: { sizeLimit: '1Gi' } },
    ],
    wal: {
      urls: [
        { url: 'file:///mnt/nvme1/wal' },
        { url: 's3://bucket/wal', credentialsSecretRef: { name: 'wal-s3' }, options: { region: 'us-west-2' } },
      ],
      syncMode: 'Periodic',
    },
    index: { urls: [{ url: 'file:///mnt/scratch/index' }] },
    sidecar: { image: 'walstorage:1', resources: { limits: { memory: '1Gi' } }, httpPort: 9000 },
  };
  assert.deepEqual(
    [restartHash(small), restartHash(spec)],
    [
      '1b4e3f700438bae470b2a32a06f4e0c093b7ea2bb87063203c1a7377c495ff1e',
      'a175e7221f75637ce6e53157fb3b48b04996b7b562c665e69c7bc4d7dd41fbbb',
    ],
  );
});

function configuration(wal: string, more = ''): Configuration {
  const { configuration: parsed, problems } = parse(`[storage.wal_config]\n${wal}\n${more}`, {});
  assert.ok(parsed, JSON.stringify(problems));
  return parsed;
}

const oneUrl = 'wal_urls = ["file:///d1"]';

test('differences names each key whose value is another one, with its class', () => {
  const old = configuration(oneUrl);
  const cases: readonly (readonly [Configuration, string])[] = [
    [configuration(`${oneUrl}\nmemory_flush_size_bytes = 4096`), 'storage.wal_config.memory_flush_size_bytes hot'],
    [configuration(`${oneUrl}\nglobal_flush_threshold = 268435456`), 'storage.wal_config.global_flush_threshold hot'],
    [configuration(`${oneUrl}\nsync_mode = "Never"`), 'storage.wal_config.sync_mode restart'],
    [configuration(`${oneUrl}\nsync_interval_ms = 1`), 'storage.wal_config.sync_interval_ms hot'],
    [configuration(`${oneUrl}\nlinger_ms = 1`), 'storage.wal_config.linger_ms hot'],
    [configuration(`${oneUrl}\ncompression = "zstd"`), 'storage.wal_config.compression hot'],
    [configuration(`${oneUrl}\ndistribution_strategy = "Hash"`), 'storage.wal_config.distribution_strategy hot'],
    [configuration(`${oneUrl}\ncollection_affinity = false`), 'storage.wal_config.collection_affinity restart'],
    [configuration('wal_urls = ["file:///d1", "file:///d2"]'), 'storage.wal_config.wal_urls restart'],
    [
      configuration(oneUrl, '[storage.lsm_config]\nstorage_urls = ["file:///l1"]'),
      'storage.lsm_config.storage_urls restart',
    ],
  ];
  for (const [next, expected] of cases) {
    assert.deepEqual(
      differences(old, next).map(({ key, change }) => `${key} ${change}`),
      [expected],
    );
  }
});

test('differences finds none where a default is written out, a URL is spelt another way, or the operator is a newer one', () => {
  const written = 'linger_ms = 50\nsync_mode = "Always"\ndistribution_strategy = "LoadBalanced"';
  assert.deepEqual(differences(configuration(oneUrl), configuration(`wal_urls = ["file:///d1/"]\n${written}`)), []);
  const rendered = (version: string): Configuration => ({ ...configuration(oneUrl), renderedBy: version });
  assert.deepEqual(differences(rendered('1'), rendered('2')), [{ key: 'rendered_by', change: 'operator' }]);
});

const stored = (options: string): Configuration =>
  configuration('wal_urls = ["s3://bucket/wal"]', `[storage.url_options."s3://bucket/wal"]\n${options}`);

test('differences compares the options of a URL that both have, and calls them by the key', () => {
  assert.deepEqual(differences(stored('region = "us-west-2"'), stored('region = "eu-west-1"')), [
    { key: 'storage.url_options."s3://bucket/wal".region', change: 'restart' },
  ]);
});
