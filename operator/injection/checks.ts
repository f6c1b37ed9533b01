/**
 * Why a pod can't get the sidecar as its WalStorage wants it: small checks, each with a sentence that tells the user what
 * to do. All of them are asked; `inject` refuses with every sentence.
 */
import type { Volume } from '../../crds/walstorage.generated.ts';
import { memoryOverheadBytes } from '../../sidecar/memory.ts';
import { storageLabel, type WalStorage } from '../kubernetes.ts';
import { quantityBytes } from '../quantity.ts';
import { volumeOf } from '../rendering.ts';
import { lifetimeOf } from '../volume-lifetime.ts';
import { memoryNeededBytes, quantityOf, thresholdOf } from './memory.ts';
import { overlap, reaches } from './mount-paths.ts';
import {
  containersAnnotation,
  httpPort,
  ownDirectory,
  sidecarName,
  socketDirectory,
  socketPath,
  socketVariable,
  volumePrefix,
} from './names.ts';
import type { AdmittedPod, Container, EnvVar, VolumeSource } from './pod.ts';
import { identityOf } from './sidecar-container.ts';
import { type Directory, socketMount, type UnknownDirectory, urlsOf, volumesOf, walVolumesOf } from './volumes.ts';

/** What is to be injected into what. */
export interface Injection {
  /** Without what bears our names, where an earlier injection made it. */
  readonly pod: AdmittedPod;
  /** Whether an earlier injection made it: then a variable of ours with another value is an older one. */
  readonly isAgain: boolean;
  readonly storage: WalStorage;
  /** The containers that get the socket and the directories. */
  readonly databases: readonly Container[];
  /** Names in the user's annotation that no container bears. */
  readonly unknownNames: readonly string[];
  readonly directories: readonly Directory[];
  readonly unknownDirectories: readonly UnknownDirectory[];
}

/** Sentences; none where nothing is wrong. */
type Check = (injection: Injection) => readonly string[];

const refuseWindows: Check = ({ pod: { spec } }) => {
  if (spec.os?.name !== 'windows' && spec.nodeSelector?.['kubernetes.io/os'] !== 'windows') return [];
  return [`The sidecar runs on Linux only: take the label ${storageLabel} off the template of this Windows pod.`];
};

const refuseUnknownContainers: Check = ({ pod, unknownNames, databases }) => {
  const there = pod.spec.containers.map(({ name }) => name).join(', ');
  const remedy = `name containers of the pod (${there}), joined by ',', or remove the annotation for all of them.`;
  if (unknownNames.length > 0) {
    return [
      `The annotation ${containersAnnotation} names ${unknownNames.join(', ')}, which the pod doesn't have: ${remedy}`,
    ];
  }
  return databases.length === 0 ? [`The annotation ${containersAnnotation} names no container: ${remedy}`] : [];
};

const refuseTakenContainer: Check = ({ pod: { spec } }) => {
  const isTaken = [...spec.containers, ...(spec.initContainers ?? [])].some(({ name }) => name === sidecarName);
  return isTaken ? [`The pod has a container ${sidecarName} already, which is the sidecar's name: rename it.`] : [];
};

const refuseTakenVolumes: Check = ({ pod: { spec } }) =>
  (spec.volumes ?? [])
    .filter(({ name }) => name.startsWith(volumePrefix))
    .map(
      ({ name }) =>
        `The pod has a volume ${name} already, and names that begin with ${volumePrefix} are ours: rename it.`,
    );

const refuseTakenVariable: Check = ({ databases, isAgain }) =>
  databases
    .filter(({ env }) => !isAgain && env?.some((one) => one.name === socketVariable && !isSocketVariable(one)))
    .map(
      ({ name }) =>
        `Container ${name} sets ${socketVariable} to something else than ${socketPath}: remove the variable, the sidecar's socket is always there.`,
    );

/** Whether the variable is as injection sets it. */
export function isSocketVariable({ name, value }: EnvVar): boolean {
  return name === socketVariable && value === socketPath;
}

const refuseTakenMountPaths: Check = ({ databases, directories, storage }) =>
  databases.flatMap((container) => {
    const found = container.volumeMounts ?? [];
    const socket = { what: 'the socket', mount: socketMount, remedy: 'mount that volume elsewhere' };
    const remedy = `mount that volume elsewhere, or move the URL in WalStorage ${storage.metadata.name}`;
    const urls = directories
      .filter(({ mount }) => !reaches(found, mount))
      .map(({ component, url, mount }) => ({ what: `the ${component} URL ${url}`, mount, remedy }));
    return [socket, ...urls].flatMap(({ what, mount, remedy: otherwise }) =>
      found
        .filter(({ mountPath }) => overlap(mountPath, mount.mountPath))
        .map(
          ({ name, mountPath }) =>
            `Container ${container.name} mounts volume ${name} at ${mountPath}, where ${mount.mountPath} is needed for ${what}: ${otherwise}.`,
        ),
    );
  });

/** The CRD refuses it too; a WalStorage may be older than that rule. */
const refuseReservedMountPaths: Check = ({ storage }) =>
  volumesOf(storage).flatMap(({ name, mountPath }) =>
    [ownDirectory, socketDirectory]
      .filter((path) => overlap(mountPath, path))
      .slice(0, 1)
      .map(
        (path) =>
          `Volume ${name} of WalStorage ${storage.metadata.name} has the mountPath ${mountPath}, where the sidecar has ${path}: choose another, such as /mnt/${name}.`,
      ),
  );

const refuseTakenPort: Check = ({ pod: { spec }, storage }) => {
  const port = httpPort(storage);
  return [...spec.containers, ...(spec.initContainers ?? [])]
    .filter(({ ports }) =>
      ports?.some(({ containerPort, protocol = 'TCP' }) => containerPort === port && protocol === 'TCP'),
    )
    .map(
      ({ name }) =>
        `Container ${name} uses port ${port}, which is the sidecar's: set spec.sidecar.httpPort of WalStorage ${storage.metadata.name} to a free one.`,
    );
};

/** O2: what lies under a pod's name needs one. A Deployment's or Job's pod gets its name after admission. */
const refuseNamelessPod: Check = ({ pod, storage }) => {
  if (pod.metadata.name !== undefined) return [];
  const { name } = storage.metadata;
  const claims = volumesOf(storage).filter(({ claimTemplate }) => claimTemplate !== undefined);
  const unnamed = `and a pod of a Deployment or Job has no name when it is admitted`;
  if (claims.length > 0) {
    return claims.map(
      (claim) =>
        `Volume ${claim.name} of WalStorage ${name} is a claimTemplate, which makes a claim of the pod's name, ${unnamed}: use a StatefulSet, or a WalStorage with emptyDir volumes or object stores.`,
    );
  }
  if (storage.spec.ephemeralPods === true || urlsOf(storage).every(({ url }) => diesWithPod(url, pod, storage)))
    return [];
  return [
    `WalStorage ${name} keeps each pod's log under the pod's name, ${unnamed}, so that no later pod finds its log: use a StatefulSet, or accept that with spec.ephemeralPods: true.`,
  ];
};

function diesWithPod(url: string, pod: AdmittedPod, storage: WalStorage): boolean {
  const volume = volumeOf(url, volumesOf(storage));
  return volume !== undefined && lifetimeOf(volume, pod.spec.volumes ?? []) === 'pod';
}

function podVolumeOf({ podVolume }: Volume, { spec }: AdmittedPod): VolumeSource | undefined {
  return spec.volumes?.find(({ name }) => name === podVolume?.name);
}

const refuseUnknownDirectories: Check = ({ unknownDirectories, storage }) =>
  unknownDirectories.map(({ component, url, variable }) => {
    const begin = `The ${component} URL ${url} of WalStorage ${storage.metadata.name} is mounted into the database under its own path, and \${${variable}} in it`;
    if (variable !== 'POD_NAME') {
      return `${begin} has no value before the pod runs: use \${POD_NAME} or \${POD_NAMESPACE}.`;
    }
    return `${begin} (which is appended on shared volumes) has no value for a pod of a Deployment or Job: use a StatefulSet, an emptyDir or an object store.`;
  });

const refuseMissingPodVolumes: Check = ({ pod, storage }) =>
  volumesOf(storage)
    .filter((volume) => volume.podVolume !== undefined && podVolumeOf(volume, pod) === undefined)
    .map(({ name, podVolume }) => {
      const there = pod.spec.volumes?.map((volume) => volume.name).join(', ') ?? '';
      return `Volume ${name} of WalStorage ${storage.metadata.name} is the pod's volume ${podVolume?.name}, which the pod doesn't have (it has ${there || 'none'}): add it to the pod's volumes or volumeClaimTemplates, or correct podVolume.name.`;
    });

const readOnlySources = ['configMap', 'secret', 'projected', 'downwardAPI', 'image'] as const;

const refuseReadOnlyPodVolumes: Check = ({ pod, storage }) =>
  volumesOf(storage).flatMap((volume) => {
    const source = podVolumeOf(volume, pod);
    if (source === undefined) return [];
    const kind = readOnlySources.find((key) => source[key] !== undefined);
    const what = source.persistentVolumeClaim?.readOnly === true ? 'read-only claim' : kind;
    if (what === undefined) return [];
    return `Volume ${volume.name} of WalStorage ${storage.metadata.name} is the pod's volume ${source.name}, a ${what}, which can't be written: name a volume that can be in podVolume.name.`;
  });

/** Those that belong to one pod; of claims, which may be shared too, the webhook knows who writes to them. */
const ownSources: ReadonlySet<string> = new Set(['persistentVolumeClaim', 'emptyDir', 'ephemeral', 'csi']);

/** Nothing is appended to the URLs on a podVolume, so that the next pod on the node would go on with another's log. */
const refuseSharedPodVolumes: Check = ({ pod, storage }) =>
  volumesOf(storage).flatMap((volume) => {
    const source = podVolumeOf(volume, pod);
    const kind = Object.keys(source ?? {}).find((key) => key !== 'name');
    if (source === undefined || kind === undefined || ownSources.has(kind)) return [];
    if (readOnlySources.some((key) => key === kind)) return [];
    return urlsOf(storage)
      .filter(({ url }) => volumeOf(url, volumesOf(storage)) === volume && !url.includes('${POD_NAME}'))
      .map(
        ({ component, url }) =>
          `The ${component} URL ${url} of WalStorage ${storage.metadata.name} lies on the pod's volume ${source.name}, a ${kind}, which other pods have too, and a log has one writer: append /\${POD_NAMESPACE}/\${POD_NAME} to the URL${kind === 'hostPath' ? ', or write hostPath instead of podVolume' : ''}.`,
      );
  });

const refuseMissingFsGroup: Check = ({ pod, storage, databases }) => {
  if (pod.spec.securityContext?.fsGroup !== undefined) return [];
  const volumes = volumesOf(storage).filter((volume) => isPersistent(volume, pod));
  if (volumes.length === 0) return [];
  const names = volumes.map(({ name }) => name).join(', ');
  const group = identityOf(pod, databases[0]).group ?? 1000;
  return [
    `The pod has no fsGroup, without which the sidecar may not write to persistent volumes (${names} of WalStorage ${storage.metadata.name}): set securityContext.fsGroup: ${group} in the pod's spec (of a StatefulSet: spec.template.spec).`,
  ];
};

function isPersistent(volume: Volume, pod: AdmittedPod): boolean {
  const source = podVolumeOf(volume, pod);
  return (
    volume.claimTemplate !== undefined ||
    volume.persistentVolumeClaim !== undefined ||
    source?.persistentVolumeClaim !== undefined ||
    source?.ephemeral !== undefined
  );
}

/** The CRD refuses it too; a WalStorage may be older than that rule. */
const refuseSharedClaims: Check = ({ storage }) =>
  walVolumesOf(storage)
    .filter(({ claimTemplate }) => isShared(claimTemplate?.accessModes ?? []))
    .map(
      ({ name }) =>
        `Volume ${name} of WalStorage ${storage.metadata.name} holds WAL URLs and may be mounted by several nodes at once (ReadWriteMany), where no lock keeps a second writer out: use a volume with accessModes [ReadWriteOncePod].`,
    );

function isShared(accessModes: readonly string[]): boolean {
  return accessModes.includes('ReadWriteMany') && !accessModes.includes('ReadWriteOncePod');
}

const refuseSmallMemoryLimit: Check = ({ storage }) => {
  const limit = storage.spec.sidecar?.resources?.limits?.['memory'];
  const neededBytes = memoryNeededBytes(storage);
  if (limit === undefined || (quantityBytes(limit) ?? 0) >= neededBytes) return [];
  const needed = quantityOf(neededBytes);
  return [
    `The memory limit ${limit} of the sidecar of WalStorage ${storage.metadata.name} is below ${needed}, which are globalFlushThreshold (${thresholdOf(storage)}) and ${quantityOf(memoryOverheadBytes)} for the sidecar itself: raise spec.sidecar.resources.limits.memory to ${needed} or more, or lower globalFlushThreshold.`,
  ];
};

/** In the order in which a user would go through them. */
export const checks: readonly Check[] = [
  refuseWindows,
  refuseUnknownContainers,
  refuseTakenContainer,
  refuseTakenVolumes,
  refuseTakenVariable,
  refuseTakenMountPaths,
  refuseTakenPort,
  refuseNamelessPod,
  refuseUnknownDirectories,
  refuseMissingPodVolumes,
  refuseReadOnlyPodVolumes,
  refuseSharedPodVolumes,
  refuseMissingFsGroup,
  refuseReservedMountPaths,
  refuseSharedClaims,
  refuseSmallMemoryLimit,
];

const warnHostNetwork: Check = ({ pod, storage }) => {
  if (pod.spec.hostNetwork !== true) return [];
  const port = httpPort(storage);
  return [
    `The pod uses its node's network: port ${port} must be free there, and shows health and metrics to whoever reaches the node. spec.sidecar.httpPort of WalStorage ${storage.metadata.name} changes it.`,
  ];
};

const warnMemoryVolumes: Check = ({ storage }) =>
  volumesOf(storage)
    .filter(({ emptyDir }) => emptyDir?.medium === 'Memory')
    .map(({ name, emptyDir }) => {
      const limit = emptyDir?.sizeLimit === undefined ? 'set its sizeLimit, and ' : '';
      return `Volume ${name} of WalStorage ${storage.metadata.name} is in memory: what it holds counts to the memory limit of the container that wrote it; ${limit}leave room for it there.`;
    });

/** The sidecar makes the directories of collections; who may write there is decided by its user. */
const warnOtherUser: Check = ({ pod, databases, directories }) => {
  const [first] = databases;
  if (directories.length === 0 || first === undefined) return [];
  const { user } = identityOf(pod, first);
  const others = databases.filter((container) => user === undefined || identityOf(pod, container).user !== user);
  if (others.length === 0) return [];
  const names = others.map(({ name }) => name).join(', ');
  return [
    `The sidecar may run as another user than ${names}, who then can't write to the directories that it makes: set securityContext.runAsUser in the pod's spec, the same for all.`,
  ];
};

/** What works, and may surprise. */
export const warnings: readonly Check[] = [warnHostNetwork, warnMemoryVolumes, warnOtherUser];
