/** Against a local HTTP server, for faults that a real API server doesn't produce when asked to. */
import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type TestContext, test } from 'node:test';
import pino from 'pino';
import type { ApiClient } from './client.ts';
import type { ConfigMap } from './kubernetes.ts';
import { clientOf } from './local-client.fixture.ts';
import { type Change, Reflector, type ReflectorTimings } from './reflector.ts';

type Answer = (response: ServerResponse, request: IncomingMessage) => void;

const path = '/api/v1/configmaps';
const deadlineMs = 10_000;

function configMap(name: string, version: number, value = 'x'): ConfigMap {
  return {
    metadata: { name, namespace: 'default', uid: `uid-${name}`, resourceVersion: String(version) },
    data: { value },
  };
}

function list(version: number, items: readonly ConfigMap[], more = ''): Answer {
  return (response) => {
    response.end(JSON.stringify({ metadata: { resourceVersion: String(version), continue: more }, items }));
  };
}

function event(type: string, object: object): string {
  return `${JSON.stringify({ type, object })}\n`;
}

/** A watch that sends these lines and stays open. */
function watch(...lines: string[]): Answer {
  return (response) => {
    response.flushHeaders();
    if (lines.length > 0) response.write(lines.join(''));
  };
}

function refuse(status: number, body: object, headers: Record<string, string> = {}): Answer {
  return (response) => {
    response.writeHead(status, headers).end(JSON.stringify(body));
  };
}

/** An API server that gives the lists and the watches the answers it was told, the last one again and again. */
class ScriptedServer {
  readonly lists: URLSearchParams[] = [];
  readonly watches: URLSearchParams[] = [];
  readonly told: string[] = [];
  readonly reflector: Reflector<ConfigMap>;
  #changed = Promise.withResolvers<void>();

  private constructor(client: ApiClient, onChange: (change: Change<ConfigMap>) => unknown, timings: ReflectorTimings) {
    const told = (change: Change<ConfigMap>): unknown => {
      const { metadata, data } = change.object;
      this.told.push(`${change.type} ${metadata.name}@${metadata.resourceVersion} ${data?.['value']}`);
      this.#change();
      return onChange(change);
    };
    const logger = pino({ level: 'silent' });
    this.reflector = new Reflector<ConfigMap>({ client, path, logger, onChange: told, timings });
  }

  static async start(
    context: TestContext,
    script: { readonly lists: Answer[]; readonly watches: Answer[] },
    options: { onChange?: (change: Change<ConfigMap>) => unknown; firstMs?: number } = {},
  ): Promise<ScriptedServer> {
    const server = createServer((request, response) => scripted.#answer(script, request, response));
    const client = await clientOf(server);
    const timings = { backoff: { firstMs: options.firstMs ?? 1, maxMs: 20 }, watchSeconds: 60 };
    const scripted = new ScriptedServer(client, options.onChange ?? (() => undefined), timings);
    const stop = new AbortController();
    const running = scripted.reflector.run(stop.signal);
    context.after(async () => {
      stop.abort();
      await running;
      client.close();
      server.closeAllConnections();
      server.close();
    });
    return scripted;
  }

  #answer(script: { lists: Answer[]; watches: Answer[] }, request: IncomingMessage, response: ServerResponse): void {
    const query = new URL(request.url ?? '', 'http://localhost').searchParams;
    const isWatch = query.get('watch') === 'true';
    (isWatch ? this.watches : this.lists).push(query);
    const answers = isWatch ? script.watches : script.lists;
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    answer?.(response, request);
    this.#change();
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Resolves when the condition holds, rejects when it doesn't in time. */
  async until(condition: () => boolean): Promise<void> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(new Error(`not in time: ${this.told.join('; ')}`)), deadlineMs);
    try {
      while (!condition()) await Promise.race([this.#changed.promise, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  async untilTold(count: number): Promise<void> {
    await this.until(() => this.told.length >= count);
  }
}

test('O10 lists by pages, then watches from the version of the list, with bookmarks and a time-out', async (t) => {
  const server = await ScriptedServer.start(t, {
    lists: [list(10, [configMap('a', 1)], 'next'), list(10, [configMap('b', 2)])],
    watches: [watch(event('MODIFIED', configMap('a', 11, 'y')), event('DELETED', configMap('b', 12)))],
  });
  await server.untilTold(4);
  assert.deepEqual(server.told, ['added a@1 x', 'added b@2 x', 'modified a@11 y', 'deleted b@12 x']);
  assert.deepEqual(
    server.lists.map((query) => query.get('continue')),
    [null, 'next'],
  );
  const [query] = server.watches;
  assert.equal(query?.get('resourceVersion'), '10');
  assert.equal(query?.get('allowWatchBookmarks'), 'true');
  const timeoutSeconds = Number(query?.get('timeoutSeconds'));
  assert.ok(timeoutSeconds >= 60 && timeoutSeconds <= 120, String(timeoutSeconds));
  assert.equal(server.reflector.get('default/a')?.data?.['value'], 'y');
  assert.equal(server.reflector.get('default/b'), undefined);
});

test('O10 a watch that is cut goes on from the last version seen, a bookmark included, without a list', async (t) => {
  const server = await ScriptedServer.start(t, {
    lists: [list(10, [])],
    watches: [
      (response) => {
        response.write(event('BOOKMARK', { metadata: { resourceVersion: '20' } }), () => response.destroy());
      },
      (response) => {
        response.write(event('ADDED', configMap('a', 21)), () => response.destroy());
      },
      watch(event('ADDED', configMap('b', 22))),
    ],
  });
  await server.untilTold(2);
  assert.deepEqual(
    server.watches.map((query) => query.get('resourceVersion')),
    ['10', '20', '21'],
  );
  assert.equal(server.lists.length, 1);
});

test('O10 half a line at the end of a watch is no event, and is read again whole', async (t) => {
  const whole = event('ADDED', configMap('a', 11, 'größer'));
  const server = await ScriptedServer.start(t, {
    lists: [list(10, [])],
    watches: [
      (response) => response.end(event('ADDED', configMap('b', 11)) + whole.slice(0, 40)),
      // Cut between two bytes of one character, too.
      (response) => {
        const bytes = Buffer.from(whole);
        const middle = bytes.indexOf(0xc3) + 1;
        response.write(bytes.subarray(0, middle), () => setImmediate(() => response.write(bytes.subarray(middle))));
      },
    ],
  });
  await server.untilTold(2);
  assert.deepEqual(server.told, ['added b@11 x', 'added a@11 größer']);
  assert.equal(server.lists.length, 1);
});

test('O10 a line that is no JSON, or no event, is not swallowed: the watch begins anew', async (t) => {
  const server = await ScriptedServer.start(t, {
    lists: [list(10, [])],
    watches: [watch('{"type": oops}\n'), watch('{"type":"SURPRISE"}\n'), watch(event('ADDED', configMap('a', 11)))],
  });
  await server.untilTold(1);
  assert.equal(server.reflector.counts.failures, 2);
  assert.equal(server.lists.length, 1);
});

for (const [where, answer] of [
  ['as an answer', refuse(410, { code: 410, reason: 'Expired', message: 'too old resource version' })],
  ['in the stream', watch(event('ERROR', { code: 410, reason: 'Expired', message: 'too old resource version' }))],
] as const) {
  test(`O10 410 ${where}: lists again, and tells what changed meanwhile`, async (t) => {
    const server = await ScriptedServer.start(t, {
      lists: [
        list(10, [configMap('a', 1), configMap('b', 2), configMap('c', 3)]),
        list(30, [configMap('a', 1), configMap('b', 25, 'y'), configMap('d', 26)]),
      ],
      watches: [answer, watch()],
    });
    await server.untilTold(6);
    assert.deepEqual(server.told.slice(3), ['deleted c@3 x', 'modified b@25 y', 'added d@26 x']);
    await server.until(() => server.watches.length === 2);
    assert.equal(server.watches[1]?.get('resourceVersion'), '30');
  });
}

test('O10 an ERROR event other than 410 goes on from the last version seen', async (t) => {
  const server = await ScriptedServer.start(t, {
    lists: [list(10, [])],
    watches: [
      watch(event('ERROR', { code: 500, reason: 'InternalError', message: 'etcdserver: request timed out' })),
      watch(event('ADDED', configMap('a', 11))),
    ],
  });
  await server.untilTold(1);
  assert.equal(server.lists.length, 1);
});

test('O10 failing lists are tried again until one works', async (t) => {
  const server = await ScriptedServer.start(t, {
    lists: [
      refuse(500, { message: 'etcdserver: leader changed' }),
      (response) => response.destroy(),
      (response) => response.end('{"items": ['),
      (response) => response.end('{}'),
      list(10, [configMap('a', 1)]),
    ],
    watches: [watch()],
  });
  await server.untilTold(1);
  assert.equal(server.lists.length, 5);
  assert.equal(server.reflector.counts.failures, 4);
});

test('O10 Retry-After is obeyed', async (t) => {
  const startMs = performance.now();
  const server = await ScriptedServer.start(t, {
    lists: [refuse(429, { message: 'too many requests' }, { 'retry-after': '1' }), list(10, [configMap('a', 1)])],
    watches: [watch()],
  });
  await server.untilTold(1);
  assert.ok(performance.now() - startMs >= 1000);
});

test('O10 a watch that ends at once without an event is not asked again at once', async (t) => {
  const server = await ScriptedServer.start(
    t,
    {
      lists: [list(10, [])],
      watches: [(response) => response.end(), (response) => response.end(), watch(event('ADDED', configMap('a', 11)))],
    },
    { firstMs: 10 },
  );
  await server.untilTold(1);
  assert.equal(server.reflector.counts.failures, 2);
});

test('O10 a handler that throws, at once or later, stops nothing', async (t) => {
  const server = await ScriptedServer.start(
    t,
    {
      lists: [list(10, [configMap('a', 1), configMap('b', 2)])],
      watches: [watch(event('ADDED', configMap('c', 11)))],
    },
    {
      onChange: ({ object }) => {
        if (object.metadata.name === 'a') throw new Error('at once');
        return Promise.reject(new Error('later'));
      },
    },
  );
  await server.untilTold(3);
  assert.equal(server.reflector.counts.failures, 0);
});

test('the answer to a write is in the copy before its event, and what came before it is told all the same', async (t) => {
  const later = Promise.withResolvers<ServerResponse>();
  const server = await ScriptedServer.start(t, {
    lists: [list(10, [configMap('a', 1)])],
    watches: [
      (response) => {
        response.flushHeaders();
        later.resolve(response);
      },
    ],
  });
  const response = await later.promise;
  server.reflector.refresh(configMap('a', 13, 'ours'));
  server.reflector.refresh(configMap('gone', 13));
  assert.equal(server.reflector.get('default/a')?.data?.['value'], 'ours');
  assert.equal(server.reflector.get('default/gone'), undefined);
  response.write(event('MODIFIED', configMap('a', 12, 'theirs')) + event('MODIFIED', configMap('a', 13, 'ours')));
  response.write(event('MODIFIED', configMap('a', 14, 'newer')));
  await server.untilTold(4);
  assert.deepEqual(server.told.slice(1), ['modified a@13 ours', 'modified a@13 ours', 'modified a@14 newer']);
});
