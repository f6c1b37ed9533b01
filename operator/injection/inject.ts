/**
 * The sidecar comes into a pod (O3, O4): a pure function of the pod and its WalStorage.
 *
 * | part of the pod | what becomes of it |
 * |---|---|
 * | init containers | `walstorage` is the first |
 * | database containers | PROXIMADB_WAL_SOCKET (first), the socket, the directories of non-WAL URLs |
 * | other containers | unchanged, in their order |
 * | volumes | ours at the end |
 * | grace period | at least 60 s |
 * | annotation `wal.proximadb.io/injected` | the restart hash of the spec |
 *
 * The API server asks twice (`reinvocationPolicy: IfNeeded`). A pod with our annotation was injected before: what bears our
 * names is made anew in its place, what others added to our container stays, and the result is the same. In a pod without
 * it whatever bears our names is somebody else's: then the pod is refused.
 */
import type { WalStorage } from '../kubernetes.ts';
import { checks, type Injection, isSocketVariable, warnings } from './checks.ts';
import { reaches } from './mount-paths.ts';
import {
  containersAnnotation,
  injectedAnnotation,
  sidecarName,
  socketPath,
  socketVariable,
  volumePrefix,
} from './names.ts';
import { type Places, placed } from './placed.ts';
import type { AdmittedPod, Container, EnvVar, VolumeSource } from './pod.ts';
import { sidecarContainer } from './sidecar-container.ts';
import { refuseTooMany } from './size.ts';
import { addedVolumes, directoriesOf, mountPlaces, socketMount } from './volumes.ts';

export interface InjectionSettings {
  /** Of the sidecar, where the WalStorage names none. */
  readonly image: string;
  /** Of the WalStorage's spec. */
  readonly restartHash: string;
}

export type InjectionResult =
  /** The pod with the sidecar, and sentences on what may surprise. */
  | { readonly pod: AdmittedPod; readonly warnings: readonly string[] }
  /** Every reason why the pod can't have it, a sentence each with what to do. */
  | { readonly refusal: string };

/** The database's main program and then our flush must fit, from SIGTERM to SIGKILL. */
const gracePeriodSecondsMin = 60;
/** What the API server takes where the pod says nothing. */
const gracePeriodSecondsDefault = 30;

/**
 * Adds the sidecar to a pod.
 * @param pod as the admission request has it; it is left as it is
 * @param storage the WalStorage that the pod's label names, of the pod's namespace
 */
export function inject(pod: AdmittedPod, storage: WalStorage, settings: InjectionSettings): InjectionResult {
  const tooMany = refuseTooMany(pod);
  if (tooMany.length > 0) return { refusal: tooMany.join(' ') };
  const isAgain = pod.metadata.annotations?.[injectedAnnotation] !== undefined;
  const found = isAgain ? pod.spec.initContainers?.find(({ name }) => name === sidecarName) : undefined;
  const injection = injectionOf(isAgain ? withoutOurs(pod) : pod, isAgain, storage);
  const refusals = checks.flatMap((check) => check(injection));
  if (refusals.length > 0) return { refusal: refusals.join(' ') };
  return {
    pod: injected(pod, injection, settings, found),
    warnings: warnings.flatMap((warn) => warn(injection)),
  };
}

/** What the checks judge: the pod as it was before an earlier injection, but for our variable and mounts of its own volumes. */
function withoutOurs(pod: AdmittedPod): AdmittedPod {
  const { containers, initContainers = [], volumes = [] } = pod.spec;
  return {
    ...pod,
    spec: {
      ...pod.spec,
      initContainers: initContainers.filter(({ name }) => name !== sidecarName),
      volumes: volumes.filter(isForeign),
      containers: containers.map(withoutOurMounts),
    },
  };
}

function withoutOurMounts(container: Container): Container {
  const { volumeMounts } = container;
  return volumeMounts === undefined ? container : { ...container, volumeMounts: volumeMounts.filter(isForeign) };
}

/** Of a volume or of a mount of one. */
function isForeign({ name }: { readonly name: string }): boolean {
  return !name.startsWith(volumePrefix);
}

function injectionOf(pod: AdmittedPod, isAgain: boolean, storage: WalStorage): Injection {
  const { containers } = pod.spec;
  const named = namedContainers(pod);
  const directories = directoriesOf(pod, storage);
  return {
    pod,
    isAgain,
    storage,
    databases: named === undefined ? containers : containers.filter(({ name }) => named.includes(name)),
    unknownNames: (named ?? []).filter((name) => !containers.some((container) => container.name === name)),
    directories: directories.filter((directory) => 'mount' in directory),
    unknownDirectories: directories.filter((directory) => 'variable' in directory),
  };
}

/** The names in the user's annotation; undefined without one. */
function namedContainers({ metadata }: AdmittedPod): string[] | undefined {
  const names = metadata.annotations?.[containersAnnotation]?.split(',').map((name) => name.trim());
  return names?.filter((name) => name !== '');
}

function injected(
  pod: AdmittedPod,
  injection: Injection,
  settings: InjectionSettings,
  found: Container | undefined,
): AdmittedPod {
  const { storage, databases } = injection;
  const { metadata, spec } = pod;
  const sidecar = sidecarContainer({ pod, storage, database: databases[0], image: settings.image, found });
  const names = new Set(databases.map(({ name }) => name));
  return {
    ...pod,
    metadata: {
      ...metadata,
      annotations: { ...metadata.annotations, [injectedAnnotation]: settings.restartHash },
    },
    spec: {
      ...spec,
      initContainers: [sidecar, ...(spec.initContainers ?? []).filter((container) => container !== found)],
      containers: spec.containers.map((container) =>
        names.has(container.name) ? database(container, injection) : other(container, injection),
      ),
      volumes: placed(spec.volumes ?? [], addedVolumes(pod, storage), volumePlaces),
      terminationGracePeriodSeconds: Math.max(
        spec.terminationGracePeriodSeconds ?? gracePeriodSecondsDefault,
        gracePeriodSecondsMin,
      ),
    },
  };
}

const volumePlaces: Places<VolumeSource> = {
  keyOf: ({ name }) => name,
  isOurs: (volume) => !isForeign(volume),
};

/** A database container with the socket and the directories. */
function database(container: Container, { directories }: Injection): Container {
  const { env = [], volumeMounts = [] } = container;
  // Those on volumes of the pod's own are taken for the user's the next time, and stay.
  const foreign = volumeMounts.filter(isForeign);
  const missing = directories.map(({ mount }) => mount).filter((mount) => !reaches(foreign, mount));
  return {
    ...container,
    env: withSocket(env),
    volumeMounts: placed(volumeMounts, [socketMount, ...missing], mountPlaces),
  };
}

/** A container that is no database now may have been one when the pod was injected before. */
function other(container: Container, { isAgain }: Injection): Container {
  return isAgain ? withoutOurMounts(container) : container;
}

/** Our variable comes first, so that the user's own may refer to it: $(PROXIMADB_WAL_SOCKET). */
function withSocket(env: readonly EnvVar[]): readonly EnvVar[] {
  if (env.some(isSocketVariable)) return env;
  return [{ name: socketVariable, value: socketPath }, ...env.filter(({ name }) => name !== socketVariable)];
}
