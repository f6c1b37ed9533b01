/** Pods and WalStorages for the tests of injection: those beside the code, and those on a real API server. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse, parseAllDocuments } from 'yaml';
import type { Volume, WalStorageSpec } from '../crds/walstorage.generated.ts';
import { inject } from '../operator/injection/inject.ts';
import type { AdmittedPod, Container, PodMetadata, PodSpec, VolumeSource } from '../operator/injection/pod.ts';
import { storageLabel, type WalStorage } from '../operator/kubernetes.ts';

export const settings = { image: 'registry.example/walstorage:1.2.3', restartHash: 'f00d' };

const example = (name: string): string =>
  readFileSync(fileURLToPath(new URL(`../examples/${name}`, import.meta.url)), 'utf8');

/** A WalStorage as the API server gives it. */
export function storageOf(spec: WalStorageSpec, name = 'orders'): WalStorage {
  return { metadata: { name, namespace: 'shop', uid: 'storage-uid', resourceVersion: '1' }, spec };
}

/** A WalStorage of `examples/`. */
export function exampleStorage(file: 'walstorage.yaml' | 'full.yaml'): WalStorage {
  const { metadata, spec }: { metadata: { name: string }; spec: WalStorageSpec } = parse(example(file));
  return storageOf(spec, metadata.name);
}

/** A spec with these volumes, a WAL URL on each, and what else is given. */
export function specOf(volumes: readonly Volume[], more: Partial<WalStorageSpec> = {}): WalStorageSpec {
  const urls = volumes.map(({ mountPath }) => ({ url: `file://${mountPath}/wal` }));
  return { volumes: [...volumes], wal: { urls }, ...more };
}

export const claim: Volume = {
  name: 'nvme1',
  mountPath: '/mnt/nvme1',
  claimTemplate: { resources: { requests: { storage: '20Gi' } } },
};

interface StatefulSet {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly template: { readonly metadata: PodMetadata; readonly spec: PodSpec };
    readonly volumeClaimTemplates?: readonly { readonly metadata: { readonly name: string } }[];
  };
}

/** The first pod of `examples/statefulset.yaml`, as the StatefulSet's controller makes it. */
export function examplePod(): AdmittedPod {
  const documents: StatefulSet[] = parseAllDocuments(example('statefulset.yaml')).map((one) => one.toJS());
  const set = documents.find(({ kind }) => kind === 'StatefulSet');
  if (set === undefined) throw new Error('examples/statefulset.yaml has no StatefulSet');
  const { template, volumeClaimTemplates = [] } = set.spec;
  const name = `${set.metadata.name}-0`;
  const claims = volumeClaimTemplates.map(({ metadata }) => ({
    name: metadata.name,
    persistentVolumeClaim: { claimName: `${metadata.name}-${name}` },
  }));
  return {
    metadata: { ...template.metadata, name, generateName: `${set.metadata.name}-` },
    spec: { ...template.spec, volumes: [...(template.spec.volumes ?? []), ...claims] },
  };
}

interface PodChange {
  readonly metadata?: PodMetadata;
  readonly spec?: Partial<PodSpec>;
  /** Of the one container, `db`. */
  readonly container?: Partial<Container>;
}

/** The volume of the database itself. */
export const dataVolume: VolumeSource = { name: 'data', persistentVolumeClaim: { claimName: 'data-db-0' } };

/** A pod of a StatefulSet that passes restricted Pod Security, and asks for the storage `orders`. */
export function podOf({ metadata, spec, container }: PodChange = {}): AdmittedPod {
  const securityContext = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } };
  const db: Container = {
    name: 'db',
    image: 'db.example/db:1',
    volumeMounts: [{ name: 'data', mountPath: '/var/lib/db' }],
    securityContext,
    ...container,
  };
  return {
    metadata: { name: 'db-0', labels: { [storageLabel]: 'orders' }, ...metadata },
    spec: {
      containers: [db],
      volumes: [dataVolume],
      securityContext: { ...restricted, runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000 },
      ...spec,
    },
  };
}

const restricted = { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } };

/** The pod as a Deployment or Job makes it: it gets its name after admission. */
export function nameless(pod: AdmittedPod): AdmittedPod {
  const { name: _, ...metadata } = pod.metadata;
  return { ...pod, metadata: { ...metadata, generateName: 'db-' } };
}

/** The injected pod; throws with the refusal where there is one. */
export function injected(pod: AdmittedPod, storage: WalStorage): AdmittedPod {
  const result = inject(pod, storage, settings);
  assert.ok('pod' in result, 'refusal' in result ? result.refusal : '');
  return result.pod;
}

/** Its first init container, which is ours. */
export function sidecarOf(pod: AdmittedPod): Container {
  const [first] = pod.spec.initContainers ?? [];
  assert.equal(first?.name, 'walstorage');
  return first;
}
