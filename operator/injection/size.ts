/**
 * R5: how much of a pod is looked at. Each container is compared with, and given, the directories of up to 32 URLs: a pod
 * of 100 KB with 3,000 containers would become one of 200 MB, and 60,000 mounts would hold everything up for half a minute.
 */
import type { AdmittedPod } from './pod.ts';

/** Far above what a node would run in one pod. */
const containersMax = 64;
const volumesMax = 512;
/** Over all containers. */
const mountsMax = 512;

/** Sentences on what the pod has too many of; none for any pod that could run. */
export function refuseTooMany({ spec }: AdmittedPod): string[] {
  const containers = [...spec.containers, ...(spec.initContainers ?? [])];
  const mounts = containers.reduce((sum, { volumeMounts }) => sum + (volumeMounts?.length ?? 0), 0);
  const parts: readonly (readonly [what: string, number: number, max: number])[] = [
    ['containers', containers.length, containersMax],
    ['volumes', spec.volumes?.length ?? 0, volumesMax],
    ['volumeMounts', mounts, mountsMax],
  ];
  return parts
    .filter(([, number, max]) => number > max)
    .map(
      ([what, number, max]) =>
        `The pod has ${number} ${what}, and the sidecar comes into pods with at most ${max}: use fewer, or another pod for the rest.`,
    );
}
