import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { ControlPlane } from './control-plane.ts';

let cluster: ControlPlane;
before(async () => {
  cluster = await ControlPlane.start({ withControllers: true });
});
after(async () => cluster?.stop());

test('it runs beside another one, and both stop without a trace', async () => {
  const other = await ControlPlane.start({ withControllers: false });
  assert.notEqual(other.port, cluster.port);
  await other.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'only-there' } });
  await assert.rejects(cluster.kubectl(['get', 'namespace', 'only-there']), /not found/);
  await other.stop();
  assert.ok(!existsSync(other.directory));
  await assert.rejects(fetch(other.server), /fetch failed/);
});

test('the API server can be killed alone, and comes back on its port with what it held', async () => {
  const configMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'kept' }, data: { key: 'value' } };
  await cluster.apply(configMap);
  await cluster.stopApiServer();
  await assert.rejects(cluster.kubectl(['get', 'configmap', 'kept']), /refused/);
  await cluster.startApiServer();
  assert.match(await cluster.kubectl(['get', 'configmap', 'kept', '-o', 'jsonpath={.data.key}']), /^value$/);
});

test('a token bound to a pod is that of its service account, and dies with the pod', async () => {
  await cluster.apply(
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'database' } },
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'db-0' },
      spec: { serviceAccountName: 'database', containers: [{ name: 'db', image: 'none' }] },
    },
  );
  const uid = await cluster.kubectl(['get', 'pod', 'db-0', '-o', 'jsonpath={.metadata.uid}']);
  const token = await cluster.createServiceAccountToken('default', 'database', { boundPod: { name: 'db-0', uid } });
  // The administrator's certificate would win over the token: this kubectl has none.
  const asPod = ['--kubeconfig=/dev/null', `--server=${cluster.server}`, `--certificate-authority=${cluster.caFile}`];
  const whoami = [...asPod, `--token=${token}`, 'auth', 'whoami', '-o', 'json'];
  const { status } = JSON.parse(await cluster.kubectl(whoami));
  assert.equal(status.userInfo.username, 'system:serviceaccount:default:database');
  assert.deepEqual(status.userInfo.extra['authentication.kubernetes.io/pod-name'], ['db-0']);
  await cluster.kubectl(['delete', 'pod', 'db-0', '--now']);
  // The authenticator remembers a token for 10 s.
  const deadlineMs = performance.now() + 30_000;
  let refused = false;
  while (!refused && performance.now() < deadlineMs) {
    refused = await cluster.kubectl(whoami).then(
      () => false,
      (error: unknown) => /Unauthorized|logged in/.test(String(error)),
    );
    await setTimeout(200);
  }
  assert.ok(refused, 'the token of a deleted pod still works');
});

test('its programs end with the process that started it, even by SIGKILL', {
  skip: process.platform !== 'linux',
}, async (t) => {
  const script = `
    const { ControlPlane } = await import(${JSON.stringify(new URL('control-plane.ts', import.meta.url).href)});
    const { server, directory } = await ControlPlane.start({ withControllers: false });
    console.log(JSON.stringify({ server, directory }));
    setInterval(() => undefined, 60_000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  for await (const line of createInterface(child.stdout)) {
    const { server, directory }: { server: string; directory: string } = JSON.parse(line);
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    child.kill('SIGKILL');
    const deadlineMs = performance.now() + 10_000;
    const answers = () =>
      fetch(server).then(
        () => true,
        (error: Error) => !String(error.cause).includes('ECONNREFUSED'),
      );
    while (await answers()) {
      assert.ok(performance.now() < deadlineMs, 'the API server still runs');
      await setTimeout(50);
    }
    return;
  }
  assert.fail('it did not start');
});
