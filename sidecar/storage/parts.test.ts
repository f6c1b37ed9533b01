import assert from 'node:assert/strict';
import { test } from 'node:test';
import { copyParts, partsBytes, partsFrom } from './parts.ts';

test('what is left of a list of parts after any number of bytes has no empty part and no byte too many', () => {
  const parts = ['ab', '', 'cde', 'f'].map((text) => Buffer.from(text));
  for (let bytes = 0; bytes <= 6; bytes += 1) {
    const left = partsFrom(parts, bytes);
    assert.equal(Buffer.concat(left).toString(), 'abcdef'.slice(bytes));
    assert.ok(left.every((part) => part.length > 0));
  }
});

test('parts are copied one after the other, and counted', () => {
  const parts = ['ab', '', 'cde'].map((text) => Buffer.from(text));
  const target = Buffer.alloc(7, '.');
  copyParts(parts, target);
  assert.equal(target.toString(), 'abcde..');
  assert.equal(partsBytes(parts), 5);
});
