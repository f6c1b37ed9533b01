/** What a user is told: every refusal, to the letter. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Volume, WalStorageSpec } from '../../crds/walstorage.generated.ts';
import { claim, nameless, podOf, settings, specOf, storageOf } from '../../test/injection-fixtures.ts';
import { checks } from './checks.ts';
import { inject } from './inject.ts';
import type { AdmittedPod, VolumeMount } from './pod.ts';

interface Refused {
  /** What is wrong, the test's name. */
  readonly wrong: string;
  /** The name of the check. */
  readonly check: string;
  readonly pod?: AdmittedPod;
  readonly spec?: WalStorageSpec;
  readonly says: string;
}

const bucket: WalStorageSpec = { wal: { urls: [{ url: 's3://bucket/wal' }] } };
const scratch: Volume = { name: 'scratch', mountPath: '/mnt/scratch', emptyDir: {} };
const host: Volume = { name: 'disk', mountPath: '/mnt/disk', hostPath: { path: '/mnt/disk' } };
const viper = { viper: { urls: [{ url: 'file:///mnt/scratch/viper' }] } };
const shared: Volume = {
  name: 'nfs',
  mountPath: '/mnt/nfs',
  claimTemplate: { accessModes: ['ReadWriteOnce', 'ReadWriteMany'], resources: { requests: { storage: '1Gi' } } },
};
const ofPod = (name: string): Volume => ({ name: 'own', mountPath: '/mnt/own', podVolume: { name } });
const mounts = (...volumeMounts: readonly VolumeMount[]) => podOf({ container: { volumeMounts } });
const annotated = (names: string) =>
  podOf({ metadata: { name: 'db-0', annotations: { 'wal.proximadb.io/containers': names } } });
const withoutGroup = (spec: Partial<AdmittedPod['spec']> = {}) => podOf({ spec: { securityContext: {}, ...spec } });
const sidecar = (memory: string | number): Partial<WalStorageSpec> => ({
  sidecar: { resources: { limits: { memory } } },
});

const refusals: readonly Refused[] = [
  {
    wrong: 'a Windows pod',
    check: 'refuseWindows',
    pod: podOf({ spec: { os: { name: 'windows' } } }),
    says: 'The sidecar runs on Linux only: take the label wal.proximadb.io/storage off the template of this Windows pod.',
  },
  {
    wrong: 'a pod for Windows nodes',
    check: 'refuseWindows',
    pod: podOf({ spec: { nodeSelector: { 'kubernetes.io/os': 'windows' } } }),
    says: 'The sidecar runs on Linux only: take the label wal.proximadb.io/storage off the template of this Windows pod.',
  },
  {
    wrong: 'an annotation that names containers which are not there',
    check: 'refuseUnknownContainers',
    pod: annotated('db, proxy,cache'),
    says: "The annotation wal.proximadb.io/containers names proxy, cache, which the pod doesn't have: name containers of the pod (db), joined by ',', or remove the annotation for all of them.",
  },
  {
    wrong: 'an annotation that names no container',
    check: 'refuseUnknownContainers',
    pod: annotated(' , '),
    says: "The annotation wal.proximadb.io/containers names no container: name containers of the pod (db), joined by ',', or remove the annotation for all of them.",
  },
  {
    wrong: 'a container of our name',
    check: 'refuseTakenContainer',
    pod: podOf({ container: { name: 'walstorage' } }),
    says: "The pod has a container walstorage already, which is the sidecar's name: rename it.",
  },
  {
    wrong: 'an init container of our name',
    check: 'refuseTakenContainer',
    pod: podOf({ spec: { initContainers: [{ name: 'walstorage' }] } }),
    says: "The pod has a container walstorage already, which is the sidecar's name: rename it.",
  },
  {
    wrong: 'a volume of our name',
    check: 'refuseTakenVolumes',
    pod: podOf({ spec: { volumes: [{ name: 'walstorage-config', emptyDir: {} }] } }),
    says: 'The pod has a volume walstorage-config already, and names that begin with walstorage- are ours: rename it.',
  },
  {
    wrong: 'the variable of the socket with another value',
    check: 'refuseTakenVariable',
    pod: podOf({ container: { env: [{ name: 'PROXIMADB_WAL_SOCKET', value: '/tmp/wal.sock' }] } }),
    says: "Container db sets PROXIMADB_WAL_SOCKET to something else than /run/walstorage/wal.sock: remove the variable, the sidecar's socket is always there.",
  },
  ...['/run/walstorage', '/run/walstorage/', '/run/walstorage/inner', '/run'].map((mountPath) => ({
    wrong: `a mount at ${mountPath}`,
    check: 'refuseTakenMountPaths',
    pod: mounts({ name: 'data', mountPath }),
    says: `Container db mounts volume data at ${mountPath}, where /run/walstorage is needed for the socket: mount that volume elsewhere.`,
  })),
  ...['/mnt/scratch/viper', '/mnt/scratch/viper/hot', '/mnt'].map((mountPath) => ({
    wrong: `a mount at ${mountPath}, with a URL at /mnt/scratch/viper`,
    check: 'refuseTakenMountPaths',
    pod: mounts({ name: 'data', mountPath }),
    spec: specOf([scratch], viper),
    says: `Container db mounts volume data at ${mountPath}, where /mnt/scratch/viper is needed for the viper URL file:///mnt/scratch/viper: mount that volume elsewhere, or move the URL in WalStorage orders.`,
  })),
  ...[
    { name: 'data', mountPath: '/mnt/own', subPath: 'other' },
    { name: 'data', mountPath: '/mnt/own', readOnly: true },
    { name: 'data', mountPath: '/mnt/own', subPathExpr: '$(POD_NAME)' },
    { name: 'other', mountPath: '/mnt/own' },
  ].map((mount) => ({
    wrong: `the pod's volume, mounted so that another directory is under the path: ${JSON.stringify(mount)}`,
    check: 'refuseTakenMountPaths',
    pod: mounts(mount),
    spec: specOf([ofPod('data')], { lsm: { urls: [{ url: 'file:///mnt/own/lsm' }] } }),
    says: `Container db mounts volume ${mount.name} at /mnt/own, where /mnt/own/lsm is needed for the lsm URL file:///mnt/own/lsm: mount that volume elsewhere, or move the URL in WalStorage orders.`,
  })),
  {
    wrong: 'a container that uses the port of the sidecar',
    check: 'refuseTakenPort',
    pod: podOf({ container: { ports: [{ containerPort: 9464 }] } }),
    says: "Container db uses port 9464, which is the sidecar's: set spec.sidecar.httpPort of WalStorage orders to a free one.",
  },
  {
    wrong: 'a claimTemplate and a pod of a Deployment',
    check: 'refuseNamelessPod',
    pod: nameless(podOf()),
    says: "Volume nvme1 of WalStorage orders is a claimTemplate, which makes a claim of the pod's name, and a pod of a Deployment or Job has no name when it is admitted: use a StatefulSet, or a WalStorage with emptyDir volumes or object stores.",
  },
  {
    wrong: 'a claimTemplate and a pod of a Deployment, with ephemeralPods',
    check: 'refuseNamelessPod',
    pod: nameless(podOf()),
    spec: specOf([claim], { ephemeralPods: true }),
    says: "Volume nvme1 of WalStorage orders is a claimTemplate, which makes a claim of the pod's name, and a pod of a Deployment or Job has no name when it is admitted: use a StatefulSet, or a WalStorage with emptyDir volumes or object stores.",
  },
  ...[bucket, specOf([scratch, host]), specOf([ofPod('data')])].map((spec) => ({
    wrong: `a pod of a Deployment whose log would not be found again: ${JSON.stringify(spec.wal)}`,
    check: 'refuseNamelessPod',
    pod: nameless(podOf()),
    spec,
    says: "WalStorage orders keeps each pod's log under the pod's name, and a pod of a Deployment or Job has no name when it is admitted, so that no later pod finds its log: use a StatefulSet, or accept that with spec.ephemeralPods: true.",
  })),
  {
    wrong: 'a directory for the database under the uid of the pod',
    check: 'refuseUnknownDirectories',
    spec: specOf([scratch], { index: { urls: [{ url: 'file:///mnt/scratch/${POD_UID}' }] } }),
    says: 'The index URL file:///mnt/scratch/${POD_UID} of WalStorage orders is mounted into the database under its own path, and ${POD_UID} in it has no value before the pod runs: use ${POD_NAME} or ${POD_NAMESPACE}.',
  },
  {
    wrong: 'a directory for the database under the name of a pod that has none yet',
    check: 'refuseUnknownDirectories',
    pod: nameless(podOf()),
    spec: specOf([host], { ephemeralPods: true, lsm: { urls: [{ url: 'file:///mnt/disk/lsm' }] } }),
    says: 'The lsm URL file:///mnt/disk/lsm of WalStorage orders is mounted into the database under its own path, and ${POD_NAME} in it (which is appended on shared volumes) has no value for a pod of a Deployment or Job: use a StatefulSet, an emptyDir or an object store.',
  },
  {
    wrong: 'a podVolume that the pod does not have',
    check: 'refuseMissingPodVolumes',
    spec: specOf([ofPod('ssd')]),
    says: "Volume own of WalStorage orders is the pod's volume ssd, which the pod doesn't have (it has data): add it to the pod's volumes or volumeClaimTemplates, or correct podVolume.name.",
  },
  {
    wrong: 'a podVolume, and a pod without volumes',
    check: 'refuseMissingPodVolumes',
    pod: podOf({ spec: { volumes: [] }, container: { volumeMounts: [] } }),
    spec: specOf([ofPod('ssd')]),
    says: "Volume own of WalStorage orders is the pod's volume ssd, which the pod doesn't have (it has none): add it to the pod's volumes or volumeClaimTemplates, or correct podVolume.name.",
  },
  {
    wrong: 'a podVolume that is a ConfigMap',
    check: 'refuseReadOnlyPodVolumes',
    pod: podOf({ spec: { volumes: [{ name: 'data', configMap: { name: 'x' } }] } }),
    spec: specOf([ofPod('data')]),
    says: "Volume own of WalStorage orders is the pod's volume data, a configMap, which can't be written: name a volume that can be in podVolume.name.",
  },
  {
    wrong: 'a podVolume that is a read-only claim',
    check: 'refuseReadOnlyPodVolumes',
    pod: podOf({ spec: { volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'x', readOnly: true } }] } }),
    spec: specOf([ofPod('data')]),
    says: "Volume own of WalStorage orders is the pod's volume data, a read-only claim, which can't be written: name a volume that can be in podVolume.name.",
  },
  {
    wrong: 'a podVolume that is a hostPath, which all pods on the node have (R1)',
    check: 'refuseSharedPodVolumes',
    pod: podOf({ spec: { volumes: [{ name: 'data', hostPath: { path: '/srv' } }] } }),
    spec: specOf([ofPod('data')]),
    says: "The wal URL file:///mnt/own/wal of WalStorage orders lies on the pod's volume data, a hostPath, which other pods have too, and a log has one writer: append /${POD_NAMESPACE}/${POD_NAME} to the URL, or write hostPath instead of podVolume.",
  },
  ...[
    { name: 'nvme1', spec: specOf([claim]) },
    { name: 'own', spec: specOf([ofPod('data')]) },
    {
      name: 'old',
      spec: specOf([{ name: 'old', mountPath: '/mnt/old', persistentVolumeClaim: { claimName: 'old' } }]),
    },
  ].map(({ name, spec }) => ({
    wrong: `no fsGroup, with the persistent volume ${name}`,
    check: 'refuseMissingFsGroup',
    pod: withoutGroup(),
    spec,
    says: `The pod has no fsGroup, without which the sidecar may not write to persistent volumes (${name} of WalStorage orders): set securityContext.fsGroup: 1000 in the pod's spec (of a StatefulSet: spec.template.spec).`,
  })),
  {
    wrong: 'no fsGroup, with a generic ephemeral volume of the pod, and a group of the database',
    check: 'refuseMissingFsGroup',
    pod: withoutGroup({ volumes: [{ name: 'data', ephemeral: {} }], securityContext: { runAsGroup: 2000 } }),
    spec: specOf([ofPod('data')]),
    says: "The pod has no fsGroup, without which the sidecar may not write to persistent volumes (own of WalStorage orders): set securityContext.fsGroup: 2000 in the pod's spec (of a StatefulSet: spec.template.spec).",
  },
  ...[
    ['/etc', '/etc/walstorage'],
    ['/run/walstorage/data', '/run/walstorage'],
    ['/etc/walstorage/credentials/x', '/etc/walstorage'],
  ].map(([mountPath = '', path]) => ({
    wrong: `a mountPath where the sidecar has ${path}`,
    check: 'refuseReservedMountPaths',
    spec: specOf([{ ...scratch, mountPath }]),
    says: `Volume scratch of WalStorage orders has the mountPath ${mountPath}, where the sidecar has ${path}: choose another, such as /mnt/scratch.`,
  })),
  {
    wrong: 'WAL URLs on a claimTemplate that several nodes may mount',
    check: 'refuseSharedClaims',
    spec: specOf([shared]),
    says: 'Volume nfs of WalStorage orders holds WAL URLs and may be mounted by several nodes at once (ReadWriteMany), where no lock keeps a second writer out: use a volume with accessModes [ReadWriteOncePod].',
  },
  {
    wrong: 'a memory limit below the default threshold and what the sidecar needs',
    check: 'refuseSmallMemoryLimit',
    spec: specOf([claim], sidecar('512Mi')),
    says: 'The memory limit 512Mi of the sidecar of WalStorage orders is below 768Mi, which are globalFlushThreshold (512Mi) and 256Mi for the sidecar itself: raise spec.sidecar.resources.limits.memory to 768Mi or more, or lower globalFlushThreshold.',
  },
  {
    wrong: 'a memory limit one byte below the threshold and what the sidecar needs',
    check: 'refuseSmallMemoryLimit',
    spec: { wal: { ...bucket.wal, globalFlushThreshold: '1G' }, ...sidecar(1_268_435_455) },
    says: 'The memory limit 1268435455 of the sidecar of WalStorage orders is below 1268435456, which are globalFlushThreshold (1G) and 256Mi for the sidecar itself: raise spec.sidecar.resources.limits.memory to 1268435456 or more, or lower globalFlushThreshold.',
  },
];

function refusalOf({ pod = podOf(), spec = specOf([claim]) }: Pick<Refused, 'pod' | 'spec'>): string | undefined {
  const result = inject(pod, storageOf(spec), settings);
  return 'refusal' in result ? result.refusal : undefined;
}

for (const refused of refusals) {
  test(`refused with a sentence that says what to do: ${refused.wrong}`, () => {
    assert.equal(refusalOf(refused), refused.says);
  });
}

test('every check has a row', () => {
  const tested = new Set(refusals.map(({ check }) => check));
  assert.deepEqual(new Set(checks.map(({ name }) => name)), tested);
});

test('all that is wrong is told at once', () => {
  const pod = podOf({ container: { name: 'walstorage' }, spec: { os: { name: 'windows' } } });
  assert.equal(
    refusalOf({ pod }),
    'The sidecar runs on Linux only: take the label wal.proximadb.io/storage off the template of this Windows pod. ' +
      "The pod has a container walstorage already, which is the sidecar's name: rename it.",
  );
});

test('R5 a pod with more parts than a node would run is refused before they are compared', () => {
  const many = Array.from({ length: 513 }, (_, i) => ({ name: 'data', mountPath: `/mnt/${i}` }));
  const pod = podOf({ spec: { containers: Array.from({ length: 65 }, () => ({ name: 'db' })), volumes: many } });
  const begin = 'The pod has';
  const rest = 'use fewer, or another pod for the rest.';
  assert.equal(
    refusalOf({ pod }),
    `${begin} 65 containers, and the sidecar comes into pods with at most 64: ${rest} ` +
      `${begin} 513 volumes, and the sidecar comes into pods with at most 512: ${rest}`,
  );
  assert.equal(
    refusalOf({ pod: mounts(...many) }),
    `${begin} 513 volumeMounts, and the sidecar comes into pods with at most 512: ${rest}`,
  );
  assert.equal(refusalOf({ pod: mounts(...many.slice(1)) }), undefined);
});

test('what is near to a refusal is taken', () => {
  const [memory, lsm] = [sidecar('768Mi'), { lsm: { urls: [{ url: 'file:///mnt/own/lsm' }] } }];
  const taken: readonly Pick<Refused, 'pod' | 'spec'>[] = [
    { spec: specOf([claim], memory) },
    { spec: { ...specOf([claim], memory), wal: { ...bucket.wal, globalFlushThreshold: '512Mi' } } },
    { pod: mounts({ name: 'data', mountPath: '/run/walstorages' }, { name: 'data', mountPath: '/mnt/scratch' }) },
    { pod: mounts({ name: 'data', mountPath: '/mnt/own' }), spec: specOf([ofPod('data')], lsm) },
    { pod: mounts({ name: 'data', mountPath: '/mnt/own/lsm', subPath: 'lsm' }), spec: specOf([ofPod('data')], lsm) },
    { pod: withoutGroup(), spec: specOf([scratch, host]) },
    { pod: withoutGroup({ volumes: [{ name: 'data', emptyDir: {} }] }), spec: specOf([ofPod('data')]) },
    { spec: { ...specOf([shared]), ...bucket, viper: { urls: [{ url: 'file:///mnt/nfs/viper' }] } } },
    { pod: podOf({ container: { ports: [{ containerPort: 9464, protocol: 'UDP' }, { containerPort: 9465 }] } }) },
    { spec: specOf([{ ...scratch, mountPath: '/etc/walstorage2' }]) },
    { pod: podOf({ spec: { os: { name: 'linux' } } }) },
    { pod: nameless(podOf()), spec: { ...bucket, ephemeralPods: true } },
    {
      pod: podOf({ spec: { volumes: [{ name: 'data', hostPath: { path: '/srv' } }] } }),
      spec: { ...specOf([ofPod('data')]), wal: { urls: [{ url: 'file:///mnt/own/${POD_NAME}' }] } },
    },
  ];
  assert.deepEqual(
    taken.map((one) => refusalOf(one)),
    taken.map(() => undefined),
  );
});

test('in a pod with our annotation what bears our names is ours, but not a container of the database', () => {
  const again = { name: 'db-0', annotations: { 'wal.proximadb.io/injected': 'old' } };
  const env = [
    { name: 'A', value: 'a' },
    { name: 'PROXIMADB_WAL_SOCKET', value: '/old.sock' },
  ];
  const volumeMounts = [{ name: 'walstorage-data-gone', mountPath: '/mnt/nvme1/viper' }];
  const volumes = [{ name: 'walstorage-data-gone', emptyDir: {} }];
  const initContainers = [{ name: 'init' }, { name: 'walstorage', image: 'old' }];
  const spec = { volumes, initContainers };
  const result = inject(
    podOf({ metadata: again, spec, container: { env, volumeMounts } }),
    storageOf(specOf([claim])),
    settings,
  );
  assert.ok('pod' in result);
  assert.deepEqual(
    result.pod.spec.initContainers?.map(({ name, image }) => [name, image]),
    [
      ['walstorage', settings.image],
      ['init', undefined],
    ],
  );
  const [db] = result.pod.spec.containers;
  assert.deepEqual(db?.env, [{ name: 'PROXIMADB_WAL_SOCKET', value: '/run/walstorage/wal.sock' }, env[0]]);
  assert.deepEqual(db?.volumeMounts, [{ name: 'walstorage-socket', mountPath: '/run/walstorage' }]);
  assert.ok(result.pod.spec.volumes?.every(({ name }) => name !== 'walstorage-data-gone'));
  assert.equal(result.pod.metadata.annotations?.['wal.proximadb.io/injected'], settings.restartHash);
  assert.match(refusalOf({ pod: podOf({ metadata: again, container: { name: 'walstorage' } }) }) ?? '', /rename it/);
});
