import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { shortened } from './shortened.ts';

test('R5 a text that is too long is cut at a character, with the bytes that it may have', () => {
  assert.equal(shortened('short', 5), 'short');
  assert.equal(shortened('longer', 5), 'lo…');
  const characters = fc.string({ unit: 'grapheme', maxLength: 60 });
  fc.assert(
    fc.property(characters, fc.integer({ min: 3, max: 40 }), (text, bytesMax) => {
      const cut = shortened(text, bytesMax);
      assert.ok(Buffer.byteLength(cut) <= bytesMax);
      assert.ok(cut === text || text.startsWith(cut.slice(0, -1)));
      assert.ok(cut.isWellFormed());
    }),
  );
});
