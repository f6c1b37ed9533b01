/** What a plan is made from, and what it leads to: for the tests of operator/. */
import assert from 'node:assert/strict';
import type { PodStatus, StatusCondition, WalStorageSpec } from '../crds/walstorage.generated.ts';
import type { DesiredObject } from './desired.ts';
import type { Pod, PodVolume, WalStorage } from './kubernetes.ts';
import type { Observed, Plan } from './plan.ts';

export const spec: WalStorageSpec = {
  volumes: [
    { name: 'nvme1', mountPath: '/mnt/nvme1', claimTemplate: { resources: { requests: { storage: '20Gi' } } } },
    { name: 'nvme2', mountPath: '/mnt/nvme2', claimTemplate: { resources: { requests: { storage: '20Gi' } } } },
  ],
  wal: { urls: [{ url: 'file:///mnt/nvme1/wal' }, { url: 'file:///mnt/nvme2/wal' }] },
};

export function storageOf(more: Partial<WalStorage> = {}): WalStorage {
  const metadata = {
    name: 'orders',
    namespace: 'default',
    uid: 'storage-uid',
    resourceVersion: '100',
    generation: 3,
  };
  return { metadata, spec, ...more };
}

export interface PodOptions {
  readonly ready?: boolean;
  readonly phase?: string;
  readonly account?: string;
  readonly uid?: string;
  readonly volumes?: readonly PodVolume[];
  readonly annotations?: Readonly<Record<string, string>>;
  /** Of its controller; null: it has none. */
  readonly owner?: string | null;
  readonly hasSidecar?: boolean;
  /** The sidecar's limit; what it is given by default if not given. */
  readonly memory?: string;
  readonly isBeingDeleted?: boolean;
  /** When the operator last wrote the pod. */
  readonly nudgedAt?: Date;
}

/** A pod of the StatefulSet `db`, with the sidecar. */
export function podOf(name: string, options: PodOptions = {}): Pod {
  const { ready, phase, account = 'db', uid = `uid-${name}`, volumes = [], annotations = {} } = options;
  const { owner = 'StatefulSet', hasSidecar = true, isBeingDeleted = false, memory = '768Mi', nudgedAt } = options;
  const conditions = ready === undefined ? [] : [{ type: 'Ready', status: ready ? 'True' : 'False' }];
  const controller = {
    apiVersion: owner === 'Job' ? 'batch/v1' : 'apps/v1',
    name: 'db',
    uid: 'uid-db',
    controller: true,
  };
  const time = nudgedAt?.toISOString();
  return {
    metadata: {
      name,
      namespace: 'default',
      uid,
      resourceVersion: '5',
      labels: { 'wal.proximadb.io/storage': 'orders' },
      annotations,
      ...(owner === null ? {} : { ownerReferences: [{ ...controller, kind: owner }] }),
      ...(time === undefined ? {} : { managedFields: [{ manager: 'walstorage-operator', time }] }),
      ...(isBeingDeleted ? { deletionTimestamp: '2026-11-22T09:59:59Z' } : {}),
    },
    spec: {
      serviceAccountName: account,
      volumes,
      initContainers: hasSidecar ? [{ name: 'walstorage', resources: { limits: { memory } } }] : [],
    },
    status: { conditions, ...(phase === undefined ? {} : { phase }) },
  };
}

export function entryOf(name: string, more: Partial<PodStatus> = {}): PodStatus {
  const urls = [
    { url: 'file:///mnt/nvme1/wal', state: 'Available' as const, collections: 6, files: 6, bytes: 1_500_000 },
    { url: 'file:///mnt/nvme2/wal', state: 'Available' as const, collections: 5, files: 5, bytes: 1_678_106 },
  ];
  return { name, uid: `uid-${name}`, ready: true, collections: 11, bytes: 3_178_106, urls, ...more };
}

export function observe(more: Partial<Observed> = {}): Observed {
  const now = new Date('2026-11-22T10:00:00.500Z');
  return {
    storage: storageOf(),
    pods: [],
    live: {},
    refusal: undefined,
    claims: new Map(),
    refusedClaims: [],
    rolloutMemory: undefined,
    operatorVersion: '1.2.3',
    now,
    ...more,
  };
}

function stored({ metadata, ...content }: DesiredObject): object {
  return { ...content, metadata: { ...metadata, uid: 'made-uid', resourceVersion: '200' } };
}

/** What would be observed after a plan was carried out; pods that were evicted are left to the test. */
export function carriedOut(observed: Observed, planned: Plan): Observed {
  const live = { ...observed.live };
  for (const { slot, object } of planned.objects) Object.assign(live, { [slot]: stored(object) });
  const claims = new Map(observed.claims);
  for (const { object } of planned.claims) {
    const { name, namespace } = object.metadata;
    const metadata = { ...object.metadata, name, namespace, uid: `uid-${name}`, resourceVersion: '200' };
    claims.set(name, { ...object, metadata });
  }
  const pods = observed.pods.map((pod) => nudged(pod, planned, observed.now));
  const written = { ...observed.storage.status, ...planned.status };
  const storage = { ...observed.storage, status: written };
  return { ...observed, live, claims, pods, storage, rolloutMemory: planned.rolloutMemory };
}

function nudged(pod: Pod, { nudges }: Plan, now: Date): Pod {
  const nudge = nudges.find(({ uid }) => uid === pod.metadata.uid);
  if (nudge === undefined) return pod;
  const annotations = { ...pod.metadata.annotations, 'wal.proximadb.io/config-hash': nudge.value };
  const managedFields = [{ manager: 'walstorage-operator', time: now.toISOString() }];
  return { ...pod, metadata: { ...pod.metadata, annotations, managedFields } };
}

/** The condition of a planned status; fails if there is none. */
export function condition(planned: Plan, type: string): StatusCondition {
  const found = planned.status?.conditions.find((one) => one.type === type);
  assert.ok(found, `no condition ${type}`);
  return found;
}
