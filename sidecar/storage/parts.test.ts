import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ownMemory, partsFrom, sendableParts } from './parts.ts';

test('what is left of a list of parts after any number of bytes has no empty part and no byte too many', () => {
  const parts = ['ab', '', 'cde', 'f'].map((text) => Buffer.from(text));
  for (let bytes = 0; bytes <= 6; bytes += 1) {
    const left = partsFrom(parts, bytes);
    assert.equal(Buffer.concat(left).toString(), 'abcdef'.slice(bytes));
    assert.ok(left.every((part) => part.length > 0));
  }
});

test('shared memory is sent as it is, rows of other parts in one part with memory of its own', () => {
  const shared = new Uint8Array(new SharedArrayBuffer(10)).fill(65).subarray(2, 5);
  const sendable = sendableParts([Buffer.from('a'), Buffer.from('bc'), shared, Buffer.from('d'), shared]);
  assert.deepEqual(
    sendable.map((part) => Buffer.from(part).toString()),
    ['abc', 'AAA', 'd', 'AAA'],
  );
  assert.equal(sendable[1], shared);
  assert.deepEqual(
    ownMemory(sendable).map((memory) => memory.byteLength),
    [3, 1],
  );
});
