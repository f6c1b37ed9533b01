import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeRequest, startTestServer, until } from './server.fixture.ts';

const append = (payload: string | Buffer = 'p', collection = 'c'): (string | Buffer)[] => [
  'WAL.APPEND',
  collection,
  '*',
  'INSERT',
  'k',
  payload,
];

test('replies keep request order over a deep pipeline of appends and other commands', async () => {
  const { connect, end } = await startTestServer();
  try {
    const client = await connect();
    const requests: (string | Buffer)[][] = [];
    let expected = '';
    for (let index = 1; index <= 5000; index += 1) {
      requests.push(append(), ['ECHO', String(index)]);
      expected += `:${index}\r\n$${String(index).length}\r\n${index}\r\n`;
    }
    client.send(...requests);
    await client.expect(expected);
  } finally {
    await end();
  }
});

test('appends are in flight together and answered in order, whatever order they become durable in', async () => {
  const { wal, connect, end } = await startTestServer();
  try {
    wal.held = [];
    const client = await connect();
    client.send(append(), append(), append());
    await until(() => wal.held?.length === 3, 'three appends in flight');
    wal.held[2]?.();
    wal.held[1]?.();
    assert.equal(client.receivedBytes, 0);
    wal.held[0]?.();
    await client.expect(':1\r\n:2\r\n:3\r\n');
  } finally {
    await end();
  }
});

test('a command other than APPEND is carried out only after everything before it was answered', async () => {
  const { wal, connect, end } = await startTestServer();
  try {
    wal.held = [];
    const client = await connect();
    client.send(append(), ['WAL.DROP', 'c'], append(), ['PING']);
    await until(() => wal.held?.length === 1, 'the first append in flight');
    // Were the drop carried out, the collection would be gone now.
    assert.deepEqual([...wal.collections()], ['c']);
    wal.held[0]?.();
    await until(() => wal.held?.length === 2, 'the second append in flight');
    wal.held[1]?.();
    await client.expect(':1\r\n:1\r\n:1\r\n+PONG\r\n');
  } finally {
    await end();
  }
});

test('an append that is refused has its reply in its place', async () => {
  const { wal, connect, end } = await startTestServer();
  try {
    wal.held = [];
    const client = await connect();
    client.send(append(), append('p', ''), append());
    await until(() => wal.held?.length === 2, 'two appends in flight');
    for (const answer of wal.held) answer();
    assert.match(await client.line(), /^:1\r\n-INVALID [^\r\n]+\r\n:2\r\n$/);
  } finally {
    await end();
  }
});

test('bytes that cannot be followed: the error comes after the replies before it, then the connection ends', async () => {
  const { wal, connect, end } = await startTestServer();
  try {
    wal.held = [];
    const client = await connect();
    client.socket.write(Buffer.concat([encodeRequest(append()), Buffer.from('*1\r\n:1\r\n'), encodeRequest(['PING'])]));
    await until(() => wal.held?.length === 1, 'the append in flight');
    wal.held[0]?.();
    await until(() => client.ended, 'the end');
    assert.match(client.text, /^:1\r\n-ERR Protocol error: [^\r\n]+\r\n$/);
  } finally {
    await end();
  }
});

test('a connection with too much received and not answered is not read until it drains (R5)', async () => {
  const { server, wal, connect, end } = await startTestServer();
  try {
    wal.held = [];
    const client = await connect();
    const count = 20_000;
    client.send(...Array.from({ length: count }, () => append('x'.repeat(1024))));
    let received = 0;
    let inFlightMax = 0;
    while (received < count) {
      await until(() => (wal.held?.length ?? 0) > 0, 'appends in flight');
      inFlightMax = Math.max(inFlightMax, wal.held.length);
      assert.ok(server.heldBytes < 1.2 * 1024 * 1024, `${server.heldBytes} held`);
      received += wal.held.length;
      for (const answer of wal.held.splice(0)) answer();
    }
    assert.ok(inFlightMax > 100 && inFlightMax < 2000, `${inFlightMax} in flight`);
    await client.expect(Array.from({ length: count }, (_, index) => `:${index + 1}\r\n`).join(''));
  } finally {
    await end();
  }
});

test('no more than 4096 tiny requests of a connection are in flight (R5)', async () => {
  const { wal, connect, end } = await startTestServer({ connectionHeldRequests: 100 });
  try {
    wal.held = [];
    const client = await connect();
    client.send(...Array.from({ length: 1000 }, () => append('')));
    await until(() => wal.held?.length === 100, 'appends in flight');
    for (let answered = 0; answered < 1000; answered += 1) {
      await until(() => (wal.held?.length ?? 0) > 0, 'an append in flight');
      assert.ok(wal.held.length <= 100);
      wal.held.shift()?.();
    }
    await client.expect(Array.from({ length: 1000 }, (_, index) => `:${index + 1}\r\n`).join(''));
  } finally {
    await end();
  }
});

test('a client that takes no output holds a bounded amount, and gets all of it in order later (R5)', async () => {
  const { server, connect, end } = await startTestServer();
  try {
    const client = await connect();
    client.socket.pause();
    const message = 'm'.repeat(10_000);
    const count = 2000;
    client.send(...Array.from({ length: count }, () => ['ECHO', message]));
    let before = -1;
    // Until nothing moves any more.
    await until(() => {
      const same = server.counters.commandsProcessed === before && before > 100;
      before = server.counters.commandsProcessed;
      return same;
    }, 'standing still');
    assert.ok(before < 1000, `${before} carried out`);
    assert.ok(server.heldBytes < 3 * 1024 * 1024, `${server.heldBytes} held`);
    client.socket.resume();
    const reply = `$10000\r\n${message}\r\n`;
    await until(() => client.receivedBytes === count * reply.length, 'all replies');
    assert.equal(client.text, reply.repeat(count));
  } finally {
    await end();
  }
});

test('a client that takes nothing for long is disconnected', async () => {
  const { server, connect, end } = await startTestServer({ outputStallMs: 50 });
  try {
    const client = await connect();
    client.socket.pause();
    client.send(...Array.from({ length: 500 }, () => ['ECHO', 'm'.repeat(10_000)]));
    await until(() => server.connectionCount === 0 && server.counters.connectionsReceived === 1, 'disconnection');
    await until(() => server.heldBytes === 0, 'nothing held');
  } finally {
    await end();
  }
});

test('a batch at the limit is taken, one over it is TOOLARGE, and the connection goes on', async () => {
  const { wal, server, connect, end } = await startTestServer();
  try {
    const client = await connect();
    const limitBytes = 64 * 1024 * 1024 - 'INSERTk'.length;
    client.send(append(Buffer.alloc(limitBytes, 1)), ['WAL.DROP', 'c']);
    await client.expect(':1\r\n:1\r\n');
    client.send(append(Buffer.alloc(limitBytes + 1, 1)));
    assert.match(await client.line(), /^-TOOLARGE a batch of 67108865 bytes/);
    const entries = Array.from({ length: 100_001 }, () => ['I', '', '']).flat();
    client.send(['WAL.APPEND', 'c', '*', ...entries]);
    assert.match(await client.line(), /^-TOOLARGE a batch of 100001 entries/);
    client.send(['WAL.APPEND', 'c', '*', ...entries.slice(3)]);
    await client.expect(':100000\r\n');
    await wal.drop('c');
    await until(() => server.heldBytes === 0, 'nothing held');
  } finally {
    await end();
  }
});

test('one large request at a time: others of its kind wait for the turn, small ones do not (R5)', async () => {
  const { server, connect, end } = await startTestServer({ heldBytes: 512 * 1024, connectionHeldBytes: 64 * 1024 });
  try {
    const small = await connect();
    const large = await Promise.all(Array.from({ length: 20 }, () => connect()));
    const request = encodeRequest(append(Buffer.alloc(300_000, 7)));
    for (const client of large) client.socket.write(request.subarray(0, request.length - 10));
    await until(() => server.counters.inputBytes > 512 * 1024, 'part of the requests');
    small.send(['PING']);
    await small.expect('+PONG\r\n');
    // All that one has sent of its request fits its turn: it must end it before the next one gets its own.
    assert.ok(server.heldBytes < 512 * 1024 + 20 * 2 * 65_536, `${server.heldBytes} held`);
    for (const client of large) client.socket.write(request.subarray(request.length - 10));
    await Promise.all(large.map((client) => until(() => client.receivedBytes > 0, 'a reply')));
    const sequences = large.map((client) => Number(client.take().slice(1))).toSorted((a, b) => a - b);
    assert.deepEqual(
      sequences,
      Array.from({ length: 20 }, (_, index) => index + 1),
    );
    small.send(['WAL.DROP', 'c']);
    await small.expect(':20\r\n');
    await until(() => server.heldBytes === 0, 'nothing held');
  } finally {
    await end();
  }
});

test('a large request that stands still while others wait for its turn is ended with an error', async () => {
  const { server, connect, end } = await startTestServer({ connectionHeldBytes: 64 * 1024, requestStallMs: 100 });
  try {
    const [stalled, other] = [await connect(), await connect()];
    const request = encodeRequest(append(Buffer.alloc(300_000, 7)));
    stalled.socket.write(request.subarray(0, 200_000));
    await until(() => server.counters.inputBytes >= 200_000, 'the turn taken');
    other.socket.write(request);
    await other.expect(':1\r\n');
    await until(() => stalled.ended, 'the end of the stalled one');
    assert.match(stalled.text, /^-UNAVAILABLE too little of the request came/);
  } finally {
    await end();
  }
});

test('a large request that dribbles in while others wait for its turn is ended with an error (R5)', async () => {
  const { server, connect, end } = await startTestServer({ connectionHeldBytes: 64 * 1024, requestStallMs: 100 });
  try {
    const [slow, other] = [await connect(), await connect()];
    const request = encodeRequest(append(Buffer.alloc(300_000, 7)));
    slow.socket.write(request.subarray(0, 200_000));
    await until(() => server.counters.inputBytes >= 200_000, 'the turn taken');
    const dribble = setInterval(() => slow.socket.write('x'), 10);
    other.socket.write(request);
    await other.expect(':1\r\n');
    clearInterval(dribble);
    await until(() => slow.ended, 'the end of the slow one');
    assert.match(slow.text, /^-UNAVAILABLE too little of the request came/);
  } finally {
    await end();
  }
});

test('a large request that waits for the log passes the turn on, and is answered in the end (E2)', async () => {
  const { wal, server, connect, end } = await startTestServer({ connectionHeldBytes: 64 * 1024, requestStallMs: 50 });
  try {
    const [first, second] = [await connect(), await connect()];
    const request = encodeRequest(append(Buffer.alloc(300_000, 7)));
    wal.held = [];
    first.socket.write(request);
    await until(() => wal.held?.length === 1, 'the first append in flight');
    second.socket.write(request);
    await until(() => wal.held?.length === 2, 'the second append in flight');
    for (const release of wal.held ?? []) release();
    await Promise.all([first, second].map((client) => until(() => client.receivedBytes > 0, 'a reply')));
    assert.deepEqual([first.take(), second.take()].toSorted(), [':1\r\n', ':2\r\n']);
    assert.equal(server.connectionCount, 2);
  } finally {
    await end();
  }
});

test('small reads do not wait in line behind large ones that wait for slow clients (R5)', async () => {
  const { wal, connect, end } = await startTestServer({ replyBytes: 32 * 1024 * 1024 });
  try {
    const [writer, small] = [await connect(), await connect()];
    for (let entry = 1; entry <= 20; entry += 1) {
      writer.send(append(Buffer.alloc(1024 * 1024, 1)));
      await writer.expect(`:${entry}\r\n`);
    }
    const slow = await Promise.all(Array.from({ length: 3 }, () => connect()));
    for (const client of slow) {
      client.socket.pause();
      client.send(['WAL.READ', 'c', '0', 'COUNT', '20', 'BYTES', String(20 * 1024 * 1024)]);
    }
    small.send(['WAL.READ', 'c', '1', 'COUNT', '1', 'BYTES', '1']);
    await until(() => small.receivedBytes > 1024 * 1024, 'the small read');
    for (const client of slow) client.socket.resume();
    await Promise.all(slow.map((client) => until(() => client.receivedBytes > 20 * 1024 * 1024, 'a large read')));
    await wal.drop('c');
  } finally {
    await end();
  }
});

test('a client that ends its side gets its replies, also that of a command cut off by the end', async () => {
  const { wal, connect, end } = await startTestServer();
  try {
    wal.held = [];
    const client = await connect();
    client.socket.end('WAL.APPEND c * INSERT k p\r\nPING\r\nWAL.READ c 1\r\nWAL.READ c 9\r\nPING a\r\nPIN');
    await until(() => wal.held?.length === 1, 'the append in flight');
    wal.held[0]?.();
    await until(() => client.ended, 'the end');
    const entry = '*1\r\n*5\r\n:1\r\n:1000000\r\n$6\r\nINSERT\r\n$1\r\nk\r\n$1\r\np\r\n';
    assert.equal(client.text, `:1\r\n+PONG\r\n${entry}*0\r\n$1\r\na\r\n`);
  } finally {
    await end();
  }
});

test('a client that disconnects leaves nothing: neither waiting reads, nor appends in flight, nor half a request', async () => {
  const { server, wal, connect, end } = await startTestServer();
  try {
    const keeper = await connect();
    keeper.send(append('p', 'k'));
    await keeper.expect(':1\r\n');
    const [reader, writer, half] = [await connect(), await connect(), await connect()];
    reader.send(['WAL.READ', 'k', '2', 'BLOCK', '0']);
    await until(() => wal.waiterCount === 1, 'the read waiting');
    wal.held = [];
    writer.send(append('w'.repeat(10_000)), append());
    await until(() => wal.held?.length === 2, 'appends in flight');
    half.socket.write(encodeRequest(append('h'.repeat(50_000))).subarray(0, 40_000));
    await until(() => server.heldBytes > 40_000, 'half a request');
    for (const client of [reader, writer, half]) client.destroy();
    await until(() => wal.waiterCount === 0, 'no read waiting');
    // Appends that are begun are carried out: their connection stays until then.
    await until(() => server.connectionCount === 2, 'disconnection');
    for (const answer of wal.held) answer();
    await until(() => server.connectionCount === 1, 'disconnection');
    await until(() => server.heldBytes === 0, 'nothing held');
    keeper.send(['WAL.STAT', 'c']);
    assert.match(await keeper.line(), /next_sequence\r\n:3\r\n/);
  } finally {
    await end();
  }
});

test('too much sent behind a waiting read ends the wait with an error, the rest is carried out (R5)', async () => {
  const { wal, connect, end } = await startTestServer();
  try {
    const client = await connect();
    client.send(append());
    await client.expect(':1\r\n');
    client.send(['WAL.READ', 'c', '2', 'BLOCK', '0'], ['PING']);
    await until(() => wal.waiterCount === 1, 'the read waiting');
    assert.equal(client.receivedBytes, 0);
    client.send(...Array.from({ length: 1500 }, () => ['ECHO', 'x'.repeat(1024)]));
    await until(() => client.receivedBytes > 1500 * 1024, 'replies');
    assert.match(client.text, /^-TOOLARGE too much was sent behind[^\r\n]*\r\n\+PONG\r\n\$1024\r\nx/);
  } finally {
    await end();
  }
});

test('replies that clients have not taken are bounded over all connections: a read waits for its share (R5)', async () => {
  const { server, connect, end } = await startTestServer({ replyBytes: 6 * 1024 * 1024 });
  try {
    const [slow, fast, gone] = [await connect(), await connect(), await connect()];
    fast.send(append(Buffer.alloc(4 * 1024 * 1024, 1)), append(Buffer.alloc(100, 2), 'd'));
    await fast.expect(':1\r\n:1\r\n');
    slow.socket.pause();
    slow.send(['WAL.READ', 'c', '1', 'COUNT', '1', 'BYTES', '5000000']);
    await until(() => server.heldBytes > 4 * 1024 * 1024, 'the reply not taken');
    gone.send(['WAL.READ', 'd', '1', 'COUNT', '1', 'BYTES', '4000000']);
    fast.send(['WAL.READ', 'd', '1', 'COUNT', '1', 'BYTES', '3000000']);
    await until(() => server.counters.commandsProcessed === 5, 'all reads begun');
    assert.equal(fast.receivedBytes, 0);
    gone.destroy();
    await until(() => server.connectionCount === 2, 'disconnection');
    slow.socket.resume();
    await until(() => slow.receivedBytes > 4 * 1024 * 1024, 'the large reply');
    await until(() => fast.receivedBytes > 100, 'the small reply');
    await until(() => server.heldBytes === 0, 'nothing held');
  } finally {
    await end();
  }
});

test('a reply share is given back when its client goes without taking the reply', async () => {
  const { server, connect, end } = await startTestServer();
  try {
    const client = await connect();
    client.send(append(Buffer.alloc(4 * 1024 * 1024, 1)));
    await client.expect(':1\r\n');
    client.socket.pause();
    client.send(['WAL.READ', 'c', '1'], ['WAL.EXPORT', 'c', '1']);
    await until(() => server.heldBytes > 4 * 1024 * 1024, 'the reply not taken');
    client.destroy();
    await until(() => server.heldBytes === 0, 'nothing held');
  } finally {
    await end();
  }
});
