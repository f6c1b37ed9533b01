import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { addedReason, isExclusive, mountProblem } from './mounts.ts';

const mounted = tmpdir();

test('O5: in a pod a path is used only below a mount that is there', () => {
  const environment = { WALSTORAGE_MOUNTS: `/not/there:${mounted}` };
  assert.equal(mountProblem(`${mounted}/wal`, environment), undefined);
  assert.equal(mountProblem(mounted, environment), undefined);
  assert.match(mountProblem(`${mounted}2/wal`, environment) ?? '', /no mount for it: replace the pod/);
  assert.match(mountProblem('/not/there/wal', environment) ?? '', /mount \/not\/there is not there/);
  assert.match(mountProblem('/wal', { WALSTORAGE_MOUNTS: '' }) ?? '', /no mount/);
  assert.equal(mountProblem('/wal', {}), undefined);
});

test('a URL that was added while the process ran says what makes it used', () => {
  const pod = { WALSTORAGE_MOUNTS: mounted };
  assert.match(addedReason('file', `${mounted}/wal`, pod), /added while the pod ran: restart the pod to use it/);
  assert.match(addedReason('file', '/elsewhere', pod), /no mount for it: replace the pod/);
  assert.match(addedReason('s3', 'prefix', pod), /restart the pod to use it/);
  assert.match(addedReason('file', '/wal', {}), /restart the sidecar to use it/);
});

test('a path is exclusive only below a mount that is named so', () => {
  const environment = { WALSTORAGE_EXCLUSIVE_MOUNTS: '/mnt/a:/mnt/b' };
  assert.deepEqual(
    ['/mnt/a/wal', '/mnt/b', '/mnt/bc/wal', '/wal'].map((path) => isExclusive(path, environment)),
    [true, true, false, false],
  );
  assert.equal(isExclusive('/wal', {}), false);
  assert.equal(isExclusive('/wal', { WALSTORAGE_EXCLUSIVE_MOUNTS: '' }), false);
});
