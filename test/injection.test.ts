/** Injected pods on a real API server: restricted Pod Security and validation take them, defaults change nothing. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Volume } from '../crds/walstorage.generated.ts';
import type { AdmittedPod } from '../operator/injection/pod.ts';
import type { WalStorage } from '../operator/kubernetes.ts';
import { CommandError } from './cluster/child.ts';
import { ControlPlane } from './cluster/control-plane.ts';
import {
  claim,
  examplePod,
  exampleStorage,
  injected,
  nameless,
  podOf,
  specOf,
  storageOf,
} from './injection-fixtures.ts';

const namespace = 'shop';

let cluster: ControlPlane;
before(async () => {
  cluster = await ControlPlane.start({ withControllers: false });
  const labels = Object.fromEntries(
    ['enforce', 'warn'].map((mode) => [`pod-security.kubernetes.io/${mode}`, 'restricted']),
  );
  await createNamespace(namespace, labels);
});
after(async () => cluster?.stop());

/** A namespace with the accounts that its pods name: the controllers would make `default`. */
async function createNamespace(name: string, labels: Readonly<Record<string, string>> = {}): Promise<void> {
  const accounts = ['default', 'proximadb'].map((account) => ({
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name: account, namespace: name },
  }));
  await cluster.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }, ...accounts);
}

/** The pod as the API server would store it. */
async function created(pod: AdmittedPod, where = namespace): Promise<AdmittedPod> {
  const input = JSON.stringify({ apiVersion: 'v1', kind: 'Pod', ...pod });
  return JSON.parse(
    await cluster.kubectl(['create', '-n', where, '--dry-run=server', '-o', 'json', '-f', '-'], { input }),
  );
}

const full = exampleStorage('full.yaml');
const withoutHostPath: WalStorage = {
  ...full,
  spec: {
    ...full.spec,
    volumes: (full.spec.volumes ?? []).filter(({ hostPath }) => hostPath === undefined),
    lsm: { urls: [{ url: 'file:///mnt/nvme1/lsm' }] },
  },
};
const longest: Volume = { ...claim, name: 'x'.repeat(40) };
const longestName = `${'a'.repeat(60)}.${'b'.repeat(60)}.${'c'.repeat(60)}.${'d'.repeat(60)}`;
const secret = { url: 's3://bucket/wal', credentialsSecretRef: { name: `${'s'.repeat(200)}.x` } };
const odd: Volume = { name: 'odd', mountPath: '/mnt/a b', emptyDir: {} };

interface Case {
  readonly pod: AdmittedPod;
  readonly storage: WalStorage;
}

const cases: Readonly<Record<string, Case>> = {
  'examples/statefulset.yaml with examples/walstorage.yaml': {
    pod: examplePod(),
    storage: exampleStorage('walstorage.yaml'),
  },
  'examples/full.yaml, but for its hostPath': { pod: podOf(), storage: withoutHostPath },
  'the longest names': {
    pod: podOf({ metadata: { name: longestName } }),
    storage: storageOf({ ...specOf([longest]), wal: { urls: [secret] } }, 's'.repeat(40)),
  },
  'a pod of a Deployment': {
    pod: nameless(podOf()),
    storage: storageOf({ wal: { urls: [secret] }, ephemeralPods: true }),
  },
  'a mountPath with a space': {
    pod: podOf(),
    storage: storageOf(specOf([odd], { index: { urls: [{ url: 'file:///mnt/a b/index' }] } })),
  },
};

for (const [what, { pod, storage }] of Object.entries(cases)) {
  test(`O3 restricted Pod Security takes the injected pod, and its defaults change nothing: ${what}`, async () => {
    const once = await created(injected(pod, storage));
    const [sidecar] = once.spec.initContainers ?? [];
    assert.equal(sidecar?.name, 'walstorage');
    assert.deepEqual(injected(once, storage), once);
  });
}

test('examples/statefulset.yaml is taken as it stands, without a warning of restricted Pod Security', async () => {
  const file = fileURLToPath(new URL('../examples/statefulset.yaml', import.meta.url));
  await cluster.kubectl(['apply', '-n', namespace, '--warnings-as-errors', '-f', file]);
});

test('the ServiceAccount plugin mounts its token into our container, which stays when the pod is injected again', async () => {
  const storage = storageOf(specOf([claim]));
  const once = await created(injected(podOf(), storage));
  const path = '/var/run/secrets/kubernetes.io/serviceaccount';
  const mountOf = ({ spec }: AdmittedPod) =>
    spec.initContainers?.[0]?.volumeMounts?.find(({ mountPath }) => mountPath === path);
  assert.match(mountOf(once)?.name ?? '', /^kube-api-access-/);
  assert.deepEqual(mountOf(injected(once, storage)), mountOf(once));
});

test('a hostPath under restricted Pod Security: the API server names the volume of the WalStorage', async () => {
  const refusal = await created(injected(podOf(), full)).catch((error: unknown) => error);
  assert.ok(refusal instanceof CommandError);
  assert.match(
    refusal.stderr,
    /violates PodSecurity "restricted:latest": restricted volume types \(volume "walstorage-data-nvme2" uses restricted volume type "hostPath"\)/,
  );
});

test('a LimitRange gives our container a CPU limit, which stays when the pod is injected again', async () => {
  await createNamespace('limited');
  const limits = [{ type: 'Container', default: { cpu: '2' }, max: { cpu: '4' } }];
  const metadata = { name: 'limits', namespace: 'limited' };
  await cluster.apply({ apiVersion: 'v1', kind: 'LimitRange', metadata, spec: { limits } });
  const storage = storageOf(specOf([claim]));
  const once = await created(injected(podOf(), storage), 'limited');
  assert.deepEqual(once.spec.initContainers?.[0]?.resources?.limits, { cpu: '2', memory: '768Mi' });
  assert.deepEqual(injected(once, storage), once);
});

test("a pod on its node's network gets the sidecar's port reserved there", async () => {
  await createNamespace('apart');
  const pod = await created(injected(podOf({ spec: { hostNetwork: true } }), storageOf(specOf([claim]))), 'apart');
  const port = { name: 'walstorage-http', containerPort: 9464, hostPort: 9464, protocol: 'TCP' };
  assert.deepEqual(pod.spec.initContainers?.[0]?.ports, [port]);
});
