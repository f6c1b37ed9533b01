/**
 * The objects that a WalStorage has beside it: ConfigMap, Role and RoleBinding `<name>-walstorage`. Each bears an
 * ownerReference to the WalStorage's uid, so that Kubernetes deletes it with its owner, and by that is told from
 * what others made under the same name.
 */
import {
  apiGroup,
  apiVersion,
  type ConfigMap,
  configMaps,
  type KubernetesObject,
  type OwnerReference,
  type PolicyRule,
  type Resource,
  type Role,
  type RoleBinding,
  roleBindings,
  roles,
  type Subject,
  storageLabel,
  type WalStorage,
} from './kubernetes.ts';

/** The objects of our name that exist, whoever made them. */
export interface LiveObjects {
  readonly configMap?: ConfigMap;
  readonly role?: Role;
  readonly roleBinding?: RoleBinding;
}

/** An object as we want it. */
export interface DesiredObject {
  readonly apiVersion: string;
  readonly kind: 'ConfigMap' | 'Role' | 'RoleBinding';
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly ownerReferences: readonly OwnerReference[];
  };
  readonly data?: ConfigMap['data'];
  readonly rules?: readonly PolicyRule[];
  readonly subjects?: readonly Subject[];
  readonly roleRef?: RoleBinding['roleRef'];
}

/** A desired object, where the API serves it, and where it stands among the live ones. */
export interface Wanted {
  readonly slot: keyof LiveObjects;
  readonly resource: Resource;
  readonly object: DesiredObject;
}

export const managedByLabel = 'app.kubernetes.io/managed-by';
/** The value of that label, and our field manager. */
export const operatorName = 'walstorage-operator';
export const configKey = 'walstorage.toml';

const rbac = 'rbac.authorization.k8s.io';

/** The name of the ConfigMap, Role and RoleBinding of a WalStorage. */
export function ownedName(storage: WalStorage): string {
  return `${storage.metadata.name}-walstorage`;
}

/**
 * The objects of a WalStorage.
 * @param text the configuration file; undefined where the spec can't be rendered: then the ConfigMap is left out
 * @param serviceAccounts of its pods, sorted: who may report
 */
export function desiredObjects(
  storage: WalStorage,
  text: string | undefined,
  serviceAccounts: readonly string[],
): Wanted[] {
  const { name, namespace, uid } = storage.metadata;
  const metadata = {
    name: ownedName(storage),
    namespace,
    labels: { [managedByLabel]: operatorName, [storageLabel]: name },
    ownerReferences: [{ apiVersion, kind: 'WalStorage', name, uid, controller: true }],
  };
  const role: DesiredObject = {
    apiVersion: `${rbac}/v1`,
    kind: 'Role',
    metadata,
    rules: [{ apiGroups: [apiGroup], resources: ['walstorages/status'], resourceNames: [name], verbs: ['patch'] }],
  };
  const roleBinding: DesiredObject = {
    apiVersion: `${rbac}/v1`,
    kind: 'RoleBinding',
    metadata,
    subjects: serviceAccounts.map((account) => ({ kind: 'ServiceAccount', name: account, namespace })),
    roleRef: { apiGroup: rbac, kind: 'Role', name: metadata.name },
  };
  const wanted: Wanted[] = [
    { slot: 'role', resource: roles, object: role },
    { slot: 'roleBinding', resource: roleBindings, object: roleBinding },
  ];
  if (text === undefined) return wanted;
  const configMap: DesiredObject = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { [configKey]: text } };
  return [{ slot: 'configMap', resource: configMaps, object: configMap }, ...wanted];
}

/** Whether an object was made for this very WalStorage, not for an earlier one of its name. */
export function isOurs(object: KubernetesObject, storage: WalStorage): boolean {
  return object.metadata.ownerReferences?.some(({ uid }) => uid === storage.metadata.uid) ?? false;
}

/** Whether a live object is as desired: everything that we set is there; others may have set more. */
export function isAsDesired(live: KubernetesObject, { metadata, ...content }: DesiredObject): boolean {
  const { apiVersion: _, kind: __, ...fields } = content;
  return holds(live, fields) && holds(live.metadata, metadata);
}

/**
 * Whether a live value has all of the desired one: maps may hold more (others' fields), lists not. An empty list and an
 * absent one are the same, as the API server drops empty lists.
 */
export function holds(live: unknown, desired: unknown): boolean {
  if (Array.isArray(desired)) {
    const found: unknown[] = Array.isArray(live) ? live : [];
    return found.length === desired.length && desired.every((value, index) => holds(found[index], value));
  }
  if (typeof desired !== 'object' || desired === null) return live === desired;
  if (typeof live !== 'object' || live === null) return false;
  const fields = new Map<string, unknown>(Object.entries(live));
  return Object.entries(desired).every(([key, value]) => holds(fields.get(key), value));
}
