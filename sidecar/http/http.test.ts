import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { type TestContext, test } from 'node:test';
import type { Assignment, Component } from '../assignment/assignment.ts';
import type { Configuration } from '../config/configuration.ts';
import { addressOf, closeServer, listen } from './listen.ts';
import { serveHttp } from './server.ts';
import { readinessChecks, type SidecarView, startupChecks, type UrlView } from './view.ts';

const configuration: Configuration = {
  wal: {
    urls: [{ written: 'file://${HOME}/wal', url: 'file:///mnt/d1/wal', scheme: 'file', path: '/mnt/d1/wal' }],
    distributionStrategy: 'LoadBalanced',
    collectionAffinity: true,
    memoryFlushSizeBytes: 1_048_576,
    globalFlushThresholdBytes: 536_870_912,
    syncMode: 'Always',
    syncIntervalMs: 1000,
    lingerMs: 50,
    compression: 'none',
  },
  components: new Map(),
  urlOptions: new Map([['s3://bucket/prefix', { region: 'us-west-2', credentialsDir: '/etc/credentials' }]]),
  renderedBy: undefined,
};

const wal: UrlView = {
  component: 'wal',
  index: 0,
  url: 'file:///mnt/d1/wal',
  state: 'Available',
  reason: '',
  id: 'a'.repeat(32),
  collections: 3,
  bytes: 866_000,
  files: 2,
  journalBytes: 4096,
  memoryBytes: 100,
};

function assignment(component: Component, collection: string): Assignment {
  const url = `file:///mnt/d1/${component}`;
  const assignedAt = '2026-11-22T10:00:00.000Z';
  return { component, collection, url, path: `${url}/x`, index: 0, assignedAt, incarnation: 'b'.repeat(32) };
}

interface Sidecar {
  urls: UrlView[];
  isServing: boolean;
  assignments: Map<Component, Assignment[]>;
  findings: string[];
  configError: string;
  pendingKeys: string[];
}

function viewOf(sidecar: Sidecar): SidecarView {
  return {
    version: '1.2.3',
    startedAt: new Date(Date.now() - 3_723_000),
    socketPath: '/run/walstorage/wal.sock',
    configurationFile: 'walstorage.toml',
    configHash: () => 'abc',
    configError: () => sidecar.configError,
    pendingKeys: () => sidecar.pendingKeys,
    configuration: () => ({ ...configuration, components: new Map([['wal', configuration.wal]]) }),
    urls: () => sidecar.urls,
    removedUrls: () => [],
    findings: () => sidecar.findings.map((finding) => ({ component: 'wal', finding })),
    assignments: (component) => sidecar.assignments.get(component) ?? [],
    counters: () => {
      return { connections: 2, connectionsReceived: 5, connectionsRejected: 1, commands: 70, receivedBytes: 9000 };
    },
    startup: () => startupChecks(sidecar.urls, sidecar.isServing),
    readiness: () => readinessChecks(sidecar.urls, sidecar.isServing),
  };
}

async function start(context: TestContext, more: Partial<Sidecar> = {}, isPod = false, host = '127.0.0.1') {
  const sidecar: Sidecar = {
    urls: [wal],
    isServing: true,
    assignments: new Map(),
    findings: [],
    configError: '',
    pendingKeys: [],
    ...more,
  };
  const server = await serveHttp({ address: `${host}:0`, isPod, view: viewOf(sidecar) });
  context.after(() => closeServer(server));
  const { port } = new URL(`http://${addressOf(server)}`);
  const get = (path: string, init?: RequestInit, from = '127.0.0.1') => fetch(`http://${from}:${port}${path}`, init);
  const json = async (path: string): Promise<unknown> => (await get(path)).json();
  return { sidecar, get, json };
}

test('health: 200 when every check holds, 503 else, with every check in the body', async (context) => {
  const { sidecar, get, json } = await start(context, { isServing: false, urls: [{ ...wal, state: 'Recovering' }] });
  for (const path of ['/startupz', '/readyz']) assert.equal((await get(path)).status, 503);
  assert.equal((await get('/livez')).status, 200);
  const recovering = { name: wal.url, ok: false, message: `${wal.url} is being recovered.` };
  const socket = {
    name: 'socket',
    ok: false,
    message: 'The socket accepts no connections yet: recovery is under way.',
  };
  assert.deepEqual(await json('/startupz'), { status: 'failing', checks: [recovering, socket] });
  Object.assign(sidecar, { isServing: true, urls: [wal] });
  for (const path of ['/startupz', '/readyz', '/livez']) assert.equal((await get(path)).status, 200);
});

test('a sidecar whose URLs are all Unavailable has started and is not ready, with the reasons', async (context) => {
  const urls: UrlView[] = [{ ...wal, state: 'Unavailable', reason: 'EIO: check the disk.' }];
  const { get } = await start(context, { urls });
  assert.equal((await get('/startupz')).status, 200);
  const response = await get('/readyz');
  assert.equal(response.status, 503);
  assert.match(await response.text(), /is Unavailable\. EIO: check the disk\./);
});

test('another component’s URL makes nobody ready', () => {
  assert.equal(
    readinessChecks([{ ...wal, component: 'viper' }], true).every((check) => check.ok),
    false,
  );
});

test('metrics: states, sizes and counters under proximadb_wal_, no collection in any label', async (context) => {
  const assignments = new Map([['wal' as const, [assignment('wal', 'secret_collection')]]]);
  const { get } = await start(context, { assignments });
  const text = await (await get('/metrics')).text();
  assert.match(text, /^proximadb_wal_url_state\{component="wal",url="file:\/\/\/mnt\/d1\/wal",state="Available"\} 1$/m);
  assert.match(text, /^proximadb_wal_url_state\{.*state="Missing"\} 0$/m);
  assert.match(text, /^proximadb_wal_url_live_bytes\{component="wal",url="file:\/\/\/mnt\/d1\/wal"\} 866000$/m);
  assert.match(text, /^proximadb_wal_commands_total 70$/m);
  assert.match(text, /^proximadb_wal_build_info\{version="1\.2\.3"\} 1$/m);
  const names = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  assert.ok(names.every((line) => line.startsWith('proximadb_wal_')));
  assert.ok(!text.includes('secret_collection'));
  assert.match(await (await get('/metrics')).text(), /^proximadb_wal_commands_total 70$/m);
});

test('assignments: filters, and pages that fit together while collections come and go', async (context) => {
  const names = Array.from({ length: 25 }, (_, index) => `c/${String(index).padStart(2, '0')}`);
  const of = (component: Component): Assignment[] => names.map((name) => assignment(component, name)).toReversed();
  const { sidecar, json } = await start(context, {
    assignments: new Map([
      ['wal', of('wal')],
      ['index', of('index')],
    ]),
  });
  const seen: string[] = [];
  let next = '';
  do {
    const page = await json(`/v1/assignments?limit=7${next}`);
    assert.ok(isPage(page) && page.assignments.length <= 7);
    seen.push(...page.assignments.map(({ component, collection }) => `${component} ${collection}`));
    next = page.continue === undefined ? '' : `&continue=${page.continue}`;
    sidecar.assignments.get('wal')?.push(assignment('wal', `a${seen.length}`));
  } while (next !== '');
  assert.deepEqual(seen, [...names.map((name) => `wal ${name}`), ...names.map((name) => `index ${name}`)]);
  const { incarnation, assignedAt, ...rest } = assignment('index', 'c/03');
  assert.deepEqual(await json('/v1/assignments?component=index&collection=c%2F03'), {
    assignments: [{ ...rest, assigned_at: assignedAt, incarnation }],
  });
  assert.deepEqual(await json('/v1/assignments?component=lsm'), { assignments: [] });
});

function isPage(value: unknown): value is { assignments: Assignment[]; continue?: string } {
  return typeof value === 'object' && value !== null && 'assignments' in value && Array.isArray(value.assignments);
}

test('a bad query is 400 with what would be right', async (context) => {
  const { get } = await start(context);
  const rows: [query: string, message: RegExp][] = [
    ['component=disk', /component=disk is none of wal, viper/],
    ['limit=0', /limit=0 is not a number from 1 to 5000/],
    ['limit=5001', /limit=5001/],
    ['limit=1e3', /limit=1e3/],
    ['limit=', /limit= is not a number/],
    ['continue=nonsense', /continue=nonsense was not given/],
    ['colection=x', /colection.* is unknown: use component, collection/],
    ['limit=1&limit=2', /limit is given twice/],
  ];
  for (const [query, message] of rows) {
    const response = await get(`/v1/assignments?${query}`);
    assert.equal(response.status, 400, query);
    assert.match(await response.text(), message);
  }
});

test('unknown paths, other methods and broken escapes get a JSON error', async (context) => {
  const { get } = await start(context);
  const rows: [path: string, method: string, status: number][] = [
    ['/v2', 'GET', 404],
    ['/%FF', 'GET', 404],
    ['/v1/urls', 'POST', 405],
    ['/', 'DELETE', 405],
  ];
  for (const [path, method, status] of rows) {
    const response = await get(path, { method });
    assert.equal(response.status, status, `${method} ${path}`);
    assert.match(await response.text(), /^\{"error":\{"code":/);
  }
});

test('urls: everything about each URL', async (context) => {
  const { json } = await start(context, { findings: ['lost+found is no collection.'] });
  const findings = [{ component: 'wal', finding: 'lost+found is no collection.' }];
  assert.deepEqual(await json('/v1/urls'), { urls: [wal], removed: [], findings });
});

test('config: what is in force, under the keys of the file', async (context) => {
  const { json } = await start(context);
  assert.deepEqual(await json('/v1/config'), {
    file: 'walstorage.toml',
    configHash: 'abc',
    pendingKeys: [],
    configuration: {
      storage: {
        wal_config: {
          wal_urls: ['file:///mnt/d1/wal'],
          distribution_strategy: 'LoadBalanced',
          collection_affinity: true,
          memory_flush_size_bytes: 1_048_576,
          global_flush_threshold: 536_870_912,
          sync_mode: 'Always',
          sync_interval_ms: 1000,
          linger_ms: 50,
          compression: 'none',
        },
        url_options: { 's3://bucket/prefix': { region: 'us-west-2', credentials_dir: '/etc/credentials' } },
      },
    },
  });
});

test('config: why a new file is not in force, and what of it waits for a restart; the status page says so, too', async (context) => {
  const pendingKeys = ['storage.wal_config.sync_mode'];
  const { get, json } = await start(context, { configError: 'linger_ms = "x": must be an integer', pendingKeys });
  const shown = await json('/v1/config');
  assert.ok(typeof shown === 'object' && shown !== null && 'error' in shown && 'pendingKeys' in shown);
  assert.deepEqual([shown.error, shown.pendingKeys], ['linger_ms = "x": must be an integer', pendingKeys]);
  const page = await (await get('/')).text();
  assert.match(
    page,
    /The new configuration is bad, and the old one in force: linger_ms = &#34;x&#34;: must be an integer/,
  );
  assert.match(page, /A new value of storage\.wal_config\.sync_mode waits for a restart\./);
});

test('the status page: states, sizes, collections, escaped, with nothing from elsewhere', async (context) => {
  const hostile = '<script>alert("1")</script>';
  const urls: UrlView[] = [wal, { ...wal, component: 'viper', state: 'Missing', reason: `mount ${hostile}` }];
  const assignments = new Map([['wal' as const, [assignment('wal', hostile)]]]);
  const { get } = await start(context, { urls, assignments, findings: [hostile] });
  const response = await get('/');
  assert.match(response.headers.get('content-type') ?? '', /text\/html/);
  assert.match(response.headers.get('content-security-policy') ?? '', /default-src 'none'/);
  const text = await response.text();
  assert.ok(!text.includes('<script'));
  assert.match(text, /845\.70 KiB/);
  assert.match(text, /up 1 h 2 min/);
  assert.match(text, /Missing/);
  assert.ok(!/(src|href)="(?!\/)/.test(text));
});

test('in a pod only loopback sees collections; probes and metrics are for everybody', async (context) => {
  const outside = Object.values(networkInterfaces())
    .flat()
    .find((face) => face !== undefined && !face.internal && face.family === 'IPv4')?.address;
  if (outside === undefined) {
    context.skip('this machine has no address but loopback');
    return;
  }
  const { get } = await start(context, {}, true, '0.0.0.0');
  for (const path of ['/', '/v1/assignments', '/v1/urls', '/v1/config']) {
    assert.equal((await get(path, {}, outside)).status, 403, path);
    assert.equal((await get(path)).status, 200, path);
  }
  for (const path of ['/startupz', '/readyz', '/livez', '/metrics'])
    assert.equal((await get(path, {}, outside)).status, 200);
});

const app = (): void => undefined;

test('an address that is none, or taken, is an error that says what to change', async (context) => {
  for (const address of ['', '9464', 'localhost', '127.0.0.1:99999', 'http://x:1', '::1:80']) {
    await assert.rejects(listen(address, app), /is not HOST:PORT, for example/);
  }
  const server = await listen('[::1]:0', app).catch(() => listen('127.0.0.1:0', app));
  context.after(() => closeServer(server));
  await assert.rejects(listen(addressOf(server), app), /is taken: end who listens there/);
});

test('who opens all connections and says nothing, or only half of it, keeps the probes out for moments only', async (context) => {
  const server = await listen('127.0.0.1:0', (_request, response) => response.end('ok'));
  const port = Number(addressOf(server).split(':').at(-1));
  const sockets = Array.from({ length: 256 }, () => connect(port, '127.0.0.1'));
  context.after(async () => {
    for (const socket of sockets) socket.destroy();
    await closeServer(server);
  });
  for (const [index, socket] of sockets.entries()) {
    socket.on('error', () => undefined);
    if (index % 2 === 0) socket.write('GET / HTTP/1.1\r\nHost:');
  }
  const startedMs = performance.now();
  let answer = '';
  while (answer !== 'ok' && performance.now() - startedMs < 20_000) {
    answer = await fetch(`http://127.0.0.1:${port}/`).then(
      async (response) => response.text(),
      () => '',
    );
  }
  assert.equal(answer, 'ok');
});
