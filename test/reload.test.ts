/**
 * A running sidecar and its changing configuration file (O6): what is hot is in force without a restart and loses nothing, what is
 * not waits for one and says so, and a bad file changes nothing.
 */
import assert from 'node:assert/strict';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { hashOf } from '../sidecar/config/hash.ts';
import { publishMounted } from './mounted-directory.ts';
import { asMap, type RespClient, readAll, Unanswered } from './resp-client.ts';
import { type RunningSidecar, until } from './running-sidecar.ts';
import { append, homeOf, type Scene, testFault } from './scene.ts';

interface ConfigAnswer {
  readonly configHash: string;
  readonly pendingKeys: readonly string[];
  readonly error?: string;
  readonly configuration: { readonly storage: { readonly wal_config: Readonly<Record<string, unknown>> } };
}

interface UrlsAnswer {
  readonly urls: readonly {
    readonly component: string;
    readonly url: string;
    readonly state: string;
    readonly reason: string;
  }[];
}

const shownConfig = (sidecar: RunningSidecar): Promise<ConfigAnswer> => sidecar.get('/v1/config');

/** Replaces the file as an editor does, and resolves when the sidecar has it in force as a whole. */
async function change(sidecar: RunningSidecar, text: string): Promise<void> {
  await replace(sidecar.configurationFile, text);
  await until(
    'the new configuration is in force',
    async () => (await shownConfig(sidecar)).configHash === hashOf(text),
  );
}

async function replace(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text);
  await rename(`${file}.new`, file);
}

/** The state and reason of the URL whose last part is `name`; undefined where none is shown. */
async function urlNamed(sidecar: RunningSidecar, name: string): Promise<UrlsAnswer['urls'][number] | undefined> {
  const { urls }: UrlsAnswer = await sidecar.get('/v1/urls');
  return urls.find(({ url }) => url.endsWith(`/${name}`));
}

/** Appends until told to end, so many at once; what was acknowledged is counted by collection. */
class Appending {
  readonly acknowledged = new Map<string, number>();
  readonly #lanes: readonly Promise<void>[];
  #isEnding = false;

  constructor(client: RespClient, collections: readonly string[]) {
    this.#lanes = collections.map((collection) => this.#lane(client, collection));
  }

  get total(): number {
    return [...this.acknowledged.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Resolves when so many more were acknowledged. */
  async more(count: number): Promise<void> {
    const wanted = this.total + count;
    await until(`${count} more appends`, () => this.total >= wanted);
  }

  async end(): Promise<void> {
    this.#isEnding = true;
    await Promise.all(this.#lanes);
  }

  async #lane(client: RespClient, collection: string): Promise<void> {
    for (let next = 1; !this.#isEnding; next++) {
      try {
        assert.equal(await append(client, collection, Buffer.alloc(500, `${collection} ${next} `)), next);
        this.acknowledged.set(collection, next);
      } catch (error) {
        if (error instanceof Unanswered) return;
        throw error;
      }
    }
  }
}

const names = Array.from({ length: 16 }, (_, index) => `collection-${index}`);

testFault(
  'O6 changed sizes, thresholds, compression and strategy are in force while appends run; nothing acknowledged is lost, in any order or twice (R1)',
  async (scene) => {
    const { sidecar, client } = await scene.serve();
    const appending = new Appending(client, names);
    await appending.more(500);
    for (let round = 0; round < 6; round++) {
      const isSmall = round % 2 === 0;
      const keys = {
        memory_flush_size_bytes: isSmall ? 4096 : 1_048_576,
        global_flush_threshold: (isSmall ? 128 : 512) * 1024 * 1024,
        compression: isSmall ? 'zstd' : 'none',
        distribution_strategy: isSmall ? 'Hash' : 'RoundRobin',
      };
      await change(sidecar, scene.configuration(['d1', 'd2'], keys));
      const { configuration } = await shownConfig(sidecar);
      for (const [key, value] of Object.entries(keys)) assert.equal(configuration.storage.wal_config[key], value);
      await appending.more(500);
    }
    const flushed = asMap(await client.send('WAL.STAT', names[0] ?? ''));
    assert.ok(Number(flushed.get('segments')) > 0, 'under the small size entries became segments');
    await sidecar.kill();
    await appending.end();
    const again = await scene.serve();
    for (const name of names) {
      const entries = await readAll(again.client, name);
      const acknowledged = appending.acknowledged.get(name) ?? 0;
      // The one that was on its way may be there, too.
      assert.ok(
        entries.length === acknowledged || entries.length === acknowledged + 1,
        `${entries.length} of ${acknowledged}`,
      );
      for (const [index, entry] of entries.entries()) {
        assert.equal(entry.sequence, index + 1);
        assert.deepEqual(entry.payload, Buffer.alloc(500, `${name} ${index + 1} `));
      }
    }
  },
);

testFault('O6 a bad file changes nothing and says so; the good one after it is in force', async (scene) => {
  const { sidecar, client } = await scene.serve();
  const before = await shownConfig(sidecar);
  for (const [text, problem] of [
    [
      scene.configuration(['d1', 'd2'], { linger_ms: 'soon' }),
      /storage\.wal_config\.linger_ms = "soon": must be an integer/,
    ],
    [scene.configuration(['d1', 'd2'], { global_flush_threshold: 7 }), /must be at least 134217728 bytes/],
    ['[storage.wal_config\n', /the file is not valid TOML at line 1/],
  ] as const) {
    await writeFile(sidecar.configurationFile, text);
    await until('the problem is shown', async () => problem.test((await shownConfig(sidecar)).error ?? ''));
    const { error: _, ...rest } = await shownConfig(sidecar);
    assert.deepEqual(rest, before);
    assert.equal(await append(client, 'orders', 'entry'), (await readAll(client, 'orders')).length);
  }
  assert.match(String(sidecar.logged('the old one stays in force')?.['error']), /linger_ms/);
  await change(sidecar, scene.configuration(['d1', 'd2'], { linger_ms: 7 }));
  const after = await shownConfig(sidecar);
  assert.deepEqual([after.error, after.configuration.storage.wal_config['linger_ms']], [undefined, 7]);
});

testFault('O6 a ConfigMap’s mount changes by its ..data link, again and again', async (scene) => {
  const mount = scene.workplace.path('config');
  const file = 'walstorage.toml';
  const text = (lingerMs: number): string =>
    `rendered_by = "9.0.0"\n${scene.configuration(['d1'], { linger_ms: lingerMs })}`;
  await publishMounted(mount, { [file]: text(1) });
  const { sidecar } = await scene.serve({ configurationFile: scene.workplace.path('config', file) });
  for (let lingerMs = 2; lingerMs < 5; lingerMs++) {
    await publishMounted(mount, { [file]: text(lingerMs) });
    await until('in force', async () => (await shownConfig(sidecar)).configHash === hashOf(text(lingerMs)));
  }
});

testFault(
  'version skew: unknown keys of a newer operator warn, at the start and in a running sidecar',
  async (scene) => {
    const newer = (key: string): string => `rendered_by = "9.0.0"\n${scene.configuration(['d1'], { [key]: 'value' })}`;
    const { sidecar } = await scene.serve({ configuration: newer('tiering') });
    assert.match(
      sidecar.stderr,
      /warnings:\n {2}storage\.wal_config\.tiering = "value": is a key that this version does not know/,
    );
    await change(sidecar, newer('compaction_window'));
    await until('the warning', () => sidecar.logged('configuration') !== undefined);
    const warnings = sidecar.log.map(({ warning }) => String(warning));
    assert.ok(
      warnings.some((warning) => /compaction_window = "value": is a key that this version does not know/.test(warning)),
    );
  },
);

testFault('SIGHUP has the file read at once, and ends nothing', async (scene) => {
  const { sidecar, client } = await scene.serve();
  const text = scene.configuration(['d1', 'd2'], { linger_ms: 9 });
  await writeFile(sidecar.configurationFile, text);
  sidecar.signal('SIGHUP');
  await until('in force', async () => (await shownConfig(sidecar)).configHash === hashOf(text));
  assert.equal(await append(client, 'orders', 'first'), 1);
  const times = (): number => sidecar.log.filter(({ msg }) => msg === 'the configuration was read again').length;
  const before = times();
  sidecar.signal('SIGHUP');
  await until('read again, though it is the same', () => times() > before);
  assert.equal(await sidecar.stop(), 0);
});

/** The states that the metric tells of a URL. */
async function metricStates(sidecar: RunningSidecar, name: string): Promise<string[]> {
  const response = await fetch(`http://${String(sidecar.logged('serving')?.['http'])}/metrics`);
  const lines = (await response.text()).split('\n');
  const shown = lines.filter(
    (line) => line.startsWith('proximadb_wal_url_state{') && line.includes(`/${name}"`) && line.endsWith(' 1'),
  );
  return shown.map((line) => /state="(\w+)"/.exec(line)?.[1] ?? '');
}

function podEnvironment(scene: Scene, mounts: readonly string[]): Record<string, string> {
  return { WALSTORAGE_MOUNTS: mounts.map((mount) => scene.workplace.path(mount)).join(':') };
}

testFault(
  'O5, O6 an added URL is Pending while the sidecar runs, and without its mount also after kill -9; a restarted pod uses it',
  async (scene) => {
    for (const mount of ['m1', 'm2']) await mkdir(scene.workplace.path(mount));
    const old = scene.configuration(['m1/wal']);
    const environment = podEnvironment(scene, ['m1']);
    const { sidecar, client } = await scene.serve({ configuration: old, environment });
    const text = scene.configuration(['m1/wal', 'm1/more', 'm2/new'], { linger_ms: 7 });
    await replace(sidecar.configurationFile, text);
    await until('hot', async () => (await shownConfig(sidecar)).configuration.storage.wal_config['linger_ms'] === 7);
    const shown = await shownConfig(sidecar);
    assert.deepEqual([shown.configHash, shown.pendingKeys], [hashOf(old), ['storage.wal_config.wal_urls']]);
    const [more, added] = [await urlNamed(sidecar, 'more'), await urlNamed(sidecar, 'new')];
    assert.deepEqual([more?.state, added?.state], ['Pending', 'Pending']);
    assert.match(more?.reason ?? '', /restart the pod to use it/);
    assert.match(added?.reason ?? '', /the pod has no mount for it: replace the pod/);
    assert.deepEqual(await metricStates(sidecar, 'new'), ['Pending']);
    const waits = (): number => sidecar.log.filter(({ key }) => key === 'storage.wal_config.wal_urls').length;
    assert.equal(waits(), 1);
    sidecar.signal('SIGHUP');
    await until('read again', () => sidecar.log.filter(({ msg }) => msg.includes('read again')).length === 2);
    assert.equal(waits(), 1, 'a key is logged once');
    for (const name of names) await append(client, name, 'first');
    assert.deepEqual(new Set(await Promise.all(names.map((name) => homeOf(client, name)))), new Set(['wal']));
    await sidecar.kill();

    const crashed = await scene.serve({ configuration: text, environment });
    assert.equal((await urlNamed(crashed.sidecar, 'more'))?.state, 'Available');
    assert.equal((await urlNamed(crashed.sidecar, 'new'))?.state, 'Pending');
    assert.equal((await shownConfig(crashed.sidecar)).configHash, '', 'no file is in force as a whole');
    assert.equal((await readAll(crashed.client, names[0] ?? '')).length, 1);
    await crashed.sidecar.kill();

    const replaced = await scene.serve({ configuration: text, environment: podEnvironment(scene, ['m1', 'm2']) });
    assert.equal((await urlNamed(replaced.sidecar, 'new'))?.state, 'Available');
    assert.equal((await shownConfig(replaced.sidecar)).configHash, hashOf(text));
    for (const name of names) assert.equal((await readAll(replaced.client, name)).length, 1);
  },
);

testFault(
  'O6 a removed URL, and another sync mode, wait for a restart: the URL is served until then',
  async (scene) => {
    const { sidecar, client } = await scene.serve();
    const inEach = new Map<string, string>();
    for (const name of names) {
      await append(client, name, 'first');
      inEach.set(await homeOf(client, name), name);
    }
    await replace(sidecar.configurationFile, scene.configuration(['d1'], { sync_mode: 'Never', linger_ms: 7 }));
    await until('hot', async () => (await shownConfig(sidecar)).configuration.storage.wal_config['linger_ms'] === 7);
    const { pendingKeys, configuration } = await shownConfig(sidecar);
    assert.deepEqual(pendingKeys, ['storage.wal_config.wal_urls', 'storage.wal_config.sync_mode']);
    assert.equal(configuration.storage.wal_config['sync_mode'], 'Always');
    assert.equal((await urlNamed(sidecar, 'd2'))?.state, 'Available');
    assert.equal(await append(client, inEach.get('d2') ?? '', 'second'), 2);
  },
);

testFault(
  'a Secret that comes, lacks a key and rotates shows in the reason of its URL, without a restart and without its content (R7)',
  async (scene) => {
    const directory = scene.workplace.path('wal-s3');
    await publishMounted(directory, {});
    const options = `[storage.url_options."s3://bucket/wal"]\ncredentials_dir = ${JSON.stringify(directory)}\n`;
    const configuration = `${scene.configuration(['d1', 's3://bucket/wal'])}${options}`;
    const { sidecar } = await scene.serve({ configuration });
    const shows = async (reason: RegExp): Promise<void> => {
      await until(String(reason), async () => reason.test((await urlNamed(sidecar, 'wal'))?.reason ?? ''));
      assert.equal((await urlNamed(sidecar, 'wal'))?.state, 'Unavailable');
    };
    await shows(
      /the Secret wal-s3 does not exist or is empty: create it .* AWS_ACCESS_KEY_ID \+ AWS_SECRET_ACCESS_KEY/,
    );
    await publishMounted(directory, { AWS_ACCESS_KEY_ID: 'hidden', AWS_SECRET_KEY: 'hidden' });
    await shows(/the Secret wal-s3 lacks AWS_SECRET_ACCESS_KEY and has AWS_SECRET_KEY instead/);
    await publishMounted(directory, { AWS_ACCESS_KEY_ID: 'hidden', AWS_SECRET_ACCESS_KEY: 'hidden' });
    await shows(/^s3:\/\/ comes with a later version/);
    await publishMounted(directory, { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: 'hidden' });
    await shows(/AWS_ACCESS_KEY_ID of the Secret wal-s3 is empty/);
    assert.ok(!JSON.stringify(sidecar.log).includes('hidden'));
  },
);
