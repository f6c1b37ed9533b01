import assert from 'node:assert/strict';
import test from 'node:test';
import * as fc from 'fast-check';
import { type Component, strategies } from '../assignment/assignment.ts';
import {
  type ComponentConfiguration,
  type Configuration,
  compressions,
  syncModes,
  type UrlOptions,
} from './configuration.ts';
import { parse } from './parse.ts';
import { format } from './problem.ts';
import { type RenderedComponent, type RenderedConfiguration, type RenderedUrl, render } from './render.ts';
import { parseStorageUrl, type StorageUrl } from './storage-url.ts';

const environment = { POD_NAMESPACE: 'team', POD_NAME: 'proximadb-0' };
const mebibyte = 1024 * 1024;
const otherComponents = ['viper', 'lsm', 'index', 'metadata'] as const;

/** Names as they may stand in a URL: with quotes, spaces inside, letters of all scripts, a variable. */
const names = fc.oneof(
  fc.constantFrom('wal', '${POD_NAMESPACE}/${POD_NAME}', 'a b', `it's "quoted"`, 'größe', '日本', "'''", '=[x]', '😀'),
  fc.stringMatching(/^[a-zA-Z0-9_.,;:&=+~!*()'"[\]{}<>|^`-]{1,20}$/).filter((name) => name !== '.' && name !== '..'),
);

const options: fc.Arbitrary<UrlOptions> = fc.record(
  {
    endpoint: fc.constantFrom('http://minio:9000', 'https://s3.example.org'),
    region: fc.constantFrom('us-west-2', 'eu-central-1'),
    forcePathStyle: fc.boolean(),
    credentialsDir: fc.constantFrom('/etc/walstorage/credentials/wal-s3', '/mnt/it\'s "here"'),
  },
  { requiredKeys: [], noNullPrototype: true },
);

/** URLs that no other list's overlap, since `list` and their place in it stand in their first part. */
function urls(list: string): fc.Arbitrary<RenderedUrl[]> {
  const forms = fc.constantFrom('file:///', 's3://bucket-', 'gs://bucket-', 'adls://account/container-');
  const one = fc.record({ form: forms, name: names, options: fc.option(options, { nil: undefined }) });
  return fc.array(one, { minLength: 1, maxLength: 32 }).map((entries) =>
    entries.map((entry, index) => ({
      url: `${entry.form}${list}${index}/${entry.name}`,
      ...(entry.options === undefined ? {} : { options: entry.options }),
    })),
  );
}

function component(list: string): fc.Arbitrary<RenderedComponent> {
  return fc.record(
    {
      urls: urls(list),
      distributionStrategy: fc.constantFrom(...strategies),
      collectionAffinity: fc.boolean(),
    },
    { requiredKeys: ['urls'], noNullPrototype: true },
  );
}

const walOnly = fc.record(
  {
    memoryFlushSizeBytes: fc.integer({ min: 1, max: 64 * mebibyte }),
    globalFlushThresholdBytes: fc.integer({ min: 128 * mebibyte, max: Number.MAX_SAFE_INTEGER }),
    syncMode: fc.constantFrom(...syncModes),
    syncIntervalMs: fc.integer({ min: 1, max: 3_600_000 }),
    lingerMs: fc.integer({ min: 0, max: 60_000 }),
    compression: fc.constantFrom(...compressions),
  },
  { requiredKeys: [], noNullPrototype: true },
);

const configurations: fc.Arbitrary<RenderedConfiguration> = fc.record(
  {
    renderedBy: fc.string({ unit: 'grapheme' }),
    wal: fc.tuple(component('wal'), walOnly).map(([common, own]) => Object.assign(common, own)),
    viper: component('viper'),
    lsm: component('lsm'),
    index: component('index'),
    metadata: component('metadata'),
  },
  { requiredKeys: ['renderedBy', 'wal'], noNullPrototype: true },
);

function storageUrl(written: string): StorageUrl {
  const parsed = parseStorageUrl(written, environment);
  assert.ok('url' in parsed, written);
  return parsed.url;
}

function expectedComponent(rendered: RenderedComponent): ComponentConfiguration {
  return {
    urls: rendered.urls.map(({ url }) => storageUrl(url)),
    distributionStrategy: rendered.distributionStrategy ?? 'LoadBalanced',
    collectionAffinity: rendered.collectionAffinity ?? true,
  };
}

/** What the sidecar is to understand: what was set, and the defaults. */
function expected(rendered: RenderedConfiguration): Configuration {
  const objectStoresOnly = rendered.wal.urls.every(({ url }) => !url.startsWith('file:'));
  const wal = {
    ...expectedComponent(rendered.wal),
    memoryFlushSizeBytes: rendered.wal.memoryFlushSizeBytes ?? (objectStoresOnly ? 2 : 1) * mebibyte,
    globalFlushThresholdBytes: rendered.wal.globalFlushThresholdBytes ?? 512 * mebibyte,
    syncMode: rendered.wal.syncMode ?? 'Always',
    syncIntervalMs: rendered.wal.syncIntervalMs ?? 1000,
    lingerMs: rendered.wal.lingerMs ?? 50,
    compression: rendered.wal.compression ?? 'none',
  };
  const components = new Map<Component, ComponentConfiguration>([['wal', wal]]);
  const urlOptions = new Map<string, UrlOptions>();
  for (const name of ['wal', ...otherComponents] as const) {
    const one = rendered[name];
    if (one === undefined) continue;
    if (name !== 'wal') components.set(name, expectedComponent(one));
    for (const { url, options: set } of one.urls) {
      if (set !== undefined && Object.keys(set).length > 0) urlOptions.set(url, set);
    }
  }
  return { wal, components, urlOptions, renderedBy: rendered.renderedBy };
}

test('what the operator renders is what the sidecar parses, for every valid configuration', () => {
  fc.assert(
    fc.property(configurations, (rendered) => {
      const text = render(rendered);
      assert.ok(text.startsWith('rendered_by = '));
      const { configuration, problems } = parse(text, environment);
      assert.equal(format(problems), '');
      assert.deepEqual(configuration, expected(rendered));
      assert.equal(render(rendered), text);
    }),
    { numRuns: 300 },
  );
});

test('O1 only keys that the user set are rendered, and rendered_by first', () => {
  const text = render({
    renderedBy: '0.1.0',
    wal: {
      urls: [
        { url: 'file:///mnt/nvme1/wal' },
        { url: 's3://wal-bucket1/${POD_NAME}', options: { region: 'us-west-2' } },
      ],
    },
    viper: { urls: [{ url: 'file:///mnt/nvme1/viper' }], distributionStrategy: 'Hash' },
  });
  assert.equal(
    text,
    [
      'rendered_by = "0.1.0"',
      '',
      '[storage.wal_config]',
      'wal_urls = [ "file:///mnt/nvme1/wal", "s3://wal-bucket1/${POD_NAME}" ]',
      '',
      '[storage.viper_config]',
      'data_urls = [ "file:///mnt/nvme1/viper" ]',
      'distribution_strategy = "Hash"',
      '',
      '[storage.url_options."s3://wal-bucket1/${POD_NAME}"]',
      'region = "us-west-2"',
      '',
    ].join('\n'),
  );
});
