/**
 * The writes of a plan, all but events and evictions by server-side apply. Objects first, claims, entries of gone pods,
 * then the status: once, and only if it differs. What concerns pods comes last.
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
  collectionPath,
  configHashAnnotation,
  events,
  type KubernetesObject,
  objectPath,
  type Pod,
  type PodController,
  pods,
  type Resource,
  storageLabel,
  type WalStorage,
  walStorages,
} from './kubernetes.ts';
import type { NudgeAction } from './nudges.ts';
import type { PruneAction } from './plan.ts';
import type { EvictAction, Owner } from './rollout.ts';
import { unended } from './sentence.ts';
import type { OperatorStatus } from './status.ts';
import { isFinished } from './usage.ts';

/** etcd's first revision, before any object. */
const versionOfNothing = '1';

/** An object to be applied. */
export interface Application {
  readonly resource: Resource;
  readonly object: { readonly kind: string; readonly metadata: { readonly namespace: string; readonly name: string } };
  /** Of the object to be changed; undefined: it is to be created. */
  readonly uid: string | undefined;
}

/** Creates or changes an object; returns it as stored. ApiError Conflict where one to be created is there. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as in asObject
export async function applyObject<T extends KubernetesObject>(
  client: ApiClient,
  { resource, object, uid }: Application,
  signal: AbortSignal,
): Promise<T> {
  const { namespace, name } = object.metadata;
  const bound = uid === undefined ? { resourceVersion: versionOfNothing } : { uid };
  const body = { ...object, metadata: { ...object.metadata, ...bound } };
  return asObject<T>(await client.apply(objectPath(resource, namespace, name), operatorName, body, signal));
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

/** Changes the annotation that makes a pod's kubelet look at the ConfigMap. Returns the pod as stored. */
export async function nudgePod(
  client: ApiClient,
  namespace: string,
  { podName, uid, value }: NudgeAction,
  signal: AbortSignal,
): Promise<KubernetesObject> {
  const metadata = { name: podName, namespace, uid, annotations: { [configHashAnnotation]: value } };
  const object = { apiVersion: 'v1', kind: 'Pod', metadata };
  return asObject(await client.apply(objectPath(pods, namespace, podName), operatorName, object, signal));
}

/** Why an eviction is put off, and for how long. */
export interface Hindrance {
  readonly why: string;
  readonly againMs: number;
}

const incompleteAgainMs = 5_000;
const refusedAgainMs = 10_000;

/**
 * Evicts a pod through the Eviction API, which respects PodDisruptionBudgets, if every controller has all the pods it
 * wants. Returns what stands against it; undefined: it was accepted, or the pod is gone.
 */
export async function evictPod(
  client: ApiClient,
  namespace: string,
  { podName, uid, owners }: EvictAction,
  signal: AbortSignal,
): Promise<Hindrance | undefined> {
  for (const owner of owners) {
    const wanted = await wantedPods(client, namespace, owner, signal);
    if (owner.podCount >= wanted) continue;
    const why = `${owner.kind} ${owner.name} wants ${wanted} pods, and only ${owner.podCount} with the label are there`;
    return { why, againMs: incompleteAgainMs };
  }
  const eviction = {
    apiVersion: 'policy/v1',
    kind: 'Eviction',
    metadata: { name: podName, namespace },
    deleteOptions: { preconditions: { uid } },
  };
  try {
    await client.create(objectPath(pods, namespace, podName, 'eviction'), eviction, signal);
    return undefined;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 404) return undefined;
    // 429: a PodDisruptionBudget; 500: two of them; 409: a successor has the name; 403: a right that we lack.
    const why = `the eviction of ${podName} is refused: ${unended(error.said)}`;
    return { why, againMs: Math.max(error.retryAfterMs ?? 0, refusedAgainMs) };
  }
}

/** How many pods a controller wants to have; 0 if it is gone. */
async function wantedPods(
  client: ApiClient,
  namespace: string,
  { resource, name }: Owner,
  signal: AbortSignal,
): Promise<number> {
  try {
    const path = objectPath(resource, namespace, name);
    return asObject<PodController>(await client.get(path, {}, signal)).spec?.replicas ?? 1;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return 0;
    throw error;
  }
}

/** Creates an event. */
export async function createEvent(
  client: ApiClient,
  namespace: string,
  event: object,
  signal: AbortSignal,
): Promise<void> {
  await client.create(collectionPath(events, namespace), event, signal);
}
