/**
 * The writes of a plan. Objects first, then entries of gone pods, then the status: once, and only if it differs.
 *
 * What exists is changed by server-side apply under our field manager, bound to the uid that was read, so that another
 * object that took its place is not touched. What doesn't exist is created by POST, under the same manager: an apply
 * would merge into whatever somebody made under our name since we looked; a POST fails with AlreadyExists.
 */
import type { WalStorageStatus } from '../crds/walstorage.generated.ts';
import { type ApiClient, ApiError } from './client.ts';
import { operatorName } from './desired.ts';
import {
  apiVersion,
  asObject,
  collectionPath,
  type KubernetesObject,
  objectPath,
  type Pod,
  pods,
  storageLabel,
  type WalStorage,
  walStorages,
} from './kubernetes.ts';
import { type ObjectAction, type PruneAction, type StatusAction } from './plan.ts';
import { isFinished } from './usage.ts';

/** Creates or changes an object; returns it as stored. ApiError AlreadyExists where one to be created is there. */
export async function applyObject(
  client: ApiClient,
  { resource, object, uid }: ObjectAction,
  signal: AbortSignal,
): Promise<KubernetesObject> {
  const { namespace, name } = object.metadata;
  if (uid === undefined) {
    const path = collectionPath(resource, namespace);
    return asObject(await client.create(path, { fieldManager: operatorName }, object, signal));
  }
  const bound = { ...object, metadata: { ...object.metadata, uid } };
  return asObject(await client.apply(objectPath(resource, namespace, name), operatorName, bound, signal));
}

/**
 * Removes what a gone pod's sidecar wrote, by an apply without a status under its field manager. The pod is asked for
 * first: a cache may lag behind a sidecar that has just begun to report. Returns the WalStorage as stored, undefined if
 * the pod is there after all.
 */
export async function pruneEntry(
  client: ApiClient,
  storage: WalStorage,
  { manager, uid, podName }: PruneAction,
  signal: AbortSignal,
): Promise<WalStorage | undefined> {
  const { name, namespace } = storage.metadata;
  if (podName !== undefined && (await reports(client, namespace, podName, uid, name, signal))) return undefined;
  const nothing = { apiVersion, kind: 'WalStorage', metadata: { name, namespace } };
  const path = objectPath(walStorages, namespace, name, 'status');
  return asObject(await client.apply(path, manager, nothing, signal));
}

/** Whether a pod of this name, uid and label is there and hasn't ended. */
async function reports(
  client: ApiClient,
  namespace: string,
  podName: string,
  uid: string,
  storageName: string,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    const pod = asObject<Pod>(await client.get(objectPath(pods, namespace, podName), {}, signal));
    return pod.metadata.uid === uid && pod.metadata.labels?.[storageLabel] === storageName && !isFinished(pod);
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return false;
    throw error;
  }
}

/** Writes the operator's part of the status; returns the WalStorage as stored. */
export async function applyStatus(
  client: ApiClient,
  storage: WalStorage,
  { status, onlyAtVersion }: StatusAction,
  signal: AbortSignal,
): Promise<WalStorage> {
  const { name, namespace } = storage.metadata;
  const object: { apiVersion: string; kind: string; metadata: object; status: WalStorageStatus } = {
    apiVersion,
    kind: 'WalStorage',
    metadata: { name, namespace, ...(onlyAtVersion === undefined ? {} : { resourceVersion: onlyAtVersion }) },
    status,
  };
  const path = objectPath(walStorages, namespace, name, 'status');
  return asObject(await client.apply(path, operatorName, object, signal));
}
