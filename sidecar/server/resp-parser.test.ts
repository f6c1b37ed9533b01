import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { ArgumentCache } from './argument-cache.ts';
import { defaultLimits } from './limits.ts';
import { RequestParser } from './resp-parser.ts';
import { encodeRequest } from './server.fixture.ts';

const cache = new ArgumentCache();
const newParser = (): RequestParser => new RequestParser(defaultLimits, cache);

/** All requests that the pieces give, as latin1 text; the last one is the error, where there is one. */
function parse(pieces: readonly Buffer[]): (string[] | string)[] {
  const parser = newParser();
  const requests: (string[] | string)[] = [];
  try {
    for (const piece of pieces) {
      parser.push(Buffer.from(piece));
      for (;;) {
        const request = parser.next();
        if (request === undefined) break;
        requests.push(request.map((argument) => argument.toString('latin1')));
      }
    }
  } catch (error) {
    requests.push(String(error));
  }
  return requests;
}

const mixed = Buffer.concat([
  encodeRequest(['WAL.APPEND', 'orders', '*', 'INSERT', 'k1', Buffer.from([0, 13, 10, 255, 36, 42])]),
  Buffer.from('PING\r\n'),
  encodeRequest(['WAL.APPEND', 'orders', '7', 'DELETE', '', '', 'UPDATE', 'key', 'x'.repeat(300)]),
  Buffer.from("\r\n*0\r\n*-1\r\necho \"a b\\x41\\n\" 'it\\'s'\n"),
  encodeRequest(['PING', 'y'.repeat(100)]),
]);
const mixedRequests = parse([mixed]);

test('requests are cut out of the bytes: arrays, inline commands, binary and empty arguments', () => {
  assert.deepEqual(mixedRequests, [
    ['WAL.APPEND', 'orders', '*', 'INSERT', 'k1', '\0\r\n\xff$*'],
    ['PING'],
    ['WAL.APPEND', 'orders', '7', 'DELETE', '', '', 'UPDATE', 'key', 'x'.repeat(300)],
    ['echo', 'a bA\n', "it's"],
    ['PING', 'y'.repeat(100)],
  ]);
});

test('the same bytes cut at every position, and byte by byte, give the same requests', () => {
  for (let at = 0; at <= mixed.length; at += 1) {
    assert.deepEqual(parse([mixed.subarray(0, at), mixed.subarray(at)]), mixedRequests, `cut at ${at}`);
  }
  assert.deepEqual(parse(Array.from(mixed, (byte) => Buffer.from([byte]))), mixedRequests);
});

test('random requests cut at random positions come out as they went in', () => {
  const request = fc.array(fc.uint8Array({ maxLength: 200 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(fc.array(request, { maxLength: 6 }), fc.array(fc.nat(), { maxLength: 12 }), (requests, cuts) => {
      const bytes = Buffer.concat(requests.map((one) => encodeRequest(one.map((argument) => Buffer.from(argument)))));
      const places = cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b);
      const pieces = [0, ...places].map((from, index) => bytes.subarray(from, places[index] ?? bytes.length));
      const expected = requests.map((one) => one.map((argument) => Buffer.from(argument).toString('latin1')));
      assert.deepEqual(parse(pieces), expected);
    }),
    { numRuns: 300 },
  );
});

test('chunks that wait in line behind unparsed ones lose nothing', () => {
  const parser = newParser();
  for (const byte of mixed) parser.push(Buffer.from([byte]));
  const requests: string[][] = [];
  for (let request = parser.next(); request !== undefined; request = parser.next()) {
    requests.push(request.map((argument) => argument.toString('latin1')));
  }
  assert.deepEqual(requests, mixedRequests);
  assert.equal(parser.heldBytes, 0);
});

test('any bytes are parsed or refused: no crash, no hang, cut anywhere with the same outcome', () => {
  const token = fc.constantFrom('*', '$', '\r\n', '-', '1', '3', '99999999', '"', "'", '\\x', ' ', 'PING', '\0', '\n');
  const noise = fc.oneof(token, fc.string({ unit: 'binary', maxLength: 5 }));
  fc.assert(
    fc.property(fc.array(noise, { maxLength: 60 }), fc.integer({ min: 1, max: 9 }), (tokens, size) => {
      const bytes = Buffer.from(tokens.join(''), 'latin1');
      const pieces: Buffer[] = [];
      for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
      assert.deepEqual(parse(pieces), parse([bytes]));
    }),
    { numRuns: 300 },
  );
});

test('lastRequestBytes is what the request took on the wire', () => {
  const parser = newParser();
  const first = encodeRequest(['WAL.APPEND', 'c', '*', 'INSERT', 'k', 'payload']);
  parser.push(Buffer.concat([first, Buffer.from('PING\r\n'), first.subarray(0, 20)]));
  parser.next();
  assert.equal(parser.lastRequestBytes, first.length);
  parser.next();
  assert.equal(parser.lastRequestBytes, 6);
  parser.push(first.subarray(20));
  parser.next();
  assert.equal(parser.lastRequestBytes, first.length);
});

test('a large argument that comes in many chunks is put together, each byte copied a bounded number of times', () => {
  const payload = Buffer.alloc(48 * 1024 * 1024, 'abcdefg');
  const bytes = encodeRequest(['WAL.APPEND', 'c', '*', 'INSERT', 'k', payload]);
  const parser = newParser();
  const begunMs = performance.now();
  let request: Buffer[] | undefined;
  for (let at = 0; at < bytes.length; at += 4096) {
    parser.push(bytes.subarray(at, at + 4096));
    request = parser.next();
  }
  assert.ok(request?.[5]?.equals(payload));
  // Copying everything anew for each of the 12,288 chunks would take minutes.
  assert.ok(performance.now() - begunMs < 10_000);
});

const refused: readonly { readonly what: string; readonly bytes: string; readonly error: RegExp }[] = [
  { what: 'a 1 GiB argument', bytes: '*1\r\n$1073741824\r\n', error: /^TOOLARGE .*1073741824 bytes/ },
  { what: 'a sum of arguments over the limit', bytes: '*2\r\n$75497472\r\n', error: /^TOOLARGE/ },
  { what: 'a billion arguments', bytes: '*1000000000\r\n', error: /^TOOLARGE .*1000000000 arguments/ },
  { what: 'a length of 17 digits', bytes: '*1\r\n$11111111111111111', error: /^ERR Protocol error/ },
  { what: 'a negative length', bytes: '*1\r\n$-1\r\n', error: /^ERR Protocol error/ },
  { what: 'no digits', bytes: '*\r\n', error: /^ERR Protocol error/ },
  { what: 'letters for a length', bytes: '*1\r\n$abc\r\n', error: /^ERR Protocol error/ },
  { what: 'a line feed alone', bytes: '*1\n$4\nPING\n', error: /^ERR Protocol error/ },
  { what: 'no bulk string in an array', bytes: '*1\r\n:5\r\n', error: /^ERR Protocol error: expected '\$', got ':'/ },
  { what: 'an argument longer than its length', bytes: '*1\r\n$4\r\nPINGS\r\n', error: /^ERR Protocol error/ },
  { what: 'an open quote', bytes: 'ECHO "a\r\n', error: /^ERR Protocol error/ },
  { what: 'text behind a quote', bytes: 'ECHO "a"b\r\n', error: /^ERR Protocol error/ },
  { what: 'an endless inline command', bytes: 'x'.repeat(64 * 1024 + 1), error: /^ERR Protocol error/ },
];
for (const { what, bytes, error } of refused) {
  test(`${what} is refused, whole or byte by byte`, () => {
    const refusal = (pieces: Buffer[]): void => {
      const parser = newParser();
      assert.throws(
        () => {
          for (const piece of pieces) {
            parser.push(piece);
            parser.next();
          }
        },
        (thrown: { code?: string; message?: string }) => error.test(`${thrown.code} ${thrown.message}`),
      );
      assert.ok(parser.heldBytes <= bytes.length + 4096);
    };
    refusal([Buffer.from(bytes)]);
    if (bytes.length < 100) refusal(Array.from(Buffer.from(bytes), (byte) => Buffer.from([byte])));
  });
}

test('an announced length allocates nothing: memory follows what has come (R5)', () => {
  const before = process.memoryUsage().arrayBuffers;
  const parsers = Array.from({ length: 100 }, () => {
    const parser = newParser();
    parser.push(Buffer.from('*1\r\n$67108864\r\nx'));
    parser.next();
    return parser;
  });
  assert.ok(process.memoryUsage().arrayBuffers - before < 4 * 1024 * 1024);
  assert.ok(parsers.every((parser) => parser.heldBytes < 100));
});
