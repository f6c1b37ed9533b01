import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultLimits } from './limits.ts';
import { limitsWithin, readOpenFilesMax } from './open-files.ts';

test('connections take at most half of the files that may be open, and no more than their own limit (R5)', () => {
  const cases = [
    [64, 32],
    [1024, 512],
    [20_000, 10_000],
    [1_048_576, 10_000],
    [undefined, 10_000],
    [1, 1],
  ] as const;
  for (const [files, connections] of cases) {
    assert.deepEqual(limitsWithin(files), { ...defaultLimits, connections });
  }
});

test('the limit is what the system tells of this process', { skip: process.platform !== 'linux' }, async () => {
  const files = await readOpenFilesMax();
  assert.ok(files === undefined || files > 0);
});
