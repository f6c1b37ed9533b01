/** Against a local HTTP server: what is sent, and what isn't. */
import assert from 'node:assert/strict';
import { createServer, type ServerResponse } from 'node:http';
import { type TestContext, test } from 'node:test';
import type { ApiClient } from './client.ts';
import { clientOf } from './local-client.fixture.ts';

const path = '/api/v1/namespaces/default/configmaps/a';

interface Scene {
  readonly client: ApiClient;
  readonly fence: { remainingMs: number };
  /** Of the requests that came, the methods. */
  readonly came: string[];
  /** Answers the request that came first. */
  readonly answer: () => void;
  /** Resolves when a request has come. */
  readonly asked: Promise<void>;
}

/** A server that leaves the first request unanswered, and answers all others. */
async function scene(t: TestContext): Promise<Scene> {
  const came: string[] = [];
  let first: ServerResponse | undefined;
  const asked = Promise.withResolvers<void>();
  const server = createServer((request, response) => {
    came.push(request.method ?? '');
    if (first !== undefined) response.end('{}');
    first ??= response;
    asked.resolve();
  });
  const fence = { remainingMs: 10_000 };
  const client = await clientOf(server, fence);
  t.after(() => {
    client.close();
    server.closeAllConnections();
    server.close();
  });
  return { client, fence, came, answer: () => first?.end('{"answered": true}'), asked: asked.promise };
}

const forever = new AbortController().signal;

test('O9 behind a closed fence nothing is written, and reads go on', async (t) => {
  const { client, fence, came, answer, asked } = await scene(t);
  fence.remainingMs = 0;
  await assert.rejects(client.apply(path, 'm', {}, forever), /PATCH .*: not sent: this replica does not lead/);
  await assert.rejects(client.create(path, {}, forever), /not sent/);
  await assert.rejects(client.replace(path, {}, forever), /not sent/);
  const read = client.get(path, {}, forever);
  await asked;
  answer();
  assert.deepEqual(await read, { answered: true });
  assert.deepEqual(came, ['GET']);
});

test('O9 a write is cut when the fence closes, and not later', async (t) => {
  const { client, fence, came } = await scene(t);
  fence.remainingMs = 50;
  await assert.rejects(client.apply(path, 'm', {}, forever), /not done in 50 ms/);
  assert.deepEqual(came, ['PATCH']);
});

test('the answer to a write that was sent is waited for when the signal aborts; that to a read is not', async (t) => {
  const { client, came, answer, asked } = await scene(t);
  const stop = new AbortController();
  const write = client.apply(path, 'm', {}, stop.signal);
  await asked;
  stop.abort();
  answer();
  assert.deepEqual(await write, { answered: true });
  await assert.rejects(client.apply(path, 'm', {}, stop.signal), /stopped/);
  assert.deepEqual(came, ['PATCH']);
});

test('a read is cut when the signal aborts', async (t) => {
  const { client, asked } = await scene(t);
  const stop = new AbortController();
  const read = client.get(path, {}, stop.signal);
  await asked;
  stop.abort();
  await assert.rejects(read, /stopped/);
});
