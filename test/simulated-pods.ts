/**
 * The pods of a StatefulSet on a control plane without a node. What the kubelet and the sidecars would do for them is done
 * here: each gets Ready, and reports the newest configuration. Mostly the webhook isn't there either: then the template bears
 * what it would add.
 */
import assert from 'node:assert/strict';
import { type Pod, pods } from '../operator/kubernetes.ts';
import type { ControlPlane } from './cluster/control-plane.ts';
import { eventually, type LabelledPodOptions, type Namespace, podSpec } from './running-operator.ts';

export interface StatefulSetOptions extends LabelledPodOptions {
  readonly replicas: number;
  /** Of the template, instead of what the webhook would make of it. */
  readonly spec?: object;
}

/**
 * Applies the StatefulSet `db`, whose pods bear the label of the WalStorage `orders`. A change of its template doesn't
 * replace them: that is the operator's part.
 */
export async function applyStatefulSet(
  plane: ControlPlane,
  namespace: Namespace,
  { replicas, annotations = {}, spec, ...options }: StatefulSetOptions,
): Promise<void> {
  const labels = { app: 'db', 'wal.proximadb.io/storage': 'orders' };
  await plane.apply({
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: 'db', namespace: namespace.name },
    spec: {
      replicas,
      podManagementPolicy: 'Parallel',
      updateStrategy: { type: 'OnDelete' },
      selector: { matchLabels: { app: 'db' } },
      template: { metadata: { labels, annotations }, spec: spec ?? podSpec(options) },
    },
  });
}

/** Waits for so many pods of the StatefulSet, serves them, and returns them by name. */
export async function servePods(namespace: Namespace, replicas: number): Promise<Pod[]> {
  const found = await eventually(`${replicas} pods`, async () => {
    const all = await namespace.list<Pod>(pods);
    return all.length === replicas ? all : undefined;
  });
  for (const pod of found) await servePod(namespace, pod);
  return found.toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
}

/** The pod becomes Ready, and its sidecar reports the newest configuration, or another one. */
export async function servePod(namespace: Namespace, pod: Pod, configHash?: string): Promise<void> {
  await namespace.setReady(pod);
  const newest = (await namespace.storage('orders')).status?.configHash;
  await namespace.report('orders', pod, { ready: true, configHash: configHash ?? newest ?? '', urls: [] });
}

/** Waits until the pod is gone and another one has its name. Fails if any other pod is gone first. */
export async function replacementOf(namespace: Namespace, evicted: Pod, others: readonly Pod[]): Promise<Pod> {
  const { name, uid } = evicted.metadata;
  return await eventually(`${name} is evicted and made anew`, async () => {
    const all = await namespace.list<Pod>(pods);
    for (const other of others) {
      const isThere = all.some(({ metadata }) => metadata.uid === other.metadata.uid);
      assert.ok(isThere, `${other.metadata.name} was evicted before ${name} was back`);
    }
    return all.find(({ metadata }) => metadata.name === name && metadata.uid !== uid);
  });
}
