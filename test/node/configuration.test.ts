/** Configuration and its mistakes on a real node: what changes in running pods, what waits for their replacement, and what people are told. */
import assert from 'node:assert/strict';
import { within } from '../running-sidecar.ts';
import { testInstalled } from './installation.ts';
import type { Tenant } from './tenant.ts';

/** From `kubectl apply` to the last sidecar's report. A kubelet that nobody nudges takes a minute and more. */
const hotLimitMs = 10_000;

/** What a sidecar has in force, asked in its own container: others don't get to see it. */
async function configurationOf(tenant: Tenant, pod: string): Promise<Record<string, unknown>> {
  const script = "fetch('http://127.0.0.1:9464/v1/config').then((r) => r.text()).then((t) => process.stdout.write(t))";
  const answer = await tenant.kubectl(['exec', pod, '-c', 'walstorage', '--', 'node', '-e', script]);
  return JSON.parse(answer).configuration.storage.wal_config;
}

function setThreshold(tenant: Tenant, size: string): Promise<string> {
  const change = JSON.stringify({ spec: { wal: { globalFlushThreshold: size } } });
  return tenant.kubectl(['patch', 'walstorage', 'orders', '--type=merge', '-p', change]);
}

testInstalled(
  'O6 a changed threshold is in force in all sidecars within 10 s, without a restart; a bad one is refused by kubectl',
  async (installation, t) => {
    const tenant = await installation.tenant(t, 'hot');
    await tenant.runDatabase({ replicas: 2 });
    const before = await tenant.isReady(2);

    await assert.rejects(setThreshold(tenant, '1Mi'), /globalFlushThreshold: .*128Mi/);
    await setThreshold(tenant, '256Mi');
    await within(hotLimitMs, 'all sidecars report the new configuration', async () => {
      const { status } = await tenant.storage('it is read', () => true);
      return status?.updatedPods === 2 && status.configHash !== before.status?.configHash;
    });
    for (const ordinal of [0, 1]) {
      const { name } = tenant.database(ordinal);
      assert.equal((await configurationOf(tenant, name))['global_flush_threshold'], 256 * 2 ** 20);
      assert.equal(await tenant.database(ordinal).restarts('walstorage'), 0);
      assert.equal(await tenant.database(ordinal).restarts('proximadb'), 0);
    }
  },
);
