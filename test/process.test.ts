/** A sidecar as a process: one writer on a directory, one server on a socket, and ends that lose nothing. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { program, root } from './requirement.ts';
import { type RespClient, readAll, Unanswered } from './resp-client.ts';
import { type RunningSidecar, until } from './running-sidecar.ts';
import { append, homeOf, oneInEach, refusal, type Scene, testFault, testFaultNeeding } from './scene.ts';

const pidNamespace = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];
const unshare = program('unshare', ['--version'], 'util-linux');

/** A second sidecar on the directories of one that serves: it ends with status 1 and names the holder; the first goes on. */
async function checkSecondIsRefused(scene: Scene, before: readonly string[]): Promise<void> {
  const { sidecar, client } = await scene.serve();
  assert.equal(await append(client, 'orders', 'first'), 1);
  const second = await scene.spawn({ socket: 'second.sock', before });
  assert.equal(await second.exit(), 1);
  assert.match(second.stderr, new RegExp(`/d[12]/_lock is locked by .*pid ${sidecar.pid} on host .*one writer`));
  assert.equal(await append(client, 'orders', 'second'), 2);
  assert.equal(await append(client, 'more', 'first'), 1);
  assert.equal(await sidecar.stop(), 0);
  const third = await scene.serve();
  assert.equal((await readAll(third.client, 'orders')).length, 2);
}

testFault('E28 a second sidecar on the same directories ends with status 1 and names the holder', async (scene) => {
  await checkSecondIsRefused(scene, []);
});

testFaultNeeding([root, unshare], 'E28 a second sidecar is refused from another pid namespace, too', async (scene) => {
  await checkSecondIsRefused(scene, pidNamespace);
});

testFault('a second sidecar that shares only one of the directories is refused, too', async (scene) => {
  const { sidecar, client } = await scene.serve();
  await append(client, 'orders', 'first');
  const configuration = scene.configuration(['d2', 'd3']);
  const second = await scene.spawn({ socket: 'second.sock', configuration });
  assert.equal(await second.exit(), 1);
  assert.match(second.stderr, new RegExp(`d2/_lock is locked by .*pid ${sidecar.pid} `));
  assert.equal(await append(client, 'orders', 'second'), 2);
});

testFault('a socket path where another sidecar listens: status 1 at once, and the other one goes on', async (scene) => {
  const { client } = await scene.serve();
  const second = await scene.spawn({ configuration: scene.configuration(['d3']) });
  assert.equal(await second.exit(), 1);
  assert.match(second.stderr, /something listens on socket path \S*wal\.sock already: end it, or choose another path/);
  assert.equal(await append(client, 'orders', 'first'), 1);
});

testFault('a socket path where another program listens: status 1, and that one is not disturbed', async (scene) => {
  const other = createServer();
  other.listen(scene.workplace.path('wal.sock'));
  await once(other, 'listening');
  try {
    const sidecar = await scene.spawn();
    assert.equal(await sidecar.exit(), 1);
    assert.match(sidecar.stderr, /something listens on socket path/);
    assert.ok(other.listening);
  } finally {
    other.close();
  }
});

testFault('a socket path that is no socket: status 1, and what is there is left alone', async (scene) => {
  const path = scene.workplace.path('wal.sock');
  await writeFile(path, 'precious');
  const sidecar = await scene.spawn();
  assert.equal(await sidecar.exit(), 1);
  assert.match(
    sidecar.stderr,
    /wal\.sock exists and is no socket: it was left alone; choose another path or move it away/,
  );
  assert.equal(await readFile(path, 'utf8'), 'precious');
  await rm(path);
  const { client } = await scene.serve();
  assert.equal(await append(client, 'orders', 'first'), 1);
});

testFault('a socket that nobody answers, left by a killed sidecar, is replaced', async (scene) => {
  const { sidecar, client } = await scene.serve();
  assert.equal(await append(client, 'orders', 'first'), 1);
  await sidecar.kill();
  const again = await scene.serve();
  assert.equal(await append(again.client, 'orders', 'second'), 2);
});

/** Pipelines appends; at the reply in the middle the sidecar gets the signal. Resolves with the number of answers. */
async function signalInTraffic(sidecar: RunningSidecar, client: RespClient, signal: NodeJS.Signals): Promise<number> {
  const requests = 2000;
  let answered = 0;
  const work = Array.from({ length: requests }, async (_, index) => {
    try {
      const last = await client.send('WAL.APPEND', 'orders', '*', 'INSERT', String(index), Buffer.alloc(200, index));
      assert.equal(last, index + 1);
      answered++;
      if (answered === requests / 4) sidecar.signal(signal);
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error;
    }
  });
  await Promise.all(work);
  return answered;
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  testFault(
    `origin: only SIGINT was handled; here ${signal} ends it with status 0, what it took is answered, and found after a restart (E24)`,
    async (scene) => {
      const { sidecar, client } = await scene.serve();
      const answered = await signalInTraffic(sidecar, client, signal);
      assert.equal(await sidecar.exit(), 0);
      const again = await scene.serve();
      const entries = await readAll(again.client, 'orders');
      assert.deepEqual(
        entries.map(({ key }) => Number(key)),
        Array.from({ length: answered }, (_, index) => index),
        'the entries are those that were answered, no more and no fewer',
      );
      assert.equal(await append(again.client, 'orders', 'next'), answered + 1);
    },
  );
}

testFault(
  'signals that come while it ends in good order, up to its last moment, leave its exit status 0',
  async (scene) => {
    const { sidecar } = await scene.serve({ configuration: scene.configuration(['d1']) });
    const exit = sidecar.exit();
    const ended = exit.then(() => true);
    // All within the second in which a signal is the same request again, with room for a process that gets no processor.
    const endMs = performance.now() + 300;
    do sidecar.signal('SIGINT');
    while (!(await Promise.race([ended, setImmediate(false)])) && performance.now() < endMs);
    assert.equal(await exit, 0);
  },
);

testFault('origin: [storage] wal_dir of an older file still works, with a warning', async (scene) => {
  const configuration = `[storage]\nwal_dir = "${scene.workplace.path('old', 'wal')}"\n`;
  const { sidecar, client } = await scene.serve({ configuration });
  assert.equal(await append(client, 'orders', 'first'), 1);
  assert.match(sidecar.stderr, /storage\.wal_dir.*is the old form/);
  assert.equal(await sidecar.stop(), 0);
  const { client: again } = await scene.serve({
    configuration: scene.configuration(['old/wal']),
  });
  assert.equal((await readAll(again, 'orders')).length, 1);
});

/** The states of the WAL's URLs as `/v1/urls` shows them, and the status of `/readyz`. */
async function health(
  sidecar: RunningSidecar,
): Promise<{ states: string[]; held: number[]; reasons: string; ready: number }> {
  const address = `http://${String(sidecar.logged('serving')?.['http'])}`;
  const shown = await fetch(`${address}/v1/urls`);
  const { urls }: { urls: { state: string; reason: string; bytes: number }[] } = JSON.parse(await shown.text());
  const ready = await fetch(`${address}/readyz`);
  return {
    states: urls.map(({ state }) => state),
    held: urls.map(({ bytes }) => bytes),
    reasons: urls.map(({ reason }) => reason).join(),
    ready: ready.status,
  };
}

testFault(
  'origin: no health, capacity or failover; here each URL tells what it holds and that it failed, and collections go to others',
  async (scene) => {
    const { sidecar, client } = await scene.serve({ configuration: scene.configuration(['d1', 'd2', 'd3']) });
    const homes = await oneInEach(client, ['d1', 'd2', 'd3']);
    const before = await health(sidecar);
    assert.deepEqual(before.states, ['Available', 'Available', 'Available']);
    assert.ok(
      before.held.every((bytes) => bytes > 0),
      String(before.held),
    );
    const lost = homes.get('d2') ?? '';
    await rm(scene.workplace.path('d2', lost), { recursive: true });
    await writeFile(scene.workplace.path('d2', lost), 'no directory any more');
    assert.match(await refusal(client.send('WAL.FLUSH', lost)), /^UNAVAILABLE file:\S*\/d2: a flush failed/);
    const { ready, reasons, states } = await health(sidecar);
    assert.deepEqual([states, ready], [['Available', 'Unavailable', 'Available'], 200]);
    assert.match(reasons, /\/d2: a flush failed.*repair the storage and restart/);
    const news = Array.from({ length: 6 }, (_, index) => `new-${index}`);
    for (const name of [...news, homes.get('d1') ?? '', homes.get('d3') ?? '']) await append(client, name, 'second');
    const placed = await Promise.all(news.map((name) => homeOf(client, name)));
    assert.deepEqual(placed.toSorted(), ['d1', 'd1', 'd1', 'd3', 'd3', 'd3']);
  },
);

testFault(
  'origin: any cloud URL stopped the server; here it serves, and says which URL is Unavailable',
  async (scene) => {
    const onDisk = scene.configuration(['d1']);
    const first = await scene.serve({ configuration: onDisk });
    assert.equal(await append(first.client, 'orders', 'first'), 1);
    assert.equal(await first.sidecar.stop(), 0);
    const clouds = [
      's3://wal-bucket1/proximadb',
      'adls://acct.dfs.core.windows.net/container/path',
      'gcs://bucket/prefix',
    ];
    const { sidecar, client } = await scene.serve({ configuration: scene.configuration(['d1', ...clouds]) });
    assert.equal(await append(client, 'orders', 'second'), 2);
    const { states, reasons, ready } = await health(sidecar);
    assert.deepEqual(states, ['Available', 'Unavailable', 'Unavailable', 'Unavailable']);
    assert.match(reasons, /s3:\/\/ comes with a later version/);
    assert.equal(ready, 200);
    // R6: the collection may live in one of them.
    assert.match(await refusal(append(client, 'new', 'first')), /^UNAVAILABLE .*s3:\/\/wal-bucket1\/proximadb/);
  },
);

testFault(
  'a signal that comes while it starts ends it at once with status 0: a pod that goes need not wait',
  async (scene) => {
    const { client } = await scene.serve();
    // It waits for the lock of the first one.
    const second = await scene.spawn({ socket: 'second.sock' });
    // SIGHUP is the last one that it asks to be told of; Node itself heeds SIGTERM from the beginning.
    const sighup = 1n;
    await until('it heeds signals', async () => {
      const status = await readFile(`/proc/${second.pid}/status`, 'utf8');
      return (BigInt(`0x${/^SigCgt:\s*(\w+)/m.exec(status)?.[1] ?? '0'}`) & sighup) !== 0n;
    });
    assert.equal(await second.stop(), 0);
    assert.equal(second.stderr, '');
    assert.equal(await append(client, 'orders', 'first'), 1);
  },
);

testFault('a port without a host is served to IPv4 and, where there is any, IPv6', async (scene) => {
  const { sidecar } = await scene.serve({ http: ':0' });
  const port = String(sidecar.logged('serving')?.['http']).split(':').at(-1);
  assert.equal((await fetch(`http://127.0.0.1:${port}/readyz`)).status, 200);
  assert.equal((await fetch(`http://127.0.0.1:${port}/v1/urls`)).status, 200);
});
