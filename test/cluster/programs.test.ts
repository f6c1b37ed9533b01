import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { cacheDirectory } from './cache.ts';
import { programDirectory } from './programs.ts';

test('programs come from KUBEBUILDER_ASSETS where it has all that are needed, else from the cache', async (t) => {
  const assets = await mkdtemp(join(tmpdir(), 'walstorage-assets-'));
  const inherited = process.env['KUBEBUILDER_ASSETS'];
  t.after(async () => {
    if (inherited === undefined) delete process.env['KUBEBUILDER_ASSETS'];
    else process.env['KUBEBUILDER_ASSETS'] = inherited;
    await rm(assets, { recursive: true });
  });
  process.env['KUBEBUILDER_ASSETS'] = assets;
  for (const name of ['etcd', 'kube-apiserver']) await writeFile(join(assets, name), '');
  assert.equal(await programDirectory(['etcd', 'kube-apiserver']), assets);
  const all = await programDirectory(['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler']);
  assert.ok(all.startsWith(join(cacheDirectory(), 'kubernetes-')), all);
});
