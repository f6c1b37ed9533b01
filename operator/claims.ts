/**
 * The claims of a WalStorage (O2): one for each claimTemplate volume of each pod, made when the pod is seen. Nobody owns
 * them, so that they outlive pod, StatefulSet, WalStorage and operator, and a pod that comes back under its name finds
 * its log again. Pure.
 *
 * | observed | planned |
 * |---|---|
 * | a pod that mounts a claim of ours which isn't there | create it, failing if one is there by then |
 * | made for this WalStorage, volume and pod, also by an operator of long ago; smaller than the spec asks | grow it |
 * | the same, but not bound to a volume yet | nothing: only then can it grow |
 * | the same, of any other size | nothing: a claim can't shrink |
 * | of that name, but not made for these | nothing; told as a problem |
 *
 * Whether a pod is to have a claim is read from the pod itself: the webhook has put the claim's name into its volumes.
 * A pod without the sidecar, or from before the volume was added, gets none that nobody would mount.
 */
import type { Volume } from '../crds/walstorage.generated.ts';
import { claimName } from './claim-name.ts';
import { managedByLabel, operatorName } from './desired.ts';
import {
  apiGroup,
  claims,
  type ObjectMeta,
  type PersistentVolumeClaim,
  type Pod,
  type Resource,
  storageLabel,
  type WalStorage,
} from './kubernetes.ts';
import { quantityBytes } from './quantity.ts';
import { unended } from './sentence.ts';
import { isFinished } from './usage.ts';

/** On a claim: the volume of the WalStorage that it was made for. */
const volumeLabel = `${apiGroup}/volume`;
/** On a claim: the pod that it was made for. No label, since those hold 63 characters only. */
const podAnnotation = `${apiGroup}/pod`;

/** The claims that exist under names of ours, whoever made them. */
export type LiveClaims = ReadonlyMap<string, PersistentVolumeClaim>;

type ClaimTemplate = NonNullable<Volume['claimTemplate']>;

/** A claim that a pod mounts. */
export interface WantedClaim {
  readonly name: string;
  readonly podName: string;
  readonly volumeName: string;
  readonly template: ClaimTemplate;
}

/** A claim as it is applied. */
export interface DesiredClaim {
  readonly apiVersion: 'v1';
  readonly kind: 'PersistentVolumeClaim';
  readonly metadata: Pick<ObjectMeta, 'name' | 'namespace' | 'labels' | 'annotations'>;
  readonly spec: PersistentVolumeClaim['spec'];
}

export interface ClaimAction {
  readonly resource: Resource;
  readonly object: DesiredClaim;
  readonly podName: string;
  /** Of the claim that is to grow; undefined: it is to be created. */
  readonly uid: string | undefined;
  readonly size: string;
  /** Undefined: it is to be created. */
  readonly sizeBefore: string | undefined;
}

/** A claim that is not as it should be, and stays so until somebody changes something. */
export interface ClaimProblem {
  readonly reason: 'NameTaken' | 'ClaimRefused';
  readonly claimName: string;
  readonly podName: string;
  /** Sentences: what is wrong, and what to do. */
  readonly message: string;
  /** The pod can't start: it has no claim to mount. */
  readonly isMissing: boolean;
}

/** The claims that the living pods mount. */
export function wantedClaims(storage: WalStorage, pods: readonly Pod[]): WantedClaim[] {
  const templates = (storage.spec.volumes ?? []).flatMap(({ name, claimTemplate }) =>
    claimTemplate === undefined ? [] : { volumeName: name, template: claimTemplate },
  );
  return pods.flatMap((pod) => {
    if (isFinished(pod) || pod.metadata.deletionTimestamp !== undefined) return [];
    const mounted = new Set(pod.spec.volumes?.map(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName));
    return templates.flatMap(({ volumeName, template }) => {
      const podName = pod.metadata.name;
      const name = claimName(storage.metadata.name, volumeName, podName);
      return mounted.has(name) ? { name, podName, volumeName, template } : [];
    });
  });
}

/**
 * What is to be created and to grow, but for what was refused. First what is to be created: pods wait for it, and a hundred
 * claims that a storage class doesn't let grow must not be all that is tried at once.
 */
export function claimActions(
  storage: WalStorage,
  wanted: readonly WantedClaim[],
  live: LiveClaims,
  refused: readonly ClaimProblem[],
): ClaimAction[] {
  const left = new Set(refused.map((problem) => problem.claimName));
  const actions = wanted.flatMap((claim) =>
    left.has(claim.name) ? [] : claimAction(storage, claim, live.get(claim.name)),
  );
  return actions.toSorted((a, b) => Number(a.uid !== undefined) - Number(b.uid !== undefined));
}

function claimAction(storage: WalStorage, wanted: WantedClaim, live: PersistentVolumeClaim | undefined): ClaimAction[] {
  const size = String(wanted.template.resources.requests.storage);
  const { podName } = wanted;
  if (live === undefined) {
    const { accessModes = ['ReadWriteOnce'], storageClassName } = wanted.template;
    const object = desiredClaim(storage, wanted, { accessModes, storageClassName });
    return [{ resource: claims, object, podName, uid: undefined, size, sizeBefore: undefined }];
  }
  const sizeBefore = String(live.spec.resources?.requests?.storage ?? 0);
  if (!isMadeFor(live, storage, wanted) || live.metadata.deletionTimestamp !== undefined) return [];
  if (live.status?.phase !== 'Bound') return [];
  if ((quantityBytes(size) ?? 0) <= (quantityBytes(sizeBefore) ?? 0)) return [];
  // Nothing else of a claim can be changed, and the spec may have been written anew since it was made.
  const object = desiredClaim(storage, wanted, live.spec);
  return [{ resource: claims, object, podName, uid: live.metadata.uid, size, sizeBefore }];
}

/** The claims whose names others have taken. */
export function takenClaims(storage: WalStorage, wanted: readonly WantedClaim[], live: LiveClaims): ClaimProblem[] {
  return wanted.flatMap((claim) => {
    const found = live.get(claim.name);
    if (found === undefined || isMadeFor(found, storage, claim)) return [];
    const message =
      `PersistentVolumeClaim ${claim.name} exists and was not made by the operator for pod ${claim.podName} and ` +
      `volume ${claim.volumeName}: it is left alone, and the pod mounts it as it is. If nobody needs what it holds, ` +
      'delete it and then the pod; both are made anew.';
    const { name, podName } = claim;
    return { reason: 'NameTaken', claimName: name, podName, message, isMissing: false };
  });
}

/** What the API server's refusal of an action means for the user. */
export function refusedClaim({ object, podName, size, sizeBefore }: ClaimAction, said: string): ClaimProblem {
  const { name } = object.metadata;
  const isMissing = sizeBefore === undefined;
  const what = isMissing
    ? `PersistentVolumeClaim ${name} (${size}) cannot be made, and pod ${podName} waits for it`
    : `PersistentVolumeClaim ${name} of pod ${podName} cannot grow from ${sizeBefore} to ${size}`;
  const message = `${what}. The API server says: ${unended(said)}. ${remedyOf(said, isMissing)}`;
  return { reason: 'ClaimRefused', claimName: name, podName, message, isMissing };
}

function remedyOf(said: string, isMissing: boolean): string {
  if (said.includes('exceeded quota')) {
    return "Raise the namespace's ResourceQuota, or delete claims whose data nobody needs; it is tried again by itself.";
  }
  return isMissing
    ? 'Change what it objects to; it is tried again by itself.'
    : 'Set allowVolumeExpansion: true on its storage class, if that can grow volumes; it is tried again by itself. Else ' +
        'add another volume, with URLs of its own for new collections.';
}

function desiredClaim(
  storage: WalStorage,
  { name, podName, volumeName, template }: WantedClaim,
  fixed: { readonly accessModes?: readonly string[]; readonly storageClassName?: string | undefined },
): DesiredClaim {
  const { accessModes = [], storageClassName } = fixed;
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name,
      namespace: storage.metadata.namespace,
      labels: {
        [managedByLabel]: operatorName,
        [storageLabel]: storage.metadata.name,
        [volumeLabel]: volumeName,
      },
      annotations: { [podAnnotation]: podName },
    },
    spec: {
      accessModes,
      ...(storageClassName === undefined ? {} : { storageClassName }),
      resources: { requests: { storage: template.resources.requests.storage } },
    },
  };
}

/** Whether a claim was made, whenever, for this WalStorage, volume and pod. */
function isMadeFor(live: PersistentVolumeClaim, storage: WalStorage, { volumeName, podName }: WantedClaim): boolean {
  const { labels = {}, annotations = {} } = live.metadata;
  return (
    labels[managedByLabel] === operatorName &&
    labels[storageLabel] === storage.metadata.name &&
    labels[volumeLabel] === volumeName &&
    annotations[podAnnotation] === podName
  );
}
