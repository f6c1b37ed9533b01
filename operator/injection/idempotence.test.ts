/** Properties of injection over pods and WalStorages of many forms. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Volume } from '../../crds/walstorage.generated.ts';
import {
  claim,
  exampleStorage,
  injected,
  podOf,
  settings,
  sidecarOf,
  specOf,
  storageOf,
} from '../../test/injection-fixtures.ts';
import type { WalStorage } from '../kubernetes.ts';
import { inject } from './inject.ts';
import type { AdmittedPod, Container, EnvVar } from './pod.ts';

interface PodForm {
  readonly initContainers: readonly string[];
  /** Names of more containers. */
  readonly more: readonly string[];
  /** Names of variables. */
  readonly env: readonly string[];
  /** The user's annotation. */
  readonly named: string | undefined;
  readonly grace: number | undefined;
  readonly user: number | undefined;
  /** The database mounts its volume where a WalStorage has it. */
  readonly mountsVolume: boolean;
}

function podOfForm({ initContainers, more, env, named, grace, user, mountsVolume }: PodForm): AdmittedPod {
  const variables = env.map((name): EnvVar => {
    const isSocket = name === 'PROXIMADB_WAL_SOCKET';
    return { name, value: isSocket ? '/run/walstorage/wal.sock' : `${name}-value` };
  });
  const containerOf = (name: string): Container => ({ name, image: `${name}:1`, env: variables });
  const volumeMounts = mountsVolume ? [{ name: 'data', mountPath: '/data', subPath: 'wal' }] : [];
  const pod = podOf({
    container: {
      volumeMounts,
      env: variables,
      ...(user === undefined ? {} : { securityContext: { runAsUser: user } }),
    },
  });
  const unknown = { futureField: { kept: true } };
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      ...(named === undefined ? {} : { annotations: { 'wal.proximadb.io/containers': named } }),
    },
    spec: {
      ...pod.spec,
      ...unknown,
      containers: [...pod.spec.containers, ...more.map(containerOf)],
      ...(initContainers.length === 0 ? {} : { initContainers: initContainers.map(containerOf) }),
      ...(grace === undefined ? {} : { terminationGracePeriodSeconds: grace }),
    },
  };
}

/** A pod of any form that injection takes. */
const anyPod: fc.Arbitrary<AdmittedPod> = fc
  .record({
    initContainers: fc.uniqueArray(fc.constantFrom('migrate', 'istio-init', 'wait'), { maxLength: 3 }),
    more: fc.uniqueArray(fc.constantFrom('metrics', 'proxy', 'backup'), { maxLength: 3 }),
    env: fc.uniqueArray(fc.constantFrom('A', 'B', 'PROXIMADB_WAL_SOCKET'), { maxLength: 3 }),
    named: fc.constantFrom(undefined, 'db', 'db,db'),
    grace: fc.option(fc.nat(100), { nil: undefined }),
    user: fc.option(fc.nat(2), { nil: undefined }),
    mountsVolume: fc.boolean(),
  })
  .map(podOfForm);

const onPodVolume: Volume = { name: 'own', mountPath: '/data', podVolume: { name: 'data', subPath: 'wal' } };
const anyStorage: fc.Arbitrary<WalStorage> = fc.constantFrom(
  exampleStorage('walstorage.yaml'),
  exampleStorage('full.yaml'),
  storageOf(specOf([claim])),
  storageOf(specOf([onPodVolume], { viper: { urls: [{ url: 'file:///data/viper' }] } })),
  storageOf(specOf([onPodVolume, claim], { index: { urls: [{ url: 'file:///mnt/nvme1' }] } })),
  storageOf({ wal: { urls: [{ url: 's3://bucket/wal', credentialsSecretRef: { name: 'a.b' } }] } }),
);

test('inject is idempotent: injecting again changes nothing', () => {
  fc.assert(
    fc.property(anyPod, anyStorage, (pod, wanted) => {
      const once = inject(pod, wanted, settings);
      assert.ok('pod' in once);
      assert.deepEqual(inject(once.pod, wanted, settings), once);
    }),
  );
});

/** What admission plugins and other webhooks do to a container between the two calls. */
function changedByOthers(container: Container): Container {
  const mount = {
    name: 'kube-api-access-x7',
    mountPath: '/var/run/secrets/kubernetes.io/serviceaccount',
    readOnly: true,
  };
  const others = { imagePullPolicy: 'Always', terminationMessagePath: '/dev/termination-log' };
  return {
    ...container,
    ...others,
    env: [{ name: 'HTTP_PROXY', value: 'http://proxy' }, ...(container.env ?? [])],
    resources: { ...container.resources, limits: { ...container.resources?.limits, cpu: '2' } },
    volumeMounts: [...(container.volumeMounts ?? []), mount],
  };
}

test('inject is idempotent: what others added to our container in between stays, and nothing else changes', () => {
  fc.assert(
    fc.property(anyPod, anyStorage, (pod, wanted) => {
      const once = injected(pod, wanted);
      const [sidecar, ...rest] = once.spec.initContainers ?? [];
      assert.ok(sidecar);
      const initContainers = [...rest, changedByOthers(sidecar)];
      const between: AdmittedPod = { ...once, spec: { ...once.spec, initContainers } };
      const twice = injected(between, wanted);
      const kept = sidecarOf(twice);
      const cpu = wanted.spec.sidecar?.resources?.limits?.['cpu'] ?? '2';
      const { resources, ...same } = changedByOthers(sidecar);
      assert.deepEqual(kept, { ...same, resources: { ...resources, limits: { ...resources?.limits, cpu } } });
      assert.deepEqual(injected(twice, wanted), twice);
      assert.deepEqual({ ...twice.spec, initContainers: [] }, { ...once.spec, initContainers: [] });
    }),
  );
});

test('inject leaves foreign containers, volumes and unknown fields as they are and in their order; its input too', () => {
  fc.assert(
    fc.property(anyPod, anyStorage, (pod, wanted) => {
      const [podBefore, storageBefore] = [structuredClone(pod), structuredClone(wanted)];
      const result = injected(pod, wanted);
      assert.deepEqual([pod, wanted], [podBefore, storageBefore]);
      assert.deepEqual(result.spec.initContainers?.slice(1), pod.spec.initContainers ?? []);
      assert.deepEqual(result.spec.volumes?.slice(0, pod.spec.volumes?.length), pod.spec.volumes);
      assert.ok(
        result.spec.volumes?.slice(pod.spec.volumes?.length).every(({ name }) => name.startsWith('walstorage-')),
      );
      assert.deepEqual({ ...result.spec, ...ofContract(pod) }, { ...pod.spec, ...ofContract(pod) });
      assert.deepEqual(result.spec.containers.map(withoutContract), pod.spec.containers.map(withoutContract));
      const named = pod.metadata.annotations?.['wal.proximadb.io/containers'];
      if (named !== undefined) assert.deepEqual(result.spec.containers.slice(1), pod.spec.containers.slice(1));
    }),
  );
});

/** The fields of a pod's spec that the contract lets injection change. */
function ofContract({ spec }: AdmittedPod): Partial<AdmittedPod['spec']> {
  return { initContainers: [], containers: spec.containers, volumes: [], terminationGracePeriodSeconds: 0 };
}

/** A container without what the contract adds. */
function withoutContract({ env = [], volumeMounts = [], ...container }: Container): object {
  return {
    ...container,
    env: env.filter(({ name }) => name !== 'PROXIMADB_WAL_SOCKET'),
    volumeMounts: volumeMounts.filter(
      ({ name, mountPath }) => !name.startsWith('walstorage-') && mountPath !== '/data/viper',
    ),
  };
}
