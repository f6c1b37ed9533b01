import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PersistentVolumeClaim, Pod } from './kubernetes.ts';
import { trimClaim, trimPod } from './trim.ts';

const kept: Pod = {
  metadata: {
    name: 'db-0',
    namespace: 'default',
    uid: 'u',
    resourceVersion: '7',
    deletionTimestamp: '2026-11-22T10:00:00Z',
    labels: { 'wal.proximadb.io/storage': 'orders' },
    annotations: { 'wal.proximadb.io/injected': 'a', 'wal.proximadb.io/config-hash': 'b' },
    ownerReferences: [{ apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'db', uid: 'o', controller: true }],
    managedFields: [{ manager: 'walstorage-operator', time: '2026-11-22T10:00:00Z' }],
  },
  spec: {
    serviceAccountName: 'db',
    initContainers: [{ name: 'walstorage' }],
    volumes: [
      { name: 'claim', persistentVolumeClaim: { claimName: 'c' } },
      { name: 'scratch', emptyDir: {} },
      { name: 'node', hostPath: {} },
      { name: 'own', ephemeral: {} },
      { name: 'other' },
    ],
  },
  status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
};

/** As the API server has it: with what nothing here reads. */
const whole = {
  metadata: {
    ...kept.metadata,
    generateName: 'db-',
    labels: { ...kept.metadata.labels, app: 'db', 'controller-revision-hash': 'x' },
    annotations: { ...kept.metadata.annotations, 'team/notes': 'long '.repeat(1000) },
    ownerReferences: [...(kept.metadata.ownerReferences ?? []), { apiVersion: 'v1', kind: 'X', name: 'x', uid: 'x' }],
    managedFields: [
      { manager: 'kubelet', time: '2026-11-22T10:00:01Z', fieldsV1: { many: {} } },
      { manager: 'walstorage-operator', time: '2026-11-22T10:00:00Z', fieldsV1: { 'f:metadata': {} } },
    ],
  },
  spec: {
    ...kept.spec,
    containers: [{ name: 'db', image: 'db' }],
    initContainers: [
      { name: 'walstorage', image: 'walstorage', env: [] },
      { name: 'theirs', image: 'x' },
    ],
    volumes: [
      { name: 'claim', persistentVolumeClaim: { claimName: 'c', readOnly: false } },
      { name: 'scratch', emptyDir: { medium: 'Memory' } },
      { name: 'node', hostPath: { path: '/disk', type: '' } },
      { name: 'own', ephemeral: { volumeClaimTemplate: {} } },
      { name: 'other', secret: { secretName: 's' } },
    ],
  },
  status: {
    phase: 'Running',
    podIP: '10.0.0.1',
    containerStatuses: [{ name: 'db' }],
    conditions: [
      { type: 'PodScheduled', status: 'True' },
      { type: 'Ready', status: 'True', lastTransitionTime: '2026-11-22T10:00:00Z' },
    ],
  },
};

test('of a pod only what is read is kept, so that thousands fit into memory', () => {
  assert.deepEqual(trimPod(whole), kept);
  assert.deepEqual(trimPod(kept), kept);
});

test('of a claim only what is read is kept', () => {
  const metadata = { name: 'c', namespace: 'default', uid: 'u', resourceVersion: '7', labels: { a: 'b' } };
  const claim: PersistentVolumeClaim = {
    metadata,
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: 'fast',
      resources: { requests: { storage: '1Gi' } },
    },
    status: { phase: 'Bound' },
  };
  const all = {
    metadata: { ...metadata, managedFields: [{ manager: 'kube-controller-manager' }] },
    spec: { ...claim.spec, volumeName: 'pv', volumeMode: 'Filesystem' },
    status: { phase: 'Bound', capacity: { storage: '1Gi' } },
  };
  assert.deepEqual(trimClaim(all), claim);
});
