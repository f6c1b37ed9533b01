/**
 * The writes of a plan: all by server-side apply. Objects first, then entries of gone pods, then the status: once, and
 * only if it differs.
 *
 * An apply merges into whatever bears the name. So that only ours is ever touched, the apply of an object that exists is
 * bound to the uid that was read, and that of one that doesn't to a version that no object has: the API server then
 * creates it, or answers Conflict if somebody has made one of that name meanwhile.
 */
import { type ApiClient, ApiError } from './client.ts';
import { operatorName } from './desired.ts';
import {
  apiVersion,
  asObject,
  type KubernetesObject,
  objectPath,
  type Pod,
  pods,
  storageLabel,
  type WalStorage,
  walStorages,
} from './kubernetes.ts';
import type { ObjectAction, PruneAction } from './plan.ts';
import type { OperatorStatus } from './status.ts';
import { isFinished } from './usage.ts';

/** etcd's first revision, before any object. */
const versionOfNothing = '1';

/** Creates or changes an object; returns it as stored. ApiError Conflict where one to be created is there. */
export async function applyObject(
  client: ApiClient,
  { resource, object, uid }: ObjectAction,
  signal: AbortSignal,
): Promise<KubernetesObject> {
  const { namespace, name } = object.metadata;
  const bound = uid === undefined ? { resourceVersion: versionOfNothing } : { uid };
  const body = { ...object, metadata: { ...object.metadata, ...bound } };
  return asObject(await client.apply(objectPath(resource, namespace, name), operatorName, body, signal));
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
  status: OperatorStatus,
  signal: AbortSignal,
): Promise<WalStorage> {
  const { name, namespace } = storage.metadata;
  const object = { apiVersion, kind: 'WalStorage', metadata: { name, namespace }, status };
  const path = objectPath(walStorages, namespace, name, 'status');
  return asObject(await client.apply(path, operatorName, object, signal));
}
