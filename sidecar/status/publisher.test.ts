import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { makeCertificates } from '../../test/cluster/certificates.ts';
import { publisherSettings } from './api-server.ts';
import { StatusPublisher } from './publisher.ts';
import type { StatusReport } from './report.ts';

const report: StatusReport = {
  ready: true,
  configHash: 'abc',
  configError: '',
  collections: 11,
  bytes: 3_178_106,
  journalBytes: 0,
  urls: [],
  assignments: Array.from({ length: 1000 }, (_, index) => {
    return { component: 'wal', collection: `collection_${index}`, url: 'file:///mnt/nvme1/wal' };
  }),
};

interface Received {
  readonly method: string | undefined;
  readonly path: string | undefined;
  readonly type: string | undefined;
  readonly authorization: string | undefined;
  readonly body: string;
}

type Answer = (response: ServerResponse, received: Received) => void;

/** An API server that only answers as it is told to, for the faults that a real one does not show on demand. */
async function startServer(context: TestContext, answer: Answer) {
  const directory = await mkdtemp(join(tmpdir(), 'status-'));
  await makeCertificates(directory);
  await writeFile(join(directory, 'token'), 'first-token\n');
  const received: Received[] = [];
  const server = createServer({
    key: await readFile(join(directory, 'apiserver.key')),
    cert: await readFile(join(directory, 'apiserver.crt')),
  });
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const { method, url: path, headers } = request;
      const one = { method, path, type: headers['content-type'], authorization: headers.authorization, body };
      received.push(one);
      answer(response, one);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(async () => {
    server.close();
    server.closeAllConnections();
    await rm(directory, { recursive: true });
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return { directory, received, port: address.port };
}

function settingsFor(port: number, directory: string) {
  const settings = publisherSettings({
    WALSTORAGE_NAME: 'orders',
    POD_NAME: 'proximadb-0',
    POD_NAMESPACE: 'db',
    POD_UID: 'u-1',
    KUBERNETES_SERVICE_HOST: '127.0.0.1',
    KUBERNETES_SERVICE_PORT: String(port),
    WALSTORAGE_TOKEN_DIR: directory,
  });
  assert.ok(settings !== undefined);
  return settings;
}

function logTo(lines: string[]) {
  const at = (level: string) => (_: unknown, message?: string) => void lines.push(`${level} ${message ?? String(_)}`);
  return { debug: at('debug'), info: at('info'), warn: at('warn') };
}

const podCountAnswer =
  (podCount: number): Answer =>
  (response) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ kind: 'WalStorage', status: { podCount, pods: [{ name: 'proximadb-0' }] } }));
  };

test('one PATCH by server-side apply, as manager pod-<uid>, with the token and authority as they are on disk now', async (context) => {
  const { directory, port, received } = await startServer(context, podCountAnswer(1));
  const settings = settingsFor(port, directory);
  let current = report;
  const publisher = new StatusPublisher({ settings, report: () => current, logger: logTo([]) });
  await publisher.look(0);
  await writeFile(join(directory, 'token'), 'second-token');
  current = { ...report, collections: 12 };
  await publisher.look(1000);
  await publisher.look(2000);
  assert.equal(received.length, 2);
  assert.deepEqual([received[0]?.method, received[0]?.type], ['PATCH', 'application/apply-patch+yaml']);
  assert.equal(
    received[0]?.path,
    '/apis/wal.proximadb.io/v1alpha1/namespaces/db/walstorages/orders/status?fieldManager=pod-u-1&force=true',
  );
  assert.deepEqual(
    received.map(({ authorization }) => authorization),
    ['Bearer first-token', 'Bearer second-token'],
  );
  assert.match(received[1]?.body ?? '', /"collections":12/);
});

test('R5: the share of bytes follows the number of pods that the answer tells', async (context) => {
  const { directory, port, received } = await startServer(context, podCountAnswer(2));
  const publisher = new StatusPublisher({
    settings: settingsFor(port, directory),
    report: () => report,
    logger: logTo([]),
  });
  for (const nowMs of [0, 1000, 2000]) await publisher.look(nowMs);
  const bytes = received.map(({ body }) => body.length);
  assert.equal(bytes.length, 2);
  assert.ok((bytes[0] ?? 0) < 17 * 1024 && (bytes[0] ?? 0) > 15 * 1024, `${bytes[0]}`);
  assert.ok((bytes[1] ?? 0) > 60 * 1024 && (bytes[1] ?? 0) < 129 * 1024, `${bytes[1]}`);
});

test('R9: refusals and cut connections are told once, tried again, and the return is told', async (context) => {
  const answers: Answer[] = [
    (response) => response.writeHead(403).end(JSON.stringify({ kind: 'Status', message: 'no Role yet' })),
    (response) => response.destroy(),
    (response) => response.writeHead(500).end('not even JSON'),
    (response) => response.writeHead(429, { 'retry-after': '20' }).end('{}'),
    podCountAnswer(1),
  ];
  let next = 0;
  const { directory, port, received } = await startServer(context, (...call) => answers[next++]?.(...call));
  const lines: string[] = [];
  const publisher = new StatusPublisher({
    settings: settingsFor(port, directory),
    report: () => ({ ...report, assignments: [] }),
    logger: logTo(lines),
  });
  for (let nowMs = 0; nowMs < 60_000; nowMs += 500) await publisher.look(nowMs);
  assert.equal(received.length, 5);
  const told = lines.filter((line) => !line.startsWith('debug'));
  assert.deepEqual(
    told.map((line) => line.split(' ')[0]),
    ['warn', 'info'],
  );
});

test('R9: without an API server, a token or an authority nothing is thrown', async () => {
  const lines: string[] = [];
  const publisher = new StatusPublisher({
    settings: settingsFor(1, '/nonexistent'),
    report: () => report,
    logger: logTo(lines),
  });
  await publisher.look(0);
  publisher.start();
  publisher.close();
  assert.match(lines[0] ?? '', /^warn .*served all the same/);
});

test('a sidecar outside a pod publishes nothing', () => {
  assert.equal(publisherSettings({ WALSTORAGE_NAME: 'orders' }), undefined);
});
