/** The smaller sister of `npm run bench -- operator`: what does not depend on the machine's speed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measureScale } from './operator-scale.ts';

const residentBytesMax = 250_000_000;

test('100 WalStorages and 300 pods that change all the time, watches cut, the API server restarted: no drift, below 250 MB', async (t) => {
  const figures = await measureScale({
    storages: 100,
    changes: 750,
    perSecond: 50,
    onProgress: (line) => t.diagnostic(line),
  });
  t.diagnostic(`${figures.operator.changes.length} changes shown, ${Math.round(figures.peakResidentBytes / 1e6)} MB`);
  assert.equal(figures.drift, 0);
  assert.ok(figures.peakResidentBytes < residentBytesMax);
});
