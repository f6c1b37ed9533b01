/** Volumes on a control plane without a node, so that claims become bound: only then can they grow. */
import type { ControlPlane } from './cluster/control-plane.ts';
import type { Namespace } from './running-operator.ts';

export interface ProvidedVolumes {
  /** Of a storage class without a provisioner, which is made too. */
  readonly className: string;
  readonly allowVolumeExpansion: boolean;
  /** A volume for each of these claims of the namespace. */
  readonly claimNames: readonly string[];
}

/** Makes them; nobody mounts one. */
export async function provideVolumes(
  plane: ControlPlane,
  namespace: Namespace,
  { className, allowVolumeExpansion, claimNames }: ProvidedVolumes,
): Promise<void> {
  const storageClass = {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: className },
    provisioner: 'kubernetes.io/no-provisioner',
    allowVolumeExpansion,
  };
  const volumes = claimNames.map((claim) => ({
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: `${namespace.name}-${claim}` },
    spec: {
      storageClassName: className,
      capacity: { storage: '1Gi' },
      accessModes: ['ReadWriteOnce'],
      claimRef: { namespace: namespace.name, name: claim },
      hostPath: { path: '/never-mounted' },
    },
  }));
  await plane.apply(storageClass, ...volumes);
}
