/**
 * Places that pods may share by mistake: each must belong to one pod, as a log has one writer.
 *
 * | URL on | its place |
 * |---|---|
 * | an object store | the expanded URL, and the endpoint where one is set |
 * | hostPath | the directory on the node, on whichever node: the pod may move |
 * | persistentVolumeClaim, and a podVolume that is one | the claim and the directory in it |
 * | any other volume | none: it belongs to the pod |
 *
 * What the operator appends to URLs keeps pods apart; a URL with a `${POD_NAME}` of the user's own may be the same for pods
 * of two namespaces or two WalStorages.
 */
import type { UrlSpec, Volume } from '../crds/walstorage.generated.ts';
import { type Component, components } from '../sidecar/assignment/assignment.ts';
import { parseStorageUrl, type StorageUrl } from '../sidecar/config/storage-url.ts';
import { joined } from './injection/mount-paths.ts';
import type { Pod, WalStorage } from './kubernetes.ts';
import { renderedUrl, volumeOf } from './rendering.ts';

/** What of a pod says where its URLs are. */
export interface PlacedPod {
  readonly metadata: Pick<Pod['metadata'], 'name' | 'namespace'>;
  readonly spec: Pick<Pod['spec'], 'volumes'>;
}

export interface Place {
  /** Equal exactly for equal places. */
  readonly key: string;
  readonly component: Component;
  /** As the pod's sidecar shows it. */
  readonly url: string;
}

/** Where a pod of this WalStorage writes, as far as others might too. A URL that cannot be expanded has no place. */
export function sharedPlaces(pod: PlacedPod, { metadata, spec }: WalStorage): Place[] {
  const { name, namespace } = pod.metadata;
  const environment = { POD_NAME: name, POD_NAMESPACE: namespace, WALSTORAGE_NAME: metadata.name };
  const volumes = spec.volumes ?? [];
  return components.flatMap((component) =>
    (spec[component]?.urls ?? []).flatMap((url): Place[] => {
      const parsed = parseStorageUrl(renderedUrl(url.url, volumes), environment);
      if (!('url' in parsed)) return [];
      const key = placeOf(parsed.url, url, volumeOf(url.url, volumes), pod);
      return key === undefined ? [] : [{ key, component, url: parsed.url.url }];
    }),
  );
}

function placeOf(
  { scheme, path, url }: StorageUrl,
  { options }: UrlSpec,
  volume: Volume | undefined,
  pod: PlacedPod,
): string | undefined {
  if (scheme !== 'file') return options?.endpoint === undefined ? url : `${url} at ${options.endpoint}`;
  if (volume === undefined) return undefined;
  const { mountPath, hostPath, persistentVolumeClaim, podVolume } = volume;
  const inside = path.slice(mountPath.length);
  if (hostPath !== undefined) return `hostPath /${joined(hostPath.path, inside)}`;
  const claim = persistentVolumeClaim ?? claimOf(podVolume, pod);
  if (claim === undefined) return undefined;
  return `claim ${pod.metadata.namespace}/${claim.claimName}/${joined(claim.subPath ?? '', inside)}`;
}

/** The claim behind a volume that the pod has. */
function claimOf(podVolume: Volume['podVolume'], pod: PlacedPod): Volume['persistentVolumeClaim'] {
  const source = pod.spec.volumes?.find(({ name }) => name === podVolume?.name)?.persistentVolumeClaim;
  if (source === undefined) return undefined;
  const { claimName } = source;
  return podVolume?.subPath === undefined ? { claimName } : { claimName, subPath: podVolume.subPath };
}

/** Who writes where, kept as pods and WalStorages change. */
export class SharedPlaces {
  readonly #podsOf = new Map<string, Set<string>>();
  readonly #placesOf = new Map<string, readonly Place[]>();

  /** The pod `namespace/name` writes there, and nowhere else any more. */
  set(pod: string, places: readonly Place[]): void {
    this.delete(pod);
    if (places.length > 0) this.#placesOf.set(pod, places);
    for (const { key } of places) {
      const pods = this.#podsOf.get(key) ?? new Set();
      this.#podsOf.set(key, pods.add(pod));
    }
  }

  /** The pod writes nowhere any more. */
  delete(pod: string): void {
    for (const { key } of this.#placesOf.get(pod) ?? []) {
      const pods = this.#podsOf.get(key);
      pods?.delete(pod);
      if (pods?.size === 0) this.#podsOf.delete(key);
    }
    this.#placesOf.delete(pod);
  }

  /** The pod `namespace/name` that writes to a place; undefined where there is none but the one given. */
  holderOf(place: Place, butFor: string): string | undefined {
    return [...(this.#podsOf.get(place.key) ?? [])].find((pod) => pod !== butFor);
  }
}
