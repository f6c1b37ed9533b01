import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Volume, WalStorageSpec } from '../../crds/walstorage.generated.ts';
import {
  claim,
  examplePod,
  exampleStorage,
  injected,
  nameless,
  podOf,
  settings,
  sidecarOf,
  specOf,
  storageOf,
} from '../../test/injection-fixtures.ts';
import { claimName } from '../claim-name.ts';
import type { WalStorage } from '../kubernetes.ts';
import { inject } from './inject.ts';
import type { AdmittedPod, Container, Resources, VolumeMount } from './pod.ts';

function warningsOf(pod: AdmittedPod, storage: WalStorage): readonly string[] {
  const result = inject(pod, storage, settings);
  assert.ok('pod' in result, 'refusal' in result ? result.refusal : '');
  return result.warnings;
}

function environmentOf(container: Container | undefined): Record<string, string> {
  return Object.fromEntries((container?.env ?? []).map(({ name, value }) => [name, value ?? '(of the pod)']));
}

function mountPathsOf(container: Container | undefined): Record<string, string> {
  return Object.fromEntries((container?.volumeMounts ?? []).map((mount) => [mount.mountPath, placeOf(mount)]));
}

/** What is mounted: the volume, or the directory in it. */
function placeOf({ name, subPath }: VolumeMount): string {
  return subPath === undefined ? name : `${name}/${subPath}`;
}

const storage = storageOf(specOf([claim]));

test('O3 the sidecar is the first init container, runs beside the others, and is asked over HTTP', () => {
  const other: Container = { name: 'migrate', image: 'db.example/migrate:1' };
  const pod = injected(podOf({ spec: { initContainers: [other] } }), storage);
  assert.deepEqual(
    pod.spec.initContainers?.map(({ name }) => name),
    ['walstorage', 'migrate'],
  );
  assert.equal(pod.spec.initContainers?.[1], other);
  const { image, args, restartPolicy, startupProbe, readinessProbe, livenessProbe } = sidecarOf(pod);
  assert.deepEqual(
    { image, args, restartPolicy },
    { image: settings.image, args: ['sidecar'], restartPolicy: 'Always' },
  );
  assert.deepEqual(
    [startupProbe, readinessProbe, livenessProbe].map((probe) => probe?.httpGet),
    ['/startupz', '/readyz', '/livez'].map((path) => ({ path, port: 9464, scheme: 'HTTP' })),
  );
  const { periodSeconds = 0, failureThreshold = 0 } = startupProbe ?? {};
  assert.deepEqual([periodSeconds, periodSeconds * failureThreshold], [1, 24 * 60 * 60]);
  assert.equal(pod.metadata.annotations?.['wal.proximadb.io/injected'], settings.restartHash);
});

test('O3 the environment of the sidecar is that of the interfaces', () => {
  assert.deepEqual(environmentOf(sidecarOf(injected(podOf(), storage))), {
    WALSTORAGE_NAME: 'orders',
    POD_NAME: '(of the pod)',
    POD_NAMESPACE: '(of the pod)',
    POD_UID: '(of the pod)',
    WALSTORAGE_CONFIG: '/etc/walstorage/config/walstorage.toml',
    WALSTORAGE_SOCKET: '/run/walstorage/wal.sock',
    WALSTORAGE_HTTP: ':9464',
    WALSTORAGE_TOKEN_DIR: '/etc/walstorage/token',
    WALSTORAGE_MOUNTS: '/mnt/nvme1',
  });
  const exclusive: Volume = {
    name: 'nvme2',
    mountPath: '/mnt/nv$(me)2',
    claimTemplate: { accessModes: ['ReadWriteOncePod'], resources: { requests: { storage: '1Gi' } } },
  };
  const sidecar = { logLevel: 'debug', httpPort: 9999, image: 'own/walstorage:2' } as const;
  const container = sidecarOf(injected(podOf(), storageOf(specOf([claim, exclusive], { sidecar }))));
  const environment = environmentOf(container);
  assert.equal(environment['WALSTORAGE_LOG_LEVEL'], 'debug');
  assert.equal(environment['WALSTORAGE_HTTP'], ':9999');
  // The kubelet makes one $ of two, and would expand $(me).
  assert.equal(environment['WALSTORAGE_MOUNTS'], '/mnt/nvme1:/mnt/nv$$(me)2');
  assert.equal(environment['WALSTORAGE_EXCLUSIVE_MOUNTS'], '/mnt/nv$$(me)2');
  assert.equal(container.image, 'own/walstorage:2');
  assert.equal(container.readinessProbe?.httpGet?.port, 9999);
  assert.deepEqual(container.ports, [{ name: 'walstorage-http', containerPort: 9999, protocol: 'TCP' }]);
});

test('O3 the token and the Secrets are mounted into the sidecar alone; a missing Secret does not stop the pod', () => {
  const pod = injected(podOf({ spec: { volumes: [{ name: 'data', emptyDir: {} }] } }), exampleStorage('full.yaml'));
  const volumes = new Map(pod.spec.volumes?.map((volume) => [volume.name, volume]));
  assert.deepEqual(volumes.get('walstorage-config'), {
    name: 'walstorage-config',
    configMap: { name: 'everything-walstorage', defaultMode: 0o644 },
  });
  const secrets = [...volumes.values()].flatMap(({ secret }) => secret ?? []);
  assert.deepEqual(
    secrets,
    ['wal-s3', 'wal-adls', 'wal-gcs'].map((secretName) => ({ secretName, optional: true, defaultMode: 0o440 })),
  );
  const inSidecar = mountPathsOf(sidecarOf(pod));
  for (const name of ['wal-s3', 'wal-adls', 'wal-gcs']) {
    assert.match(inSidecar[`/etc/walstorage/credentials/${name}`] ?? '', /^walstorage-credentials-[0-9a-f]{8}$/);
  }
  const inDatabase = Object.values(mountPathsOf(pod.spec.containers[0])).join(' ');
  assert.doesNotMatch(inDatabase, /token|credentials|config/);
  const token = JSON.stringify(volumes.get('walstorage-token'));
  assert.match(token, /"serviceAccountToken":\{"path":"token","expirationSeconds":3600\}/);
});

test('without an fsGroup the files of a Secret are readable for the sidecar all the same', () => {
  const urls = [{ url: 's3://bucket/wal', credentialsSecretRef: { name: 'wal-s3' } }];
  const pod = injected(podOf({ spec: { securityContext: {} } }), storageOf({ wal: { urls } }));
  const secret = pod.spec.volumes?.find(({ name }) => name.startsWith('walstorage-credentials-'))?.secret;
  assert.deepEqual(secret, { secretName: 'wal-s3', optional: true, defaultMode: 0o444 });
});

test('O4 the database gets the socket and the directories of non-WAL URLs, those of the WAL only the sidecar', () => {
  const pod = injected(podOf(), exampleStorage('full.yaml'));
  const [db] = pod.spec.containers;
  assert.deepEqual(mountPathsOf(db), {
    '/var/lib/db': 'data',
    '/run/walstorage': 'walstorage-socket',
    '/mnt/nvme1/viper': 'walstorage-data-nvme1/viper',
    '/mnt/nvme1/lsm': 'walstorage-data-nvme1/lsm',
    '/mnt/nvme2/lsm/shop/db-0': 'walstorage-data-nvme2/lsm/shop/db-0',
    '/mnt/scratch/index': 'walstorage-data-scratch/index',
    '/mnt/shared/metadata/shop/db-0': 'walstorage-data-shared/logs/metadata/shop/db-0',
  });
  assert.deepEqual(environmentOf(db), { PROXIMADB_WAL_SOCKET: '/run/walstorage/wal.sock' });
  const inSidecar = mountPathsOf(sidecarOf(pod));
  assert.equal(inSidecar['/data'], 'data/wal');
  assert.equal(inSidecar['/mnt/nvme1'], 'walstorage-data-nvme1');
  assert.equal(inSidecar['/mnt/shared'], 'walstorage-data-shared/logs');
  const volumes = new Map(pod.spec.volumes?.map(({ name, ...source }) => [name, source]));
  assert.deepEqual(volumes.get('walstorage-data-nvme1'), {
    persistentVolumeClaim: { claimName: claimName('everything', 'nvme1', 'db-0') },
  });
  assert.deepEqual(volumes.get('walstorage-data-shared'), { persistentVolumeClaim: { claimName: 'proximadb-shared' } });
  assert.deepEqual(volumes.get('walstorage-data-nvme2'), {
    hostPath: { path: '/mnt/nvme2', type: 'DirectoryOrCreate' },
  });
  assert.deepEqual(volumes.get('walstorage-data-scratch'), { emptyDir: { medium: 'Memory', sizeLimit: '1Gi' } });
});

test('O4 only the containers named by the annotation are database containers', () => {
  const named = { 'wal.proximadb.io/containers': 'second, third' };
  const containers = ['first', 'second', 'third'].map((name) => ({ name, image: 'x' }));
  const pod = podOf({ metadata: { annotations: named }, spec: { containers } });
  const result = injected({ ...pod, metadata: { ...pod.metadata, name: 'db-0' } }, storage);
  assert.deepEqual(
    result.spec.containers.map(({ env }) => env !== undefined),
    [false, true, true],
  );
  assert.equal(result.spec.containers[0], containers[0]);
});

test('a directory that the database sees already under its path is not mounted again', () => {
  const volume: Volume = { name: 'data', mountPath: '/data', podVolume: { name: 'data', subPath: 'db' } };
  const spec = specOf([volume], { viper: { urls: [{ url: 'file:///data/viper' }] } });
  const mounts = [{ name: 'data', mountPath: '/data', subPath: 'db' }];
  const pod = injected(podOf({ container: { volumeMounts: mounts } }), storageOf(spec));
  assert.deepEqual(mountPathsOf(pod.spec.containers[0]), {
    '/data': 'data/db',
    '/run/walstorage': 'walstorage-socket',
  });
});

test('a variable PROXIMADB_WAL_SOCKET that says the same stays where it is, ours comes before those that may name it', () => {
  const env = [{ name: 'A', value: '$(PROXIMADB_WAL_SOCKET)' }];
  const first = injected(podOf({ container: { env } }), storage);
  assert.deepEqual(
    first.spec.containers[0]?.env?.map(({ name }) => name),
    ['PROXIMADB_WAL_SOCKET', 'A'],
  );
  const same = [...env, { name: 'PROXIMADB_WAL_SOCKET', value: '/run/walstorage/wal.sock' }];
  assert.deepEqual(injected(podOf({ container: { env: same } }), storage).spec.containers[0]?.env, same);
});

for (const [given, becomes] of [
  [undefined, 60],
  [0, 60],
  [59, 60],
  [61, 61],
  [3600, 3600],
] as const) {
  test(`O4 a grace period of ${given ?? 'no'} seconds becomes ${becomes}`, () => {
    const spec = given === undefined ? {} : { terminationGracePeriodSeconds: given };
    assert.equal(injected(podOf({ spec }), storage).spec.terminationGracePeriodSeconds, becomes);
  });
}

function userOf(pod: AdmittedPod): (number | boolean | undefined)[] {
  const { runAsUser, runAsGroup, runAsNonRoot } = sidecarOf(injected(pod, storage)).securityContext ?? {};
  return [runAsUser, runAsGroup, runAsNonRoot];
}

test('O4 the sidecar runs as the first database container, else as the pod; as root only where that is root', () => {
  assert.deepEqual(userOf(podOf()), [1000, 1000, true]);
  assert.deepEqual(userOf(podOf({ container: { securityContext: { runAsUser: 999 } } })), [999, 1000, true]);
  assert.deepEqual(userOf(podOf({ spec: { securityContext: { fsGroup: 1 } } })), [undefined, undefined, true]);
  assert.deepEqual(userOf(podOf({ container: { securityContext: { runAsUser: 0 } } })), [0, 1000, false]);
});

function resourcesOf(spec: Partial<WalStorageSpec>, volumes: readonly Volume[] = [claim]): Resources | undefined {
  return sidecarOf(injected(podOf(), storageOf(specOf(volumes, spec)))).resources;
}

function memory(limit: string, request = limit): Resources {
  return { limits: { memory: limit }, requests: { cpu: '100m', memory: request } };
}

test('the memory limit fits globalFlushThreshold, what the user gave stays, and a volume in memory is added', () => {
  assert.deepEqual(resourcesOf({}), memory('768Mi'));
  const wal = { urls: [{ url: 'file:///mnt/nvme1/wal' }], globalFlushThreshold: '2Gi' };
  assert.deepEqual(resourcesOf({ wal }), memory('2304Mi'));
  assert.deepEqual(resourcesOf({ wal: { ...wal, globalFlushThreshold: 134217729 } }), memory('402653185'));
  const given = (resources: object) => resourcesOf({ sidecar: { resources } });
  assert.deepEqual(given({ limits: { memory: '1Gi' } }), memory('1Gi', '768Mi'));
  assert.deepEqual(given({ requests: { memory: '2Gi' } }), memory('2048Mi', '2Gi'));
  assert.deepEqual(given({ requests: { cpu: '2' }, limits: { cpu: 4 } }), {
    limits: { memory: '768Mi', cpu: 4 },
    requests: { memory: '768Mi', cpu: '2' },
  });
  // Kubernetes takes a limit for the request that is absent; ours could be above it.
  assert.deepEqual(given({ limits: { cpu: '50m' } }), {
    limits: { memory: '768Mi', cpu: '50m' },
    requests: { memory: '768Mi' },
  });
  const inMemory: Volume = { name: 'ram', mountPath: '/mnt/ram', emptyDir: { medium: 'Memory', sizeLimit: '1Gi' } };
  assert.deepEqual(resourcesOf({}, [claim, inMemory]), memory('1792Mi'));
});

test('what works and may surprise is a warning, short enough to be shown whole', () => {
  const all = [
    ...warningsOf(podOf({ spec: { hostNetwork: true } }), storage),
    ...warningsOf(podOf(), exampleStorage('full.yaml')),
    ...warningsOf(podOf({ spec: { securityContext: { fsGroup: 1000 } } }), exampleStorage('full.yaml')),
  ];
  assert.deepEqual(all, [
    "The pod uses its node's network: port 9464 must be free there, and shows health and metrics to whoever reaches the node. spec.sidecar.httpPort of WalStorage orders changes it.",
    'Volume scratch of WalStorage everything is in memory: what it holds counts to the memory limit of the container that wrote it; leave room for it there.',
    'Volume scratch of WalStorage everything is in memory: what it holds counts to the memory limit of the container that wrote it; leave room for it there.',
    "The sidecar may run as another user than db, who then can't write to the directories that it makes: set securityContext.runAsUser in the pod's spec, the same for all.",
  ]);
  for (const warning of all) assert.ok(warning.length <= 256, warning);
  assert.deepEqual(warningsOf(podOf(), storage), []);
});

test('a pod without a name of its own is injected where its log may die with it', () => {
  const scratch: Volume = { name: 'scratch', mountPath: '/mnt/scratch', emptyDir: {} };
  const onPod: Volume = { name: 'own', mountPath: '/mnt/own', podVolume: { name: 'data' } };
  const ephemeral = podOf({ spec: { volumes: [{ name: 'data', emptyDir: {} }] } });
  injected(nameless(ephemeral), storageOf(specOf([scratch, onPod])));
  const bucket = { wal: { urls: [{ url: 's3://bucket/wal' }] }, ephemeralPods: true };
  injected(nameless(podOf()), storageOf(bucket));
});

test('the examples fit together', () => {
  const pod = injected(examplePod(), exampleStorage('walstorage.yaml'));
  assert.deepEqual(mountPathsOf(pod.spec.containers[0]), {
    '/data': 'data',
    '/config': 'config',
    '/tmp': 'tmp',
    '/run/walstorage': 'walstorage-socket',
  });
});
