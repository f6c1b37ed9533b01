/** A pod with our image as its native sidecar and the stand-in database, as a person would write it without the operator. */

const configuration = '[storage.wal_config]\nwal_urls = ["file:///mnt/wal/log"]\n';

/** What restricted Pod Security asks of a pod, and the group of its volumes. */
export const restrictedPod = {
  runAsNonRoot: true,
  runAsUser: 1000,
  runAsGroup: 1000,
  fsGroup: 1000,
  seccompProfile: { type: 'RuntimeDefault' },
};

/** What it asks of a container, and a root that is read-only. */
export const restrictedContainer = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ['ALL'] },
};

/** Its objects, in the order in which they are applied. */
export function podByHand(name: string): readonly object[] {
  const claims = ['wal', 'ledger'];
  const socket = { name: 'socket', mountPath: '/run/walstorage' };
  const sidecar = {
    name: 'walstorage',
    image: 'localhost/walstorage:test',
    restartPolicy: 'Always',
    args: ['sidecar', '--config=/etc/walstorage/walstorage.toml', '--http=:9464'],
    securityContext: restrictedContainer,
    startupProbe: { httpGet: { path: '/startupz', port: 9464 }, periodSeconds: 1, failureThreshold: 60 },
    volumeMounts: [socket, { name: 'config', mountPath: '/etc/walstorage' }, { name: 'wal', mountPath: '/mnt/wal' }],
  };
  const database = {
    name: 'database',
    image: 'localhost/database:test',
    env: [
      { name: 'PROXIMADB_WAL_SOCKET', value: '/run/walstorage/wal.sock' },
      { name: 'LEDGER_DIR', value: '/ledger' },
    ],
    securityContext: restrictedContainer,
    volumeMounts: [socket, { name: 'ledger', mountPath: '/ledger' }],
  };
  const volumes = [
    { name: 'socket', emptyDir: {} },
    { name: 'config', configMap: { name } },
    ...claims.map((claim) => ({ name: claim, persistentVolumeClaim: { claimName: `${name}-${claim}` } })),
  ];
  return [
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { 'walstorage.toml': configuration } },
    ...claims.map((claim) => ({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: `${name}-${claim}` },
      spec: { accessModes: ['ReadWriteOncePod'], resources: { requests: { storage: '1Gi' } } },
    })),
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name },
      spec: { securityContext: restrictedPod, volumes, initContainers: [sidecar], containers: [database] },
    },
  ];
}
