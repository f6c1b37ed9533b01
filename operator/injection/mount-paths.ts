/** What lies where in a container's file system, by its mounts alone. */
import { posix } from 'node:path';
import type { VolumeMount } from './pod.ts';

/** Whether a container with these mounts sees, under the wanted path, the wanted directory already. */
export function reaches(mounts: readonly VolumeMount[], wanted: VolumeMount): boolean {
  const path = posix.resolve(wanted.mountPath);
  const around = mounts.filter(({ mountPath }) => isInside(path, mountPath));
  const deepest = around.toSorted((a, b) => posix.resolve(b.mountPath).length - posix.resolve(a.mountPath).length)[0];
  if (deepest === undefined || deepest.name !== wanted.name) return false;
  if (deepest.readOnly === true || deepest.subPathExpr !== undefined) return false;
  if (mounts.some((mount) => mount !== deepest && isInside(mount.mountPath, path))) return false;
  const inside = posix.relative(posix.resolve(deepest.mountPath), path);
  return joined(deepest.subPath ?? '', inside) === joined(wanted.subPath ?? '');
}

/** The path below a volume's root; empty for the root. */
export function joined(...paths: readonly string[]): string {
  return paths.flatMap((path) => path.split('/').filter((segment) => segment !== '' && segment !== '.')).join('/');
}

/** Whether a path is another, or lies inside it. */
function isInside(path: string, other: string): boolean {
  const [inner, outer] = [posix.resolve('/', path), posix.resolve('/', other)];
  return inner === outer || inner.startsWith(outer === '/' ? outer : `${outer}/`);
}

/** Whether two paths are equal, or one lies inside the other. */
export function overlap(a: string, b: string): boolean {
  return isInside(a, b) || isInside(b, a);
}
