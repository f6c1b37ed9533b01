/** The server alone: what anybody may send to it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, type RequestOptions, request } from 'node:https';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import pino from 'pino';
import { defaultLifetimes, type Generation } from './certificates.ts';
import { issue } from './issue.ts';
import type { AdmissionRequest, Verdict } from './review.ts';
import { type Outcome, WebhookServer } from './server.ts';

interface Served {
  readonly server: WebhookServer;
  readonly generation: Generation;
  readonly outcomes: Outcome[];
  readonly log: string[];
  readonly post: (body: string | Buffer, options?: RequestOptions) => Promise<{ status: number; text: string }>;
}

const allow = async (): Promise<Verdict> => ({ patch: [], warnings: [] });

async function serve(t: TestContext, admit: (request: AdmissionRequest) => Promise<Verdict> = allow): Promise<Served> {
  const outcomes: Outcome[] = [];
  const log: string[] = [];
  const server = await WebhookServer.listen({
    address: '127.0.0.1:0',
    admit,
    onAnswered: (outcome) => outcomes.push(outcome),
    logger: pino({ level: 'info' }, { write: (line: string) => log.push(line) }),
  });
  t.after(() => server.close());
  const generation = await issue(['127.0.0.1'], Date.now(), defaultLifetimes);
  server.use(generation.pair);
  const post: Served['post'] = (body, options = {}) => send(server.address, generation.authority, body, options);
  return { server, generation, outcomes, log, post };
}

async function send(
  address: string,
  ca: string,
  body: string | Buffer,
  options: RequestOptions,
): Promise<{ status: number; text: string }> {
  const asked = request(`https://${address}/inject`, { method: 'POST', ca, agent: false, ...options });
  // The server may close while the body is still on its way.
  const answered = once(asked, 'response');
  asked.on('error', () => undefined);
  asked.end(body);
  const [response] = await answered;
  let text = '';
  for await (const chunk of response) text += String(chunk);
  return { status: response.statusCode, text };
}

/** A connection of our own to the server, until the test ends; that it is cut off is no error. */
function connectionTo(t: TestContext, { server, generation }: Served): TLSSocket {
  const [host = '', port = ''] = server.address.split(':');
  const socket = connectTls({ host, port: Number(port), ca: generation.authority });
  socket.on('error', () => undefined);
  t.after(() => socket.destroy());
  return socket;
}

const halfRequest = 'POST /inject HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{';

const kind = { group: '', version: 'v1', kind: 'Pod' };
const secret = 'hunter2';
const object = {
  metadata: { name: 'db-0' },
  spec: { containers: [{ name: 'db', env: [{ name: 'PASSWORD', value: secret }] }] },
};
const body = JSON.stringify({
  apiVersion: 'admission.k8s.io/v1',
  kind: 'AdmissionReview',
  request: { uid: 'u', kind, namespace: 'shop', operation: 'CREATE', object },
});

test('a review gets its answer, a refusal is logged without the pod, and each is counted', async (t) => {
  const verdicts: Verdict[] = [
    { patch: [], warnings: [] },
    { refusal: 'no', code: 403 },
    { refusal: 'later', code: 503 },
  ];
  const { outcomes, log, post } = await serve(t, async () => verdicts.shift() ?? assert.fail());
  for (const allowed of [true, false, false]) {
    const { status, text } = await post(body);
    assert.deepEqual([status, JSON.parse(text).response.allowed], [200, allowed]);
  }
  assert.deepEqual(outcomes, ['allowed', 'refused', 'error']);
  assert.match(log.join(''), /"namespace":"shop","pod":"db-0","why":"no"/);
  assert.ok(!log.join('').includes(secret));
});

const hostile: readonly (readonly [
  what: string,
  sent: string | Buffer,
  options: RequestOptions,
  status: number,
  words: RegExp,
])[] = [
  ['a body over 4 MiB', Buffer.alloc(4 * 1024 * 1024 + 1, ' '), {}, 413, /more than 4194304 bytes/],
  ['what is no JSON', `{"password": "${secret}"`, {}, 400, /^the body is no JSON, or was cut$/],
  ['nothing', '', {}, 400, /AdmissionReview/],
  ['JSON that is no object', '1', {}, 400, /no JSON/],
  ['no review', `{"kind": "${secret}"}`, {}, 400, /^the body is no AdmissionReview of admission\.k8s\.io\/v1$/],
  ['a compressed body', body, { headers: { 'content-encoding': 'gzip' } }, 415, /compressed/],
  ['another encoding', body, { headers: { 'content-type': 'application/json; charset=latin1' } }, 415, /UTF-8/],
  ['another path', body, { path: '/' }, 404, /only POST \/inject/],
  ['another method', body, { method: 'PUT' }, 404, /only POST \/inject/],
  ['a very deep body', '['.repeat(1_000_000), {}, 400, /no JSON/],
];

test('R5 R7 hostile requests get an HTTP error that repeats nothing of them, and the next review its answer', async (t) => {
  const { log, post } = await serve(t);
  for (const [what, sent, options, status, words] of hostile) {
    const answer = await post(sent, options);
    assert.equal(answer.status, status, what);
    assert.match(answer.text, words);
    assert.ok(!answer.text.includes(secret), what);
    assert.equal((await post(body)).status, 200, what);
  }
  assert.ok(!log.join('').includes(secret));
});

test('a fault while a review is judged: 500, and it goes on', async (t) => {
  let faults = 1;
  const { outcomes, log, post } = await serve(t, async () => {
    if (faults-- > 0) throw new TypeError('a fault');
    return await allow();
  });
  assert.deepEqual(await post(body), {
    status: 500,
    text: 'the request could not be answered; the log of the operator says why',
  });
  assert.equal((await post(body)).status, 200);
  assert.deepEqual(outcomes, ['error', 'allowed']);
  assert.match(log.join(''), /a fault/);
});

test('R5 who does not begin TLS, or sends half a request, is disconnected', async (t) => {
  const served = await serve(t);
  const [host = '', port = ''] = served.server.address.split(':');
  const silent = connect(Number(port), host);
  t.after(() => silent.destroy());
  silent.on('error', () => undefined);
  silent.resume();
  const half = connectionTo(t, served);
  half.write(halfRequest);
  half.resume();
  await Promise.all([once(silent, 'close'), once(half, 'close')]);
  assert.equal((await served.post(body)).status, 200);
});

test('a connection that has carried nothing yet waits longer than half a request, and then gets its answer', async (t) => {
  const served = await serve(t);
  const spare = connectionTo(t, served);
  await once(spare, 'secureConnect');
  const half = connectionTo(t, served);
  half.write(halfRequest);
  half.resume();
  await once(half, 'close');
  spare.write(`POST /inject HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  const [answer] = await once(spare, 'data');
  assert.match(String(answer), /^HTTP\/1\.1 200 OK/);
});

test('R5 many large bodies at once: the largest are cut off, and reviews get their answers meanwhile', async (t) => {
  const served = await serve(t);
  const { post } = served;
  const length = 3 * 1024 * 1024;
  const head = `POST /inject HTTP/1.1\r\nhost: x\r\ncontent-length: ${length}\r\n\r\n`;
  // Each sends all but the last byte, so that what it sent is held until it is cut off.
  const floods = Array.from({ length: 8 }, () => {
    const socket = connectionTo(t, served);
    socket.write(head + ' '.repeat(length - 1));
    return socket;
  });
  // Cut off without a word; one that ran into the time limit of a request got an answer.
  const wordless = floods.map(async (socket) => {
    let words = 0;
    socket.on('data', () => (words += 1));
    await once(socket, 'close');
    assert.equal(words, 0);
  });
  await Promise.any(wordless);
  assert.equal((await post(body)).status, 200);
  // What they held is given back.
  await Promise.allSettled(wordless);
  const large = `${body}${' '.repeat(length)}`;
  const answers = await Promise.all([post(large), post(large)]);
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200],
  );
});

test('a new certificate is for new connections: one that is open goes on with its own', async (t) => {
  const { server, generation, post } = await serve(t);
  const next = await issue(['127.0.0.1'], Date.now(), defaultLifetimes);
  const agent = new Agent({ keepAlive: true, maxSockets: 1, ca: generation.authority });
  t.after(() => agent.destroy());
  assert.equal((await post(body, { agent })).status, 200);
  server.use(next.pair);
  assert.equal((await post(body, { agent })).status, 200);
  await assert.rejects(post(body), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
  assert.equal((await send(server.address, next.authority, body, {})).status, 200);
});

test('close answers what is under way', async (t) => {
  const judging = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const { server, post } = await serve(t, async () => {
    judging.resolve();
    await go.promise;
    return await allow();
  });
  const answer = post(body);
  await judging.promise;
  const closed = server.close();
  assert.ok(!server.listening);
  go.resolve();
  assert.equal((await answer).status, 200);
  await closed;
});

test('an address that cannot be had is said', async (t) => {
  const { server } = await serve(t);
  const options = { admit: allow, onAnswered: () => undefined, logger: pino({ level: 'silent' }) };
  await assert.rejects(
    WebhookServer.listen({ ...options, address: 'nowhere' }),
    /the address of the webhook "nowhere" is not HOST:PORT/,
  );
  await assert.rejects(
    WebhookServer.listen({ ...options, address: server.address }),
    /is taken: end who listens there/,
  );
});
