import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { applyBody, buildPodStatus, shareBytes } from './pod-status.ts';
import type { StatusReport } from './report.ts';

const identity = { storageName: 'orders', podName: 'proximadb-0', podUid: 'u-1', namespace: 'db' };
const now = new Date('2026-11-22T10:00:00Z');

function reportOf(collections: number, reason = '', configError = ''): StatusReport {
  const url = 'file:///mnt/nvme1/wal';
  const state = reason === '' ? 'Available' : 'Unavailable';
  return {
    ready: true,
    configHash: 'abc',
    configError,
    collections,
    bytes: 3_178_106,
    journalBytes: 4096,
    urls: [{ url, state, reason, collections, files: 3, bytes: 866_000, journalBytes: 4096 }],
    assignments: Array.from({ length: collections }, (_, index) => {
      return { component: 'wal' as const, collection: `größe_${index}`, url };
    }),
  };
}

test('the body is the one that interfaces section 6 shows', () => {
  const body: unknown = JSON.parse(applyBody(identity, buildPodStatus(identity, reportOf(1), shareBytes(1)), now));
  const url = 'file:///mnt/nvme1/wal';
  const entry = {
    name: 'proximadb-0',
    uid: 'u-1',
    ready: true,
    configHash: 'abc',
    collections: 1,
    bytes: 3_178_106,
    journalBytes: 4096,
    urls: [{ url, state: 'Available', collections: 1, files: 3, bytes: 866_000, journalBytes: 4096 }],
    assignments: [{ component: 'wal', collection: 'größe_0', url }],
    assignmentsTruncated: false,
    lastReportTime: '2026-11-22T10:00:00.000Z',
  };
  const head = { apiVersion: 'wal.proximadb.io/v1alpha1', kind: 'WalStorage', metadata: { name: 'orders' } };
  assert.deepEqual(body, { ...head, status: { pods: [entry] } });
});

test('R5: an entry keeps within 256 KiB ÷ pods, whatever it holds', () => {
  fc.assert(
    fc.property(
      fc.nat(3000),
      fc.integer({ min: 1, max: 400 }),
      fc.string({ maxLength: 3000 }),
      fc.string({ maxLength: 300 }),
      (count, pods, reason, configError) => {
        const entry = buildPodStatus(identity, reportOf(count, reason, configError), shareBytes(pods));
        const bytes = Buffer.byteLength(JSON.stringify({ ...entry, lastReportTime: now.toISOString() }));
        assert.ok(bytes <= shareBytes(pods), `${bytes} bytes of ${shareBytes(pods)}`);
        assert.equal(entry.assignmentsTruncated, entry.assignments.length < count);
        assert.equal(entry.collections, count);
      },
    ),
    { numRuns: 200 },
  );
});

test('a few thousand assignments fill the room to the last entry that fits', () => {
  const entry = buildPodStatus(identity, reportOf(20_000), shareBytes(1));
  assert.equal(entry.assignmentsTruncated, true);
  const bytes = Buffer.byteLength(JSON.stringify(entry));
  assert.ok(bytes > shareBytes(1) - 300, `${bytes}`);
});

test('reasons go before URLs, and URLs only where nothing else is left', () => {
  const long = reportOf(0, 'x'.repeat(5000));
  assert.equal(buildPodStatus(identity, long, 6000).urls[0]?.reason?.length, 5000);
  const short = buildPodStatus(identity, long, 1000).urls[0];
  assert.equal(short?.state, 'Unavailable');
  assert.equal(short?.reason, undefined);
  assert.deepEqual(buildPodStatus(identity, long, 300).urls, []);
});

test('an error of the configuration is there only if there is one, and goes after reasons, before URLs', () => {
  assert.ok(!('configError' in buildPodStatus(identity, reportOf(1), 6000)));
  const bad = reportOf(0, 'x'.repeat(3000), 'y'.repeat(1000));
  assert.equal(buildPodStatus(identity, bad, 6000).configError?.length, 1000);
  const { configError, urls } = buildPodStatus(identity, bad, 2000);
  assert.deepEqual([configError?.length, urls[0]?.state, urls[0]?.reason], [1000, 'Unavailable', undefined]);
  const short = buildPodStatus(identity, bad, 1000);
  assert.deepEqual([short.configError, short.urls.length], [undefined, 1]);
});

test('until the number of pods is known the share is 16 KiB', () => {
  assert.equal(shareBytes(undefined), 16 * 1024);
  assert.equal(shareBytes(0), 256 * 1024);
  assert.equal(shareBytes(4), 64 * 1024);
});
