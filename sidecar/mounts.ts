/**
 * The mounts of the pod that the sidecar runs in, as its environment names them: paths joined by `:`. Outside a pod neither
 * variable is set.
 *
 * | variable | paths |
 * |---|---|
 * | `WALSTORAGE_MOUNTS` | all at which data is mounted: a directory is used only below one (O5) |
 * | `WALSTORAGE_EXCLUSIVE_MOUNTS` | those of them whose claim is ReadWriteOncePod: no second pod has it |
 */
import { existsSync } from 'node:fs';

type Environment = Readonly<Record<string, string | undefined>>;

/** Why the path cannot be used for want of its mount: a sentence with the remedy; undefined: it can, or this is no pod. */
export function mountProblem(path: string, { WALSTORAGE_MOUNTS: mounts }: Environment): string | undefined {
  if (mounts === undefined) return undefined;
  const mount = mountOf(path, mounts);
  if (mount === undefined) return 'the pod has no mount for it: replace the pod';
  return existsSync(mount) ? undefined : `the pod's mount ${mount} is not there: replace the pod`;
}

/** Why a URL that was added while the process ran is not used yet, with the remedy. */
export function addedReason(scheme: string, path: string, environment: Environment): string {
  const missing = scheme === 'file' ? mountProblem(path, environment) : undefined;
  const what = isPod(environment) ? 'pod' : 'sidecar';
  return missing ?? `it was added while the ${what} ran: restart the ${what} to use it`;
}

/** Whether the path lies on a claim that no other pod can have at the same time. */
export function isExclusive(path: string, { WALSTORAGE_EXCLUSIVE_MOUNTS: mounts }: Environment): boolean {
  return mountOf(path, mounts ?? '') !== undefined;
}

/** Whether the process runs in a pod that was injected. */
export function isPod({ WALSTORAGE_MOUNTS: mounts }: Environment): boolean {
  return mounts !== undefined;
}

function mountOf(path: string, mounts: string): string | undefined {
  return mounts.split(':').find((mount) => mount !== '' && (path === mount || path.startsWith(`${mount}/`)));
}
