import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from './kubernetes.ts';
import { carriedOut, entryOf, observe, podOf, storageOf } from './plan.fixture.ts';
import { type Observed, plan } from './plan.ts';

const hash = plan(observe()).status?.configHash ?? '';

/** A pod whose sidecar reports `reported`, with the operator's annotation. */
function reporting(reported: string | undefined, options: Parameters<typeof podOf>[1] = {}): Observed {
  const entry = entryOf('db-0', reported === undefined ? {} : { configHash: reported });
  return observe({ pods: [podOf('db-0', options)], storage: storageOf({ status: { pods: [entry] } }) });
}

function nudged(value: string, nudgedAt?: Date): { annotations: NonNullable<Pod['metadata']['annotations']> } {
  const annotations = { 'wal.proximadb.io/config-hash': value };
  return { annotations, ...(nudgedAt === undefined ? {} : { nudgedAt }) };
}

test('O6 a pod whose sidecar reports an older configuration is nudged with the hash of the newest', () => {
  assert.deepEqual(plan(reporting('older')).nudges, [{ podName: 'db-0', uid: 'uid-db-0', value: hash }]);
  assert.deepEqual(plan(reporting('older', nudged('older'))).nudges[0]?.value, hash);
});

test('R5 an annotation that somebody has changed does not lead to nudges without end', () => {
  for (const repeat of ['NaN', '-9', '1e400', '']) {
    assert.deepEqual(plan(reporting('older', nudged(`${hash}.${repeat}`))).nudges[0]?.value, hash, repeat);
  }
  assert.deepEqual(plan(reporting('older', nudged(`${hash}.999`))).nudges, []);
});

test('O6 a sidecar whose file is still the bad one, after the ConfigMap was put back, is nudged to look again', () => {
  const entry = entryOf('db-0', { configHash: hash, configError: 'wal_urls = 7: must be a list of URLs' });
  const observed = observe({ pods: [podOf('db-0', nudged(hash))], storage: storageOf({ status: { pods: [entry] } }) });
  assert.deepEqual(plan(observed).nudges[0]?.value, `${hash}.1`);
});

test('O6 nobody is nudged who has the newest configuration, has not reported, or is on the way out', () => {
  for (const observed of [
    reporting(hash),
    reporting(undefined),
    reporting('older', { isBeingDeleted: true }),
    reporting('older', { phase: 'Failed' }),
  ]) {
    assert.deepEqual(plan(observed).nudges, []);
  }
});

test('O6 a pod that still reports the old hash is nudged again after 3 s, then after twice as long each time, five times in all', () => {
  let observed = reporting('older');
  const values: string[] = [];
  for (let seconds = 0; seconds < 300; seconds += 1) {
    const now = new Date(Date.UTC(2026, 10, 22, 10) + seconds * 1000);
    const planned = plan({ ...observed, now });
    values.push(...planned.nudges.map(({ value }) => `${seconds} ${value}`));
    if (planned.nudges.length === 0 && values.length < 5) {
      assert.ok(planned.againMs !== undefined && planned.againMs <= 24_000, 'no event tells when the time is over');
    }
    observed = carriedOut({ ...observed, now }, planned);
  }
  assert.deepEqual(values, [`0 ${hash}`, `3 ${hash}.1`, `9 ${hash}.2`, `21 ${hash}.3`, `45 ${hash}.4`]);
});

test('R8 O6 a nudged pod is left alone until its time is over', () => {
  const { now } = observe();
  const options = nudged(`${hash}.1`, new Date(now.getTime() - 1_000));
  const planned = plan(reporting('older', options));
  assert.deepEqual([planned.nudges, planned.againMs], [[], 5_000]);
});
