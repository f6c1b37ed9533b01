/** What a volume of a WalStorage dies with: its pod, or the pod's node. */
import type { Volume } from '../crds/walstorage.generated.ts';
import type { PodVolume } from './kubernetes.ts';

export type Lifetime = 'pod' | 'node' | 'its own';

/** `sources` are the volumes of a pod: a podVolume is what the pod has under its name, and lives by itself where it has none. */
export function lifetimeOf({ emptyDir, hostPath, podVolume }: Volume, sources: readonly PodVolume[]): Lifetime {
  const source = sources.find(({ name }) => name === podVolume?.name);
  if (emptyDir !== undefined || source?.emptyDir !== undefined || source?.ephemeral !== undefined) return 'pod';
  return hostPath === undefined && source?.hostPath === undefined ? 'its own' : 'node';
}
