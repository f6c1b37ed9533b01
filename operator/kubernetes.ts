/**
 * The Kubernetes objects that the operator reads and makes: only the fields it looks at, as they stand in JSON
 * (the client library's own types hold dates, which nothing here decodes), and where the API serves them.
 */

import type { WalStorageSpec, WalStorageStatus } from '../crds/walstorage.generated.ts';

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
}

export interface ManagedFields {
  readonly manager?: string;
  readonly subresource?: string;
  /** RFC 3339. */
  readonly time?: string;
}

export interface ObjectMeta {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly generation?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
  /** Who has written which part of the object; we need only who, and when last. */
  readonly managedFields?: readonly ManagedFields[];
  /** Set while the object is being deleted. */
  readonly deletionTimestamp?: string;
}

export interface KubernetesObject {
  readonly metadata: ObjectMeta;
}

export interface PodVolume {
  readonly name: string;
  readonly emptyDir?: object;
  readonly hostPath?: object;
  readonly ephemeral?: object;
  readonly persistentVolumeClaim?: { readonly claimName: string };
}

export interface Pod extends KubernetesObject {
  readonly spec: {
    readonly serviceAccountName?: string;
    readonly volumes?: readonly PodVolume[];
    readonly initContainers?: readonly {
      readonly name: string;
      readonly resources?: { readonly limits?: Readonly<Record<string, number | string>> };
    }[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

export interface ConfigMap extends KubernetesObject {
  readonly data?: Readonly<Record<string, string>>;
}

export interface Secret extends KubernetesObject {
  readonly type?: string;
  /** base64. */
  readonly data?: Readonly<Record<string, string>>;
}

export interface MutatingWebhookConfiguration extends KubernetesObject {
  readonly webhooks?: readonly {
    readonly name: string;
    /** `caBundle` is base64 of PEM. */
    readonly clientConfig: { readonly caBundle?: string };
  }[];
}

/** A StatefulSet or ReplicaSet. */
export interface PodController extends KubernetesObject {
  readonly spec?: { readonly replicas?: number };
}

export interface PersistentVolumeClaim extends KubernetesObject {
  readonly spec: {
    readonly accessModes?: readonly string[];
    readonly storageClassName?: string;
    readonly resources?: { readonly requests?: { readonly storage?: number | string } };
  };
  readonly status?: { readonly phase?: string };
}

export interface PolicyRule {
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

export interface Role extends KubernetesObject {
  readonly rules?: readonly PolicyRule[];
}

export interface Subject {
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
}

export interface RoleBinding extends KubernetesObject {
  readonly subjects?: readonly Subject[];
  readonly roleRef: { readonly apiGroup: string; readonly kind: string; readonly name: string };
}

export interface Lease extends KubernetesObject {
  readonly spec?: LeaseSpec;
}

export interface LeaseSpec {
  /** Absent or empty: nobody. */
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  /** RFC 3339 with six digits of a second: the server refuses fewer. */
  readonly acquireTime?: string;
  readonly renewTime?: string;
  /** How often the holder has changed. */
  readonly leaseTransitions?: number;
}

/** A kind of object, as the API serves it. */
export interface Resource {
  /** Path of the group and version. */
  readonly prefix: string;
  readonly plural: string;
}

export const apiGroup = 'wal.proximadb.io';
export const apiVersion = `${apiGroup}/v1alpha1`;

export const walStorages: Resource = { prefix: `/apis/${apiVersion}`, plural: 'walstorages' };
export const pods: Resource = { prefix: '/api/v1', plural: 'pods' };
export const claims: Resource = { prefix: '/api/v1', plural: 'persistentvolumeclaims' };
export const events: Resource = { prefix: '/apis/events.k8s.io/v1', plural: 'events' };
export const configMaps: Resource = { prefix: '/api/v1', plural: 'configmaps' };
export const secrets: Resource = { prefix: '/api/v1', plural: 'secrets' };
export const roles: Resource = { prefix: '/apis/rbac.authorization.k8s.io/v1', plural: 'roles' };
export const roleBindings: Resource = { prefix: '/apis/rbac.authorization.k8s.io/v1', plural: 'rolebindings' };
export const leases: Resource = { prefix: '/apis/coordination.k8s.io/v1', plural: 'leases' };

export const mutatingWebhookConfigurations: Resource = {
  prefix: '/apis/admissionregistration.k8s.io/v1',
  plural: 'mutatingwebhookconfigurations',
};

/** The path of all objects of a resource: those of one namespace, or of all where it is undefined. */
export function collectionPath(resource: Resource, namespace: string | undefined): string {
  const scope = namespace === undefined ? '' : `/namespaces/${encodeURIComponent(namespace)}`;
  return `${resource.prefix}${scope}/${resource.plural}`;
}

/** The path of one object, or of its subresource (`status`). */
export function objectPath(resource: Resource, namespace: string, name: string, subresource?: string): string {
  const path = `${collectionPath(resource, namespace)}/${encodeURIComponent(name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}

/** The path of one object of a resource without namespaces. */
export function clusterObjectPath(resource: Resource, name: string): string {
  return `${collectionPath(resource, undefined)}/${encodeURIComponent(name)}`;
}

/**
 * A decoded answer as an object of the kind that was asked for. Throws an Error if it is no Kubernetes object; the rest
 * of its form is the API server's word.
 */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- JSON has no type: the caller knows what it asked for
export function asObject<T extends KubernetesObject>(answer: unknown): T {
  if (isObject<T>(answer)) return answer;
  throw new Error(`the API server's answer is no Kubernetes object: ${JSON.stringify(answer)?.slice(0, 200)}`);
}

// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the same
function isObject<T extends KubernetesObject>(value: unknown): value is T {
  const { name, resourceVersion } = fieldsOf(fieldsOf(value)['metadata']);
  return typeof name === 'string' && typeof resourceVersion === 'string';
}

/** A page of a list. */
export interface ListPage<T> {
  readonly items: readonly T[];
  readonly resourceVersion: string;
  /** Asks for the next page; empty on the last one. */
  readonly continuation: string;
}

/** A decoded answer as a page of a list. Throws an Error if it isn't one. */
export function asList<T extends KubernetesObject>(answer: unknown): ListPage<T> {
  const { metadata, items } = fieldsOf(answer);
  const { resourceVersion, continue: continuation = '' } = fieldsOf(metadata);
  if (typeof resourceVersion !== 'string' || typeof continuation !== 'string') {
    throw new Error(`the API server's answer is no list: ${JSON.stringify(answer)?.slice(0, 200)}`);
  }
  const objects: unknown[] = Array.isArray(items) ? items : [];
  return { items: objects.map((item) => asObject<T>(item)), resourceVersion, continuation };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

/** A line of a watch. */
export type WatchEvent =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'ERROR'; readonly object: unknown }
  | { readonly type: 'BOOKMARK'; readonly resourceVersion: string };

/** A decoded line of a watch as an event. Throws an Error if it isn't one. */
export function asWatchEvent(line: unknown): WatchEvent {
  const { type, object } = fieldsOf(line);
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
    case 'ERROR':
      return { type, object };
    case 'BOOKMARK':
      return { type, resourceVersion: String(fieldsOf(fieldsOf(object)['metadata'])['resourceVersion']) };
    default:
      throw new Error(`the API server sent no watch event: ${JSON.stringify(line)?.slice(0, 200)}`);
  }
}

/** A MicroTime: six digits of a second, or the API server refuses it. */
export function microTime(date: Date): string {
  return date.toISOString().replace('Z', '000Z');
}

/** An object's key in caches and queues: `namespace/name`. */
export function keyOf(object: KubernetesObject): string {
  return `${object.metadata.namespace}/${object.metadata.name}`;
}

/** A WalStorage, with its metadata as JSON has it. */
export interface WalStorage extends KubernetesObject {
  readonly spec: WalStorageSpec;
  readonly status?: WalStorageStatus;
}

/** On a pod: the name of the WalStorage whose sidecar it asks for. On what we make: the WalStorage it belongs to. */
export const storageLabel = `${apiGroup}/storage`;

/** On a pod: changed by us, so that its kubelet looks at the ConfigMap at once. */
export const configHashAnnotation = `${apiGroup}/config-hash`;
