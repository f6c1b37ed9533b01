import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type AuthorizedOptions, ServiceAccount } from './service-account.ts';

test('a pod finds the API server by its environment, and speaks to it with the mounted token and authority', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'walstorage-account-'));
  t.after(() => rm(directory, { recursive: true }));
  const environment = {
    KUBERNETES_SERVICE_HOST: 'fd00::1',
    KUBERNETES_SERVICE_PORT: '6443',
    WALSTORAGE_TOKEN_DIR: directory,
  };
  const account = ServiceAccount.of(environment);
  assert.equal(account?.getCurrentCluster().server, 'https://[fd00::1]:6443');
  const options: AuthorizedOptions = { headers: { accept: 'application/json' } };
  await assert.rejects(async () => account?.applyToHTTPSOptions(options), /ENOENT.*(token|ca\.crt)/);
  await writeFile(join(directory, 'token'), 'abc\n');
  await writeFile(join(directory, 'ca.crt'), 'authority');
  await account?.applyToHTTPSOptions(options);
  assert.deepEqual(options, { ca: 'authority', headers: { accept: 'application/json', authorization: 'Bearer abc' } });
});

test('outside a pod there is no such account', () => {
  assert.equal(ServiceAccount.of({}), undefined);
});
