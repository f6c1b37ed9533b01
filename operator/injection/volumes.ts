/**
 * The volumes of an injected pod, and where they are mounted.
 *
 * | volume | source | sidecar | database containers |
 * |---|---|---|---|
 * | `walstorage-config` | ConfigMap; the pod waits for it | `/etc/walstorage/config` | – |
 * | `walstorage-socket` | emptyDir | `/run/walstorage` | `/run/walstorage` |
 * | `walstorage-token` | projected, 1 h, the API server's audience | `/etc/walstorage/token` | – |
 * | `walstorage-credentials-<8 hex>` | Secret, optional | `/etc/walstorage/credentials/<secret>` | – |
 * | `walstorage-data-<volume>`, or the pod's own (podVolume) | as the WalStorage says | its mountPath | the directories of non-WAL URLs |
 *
 * The configuration is mounted as a directory: a subPath mount would never be updated.
 */
import { posix } from 'node:path';
import type { Volume } from '../../crds/walstorage.generated.ts';
import { type Component, components } from '../../sidecar/assignment/assignment.ts';
import { hashOf } from '../../sidecar/config/hash.ts';
import { parseStorageUrl } from '../../sidecar/config/storage-url.ts';
import { claimName } from '../claim-name.ts';
import { ownedName } from '../desired.ts';
import type { WalStorage } from '../kubernetes.ts';
import { renderedUrl, volumeOf } from '../rendering.ts';
import { joined } from './mount-paths.ts';
import {
  configDirectory,
  configVolume,
  credentialsDirectory,
  socketDirectory,
  socketVolume,
  tokenDirectory,
  tokenVolume,
  volumePrefix,
} from './names.ts';
import type { Places } from './placed.ts';
import type { AdmittedPod, VolumeMount, VolumeSource } from './pod.ts';

/** The kubelet renews the token at 80 % of it. */
const tokenSeconds = 3600;
/** For the pod's fsGroup, which the kubelet makes the files' group; without one the sidecar is only among the others. */
const secretModeOfGroup = 0o440;
const secretModeOfAll = 0o444;
/** Of the other files; the kubelet narrows that of a token itself. */
const defaultMode = 0o644;

/** A directory of a non-WAL URL, which the database containers see under the URL's own path. */
export interface Directory {
  readonly component: Component;
  /** As the spec has it. */
  readonly url: string;
  readonly mount: VolumeMount;
}

/** A non-WAL URL whose directory can't be told before the pod runs. */
export interface UnknownDirectory {
  readonly component: Component;
  readonly url: string;
  /** The first variable of the URL, as the configuration has it, that has no value yet. */
  readonly variable: string;
}

interface ComponentUrl {
  readonly component: Component;
  /** As the spec has it. */
  readonly url: string;
  readonly secretName: string | undefined;
}

/** The URLs of a spec, with the component that each belongs to. */
export function urlsOf({ spec }: WalStorage): ComponentUrl[] {
  return components.flatMap((component) =>
    (spec[component]?.urls ?? []).map(({ url, credentialsSecretRef }) => ({
      component,
      url,
      secretName: credentialsSecretRef?.name,
    })),
  );
}

export function volumesOf({ spec }: WalStorage): readonly Volume[] {
  return spec.volumes ?? [];
}

/** The volumes that hold WAL URLs, to which the sidecar writes. */
export function walVolumesOf(storage: WalStorage): readonly Volume[] {
  const volumes = volumesOf(storage);
  const used = new Set(storage.spec.wal.urls.map(({ url }) => volumeOf(url, volumes)));
  return volumes.filter((volume) => used.has(volume));
}

/** The volume's name in the pod. */
function nameInPod({ name, podVolume }: Volume): string {
  return podVolume?.name ?? `${volumePrefix}data-${name}`;
}

/** The volumes that we add to the pod. */
export function addedVolumes({ metadata, spec }: AdmittedPod, storage: WalStorage): VolumeSource[] {
  const secretMode = spec.securityContext?.fsGroup === undefined ? secretModeOfAll : secretModeOfGroup;
  return [
    { name: configVolume, configMap: { name: ownedName(storage), defaultMode } },
    { name: socketVolume, emptyDir: {} },
    { name: tokenVolume, projected: { sources: tokenSources, defaultMode } },
    ...secretNames(storage).map((secretName) => ({
      name: secretVolume(secretName),
      secret: { secretName, optional: true, defaultMode: secretMode },
    })),
    ...volumesOf(storage).flatMap((volume) => dataVolume(volume, storage, metadata.name ?? '')),
  ];
}

const tokenSources = [
  { serviceAccountToken: { path: 'token', expirationSeconds: tokenSeconds } },
  { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
  { downwardAPI: { items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }] } },
];

function dataVolume(volume: Volume, storage: WalStorage, podName: string): VolumeSource[] {
  const { claimTemplate, persistentVolumeClaim, hostPath, emptyDir } = volume;
  const name = nameInPod(volume);
  if (claimTemplate !== undefined) {
    return [{ name, persistentVolumeClaim: { claimName: claimName(storage.metadata.name, volume.name, podName) } }];
  }
  if (persistentVolumeClaim !== undefined) {
    return [{ name, persistentVolumeClaim: { claimName: persistentVolumeClaim.claimName } }];
  }
  if (hostPath !== undefined) return [{ name, hostPath: { ...hostPath, type: hostPath.type ?? '' } }];
  if (emptyDir !== undefined) return [{ name, emptyDir }];
  return [];
}

/** What the sidecar mounts. */
export function sidecarMounts(storage: WalStorage): VolumeMount[] {
  return [
    { name: configVolume, mountPath: configDirectory, readOnly: true },
    socketMount,
    { name: tokenVolume, mountPath: tokenDirectory, readOnly: true },
    ...secretNames(storage).map((secret) => ({
      name: secretVolume(secret),
      mountPath: `${credentialsDirectory}/${secret}`,
      readOnly: true,
    })),
    ...volumesOf(storage).map((volume) => mountOf(volume, volume.mountPath, '')),
  ];
}

/** Mounts of a container; ours are those of our volumes. */
export const mountPlaces: Places<VolumeMount> = {
  keyOf: ({ mountPath }) => posix.resolve('/', mountPath),
  isOurs: ({ name }) => name.startsWith(volumePrefix),
};

export const socketMount: VolumeMount = { name: socketVolume, mountPath: socketDirectory };

function mountOf(volume: Volume, mountPath: string, inside: string): VolumeMount {
  const own = volume.podVolume?.subPath ?? volume.persistentVolumeClaim?.subPath ?? '';
  const subPath = joined(own, inside);
  return { name: nameInPod(volume), mountPath, ...(subPath === '' ? {} : { subPath }) };
}

/** Distinct, in the order of the URLs. */
function secretNames(storage: WalStorage): string[] {
  return [...new Set(urlsOf(storage).flatMap(({ secretName }) => secretName ?? []))];
}

/** A Secret's name may be longer than a volume's, and have dots. */
function secretVolume(secret: string): string {
  return `${volumePrefix}credentials-${hashOf(secret).slice(0, 8)}`;
}

/** The directories of the non-WAL file:// URLs: those that are known, and those that can't be yet. */
export function directoriesOf({ metadata }: AdmittedPod, storage: WalStorage): (Directory | UnknownDirectory)[] {
  const volumes = volumesOf(storage);
  const environment = {
    POD_NAMESPACE: storage.metadata.namespace,
    WALSTORAGE_NAME: storage.metadata.name,
    ...(metadata.name === undefined ? {} : { POD_NAME: metadata.name }),
  };
  return urlsOf(storage).flatMap(({ component, url }): (Directory | UnknownDirectory)[] => {
    const volume = component === 'wal' ? undefined : volumeOf(url, volumes);
    if (volume === undefined) return [];
    const rendered = renderedUrl(url, volumes);
    const variable = variablesOf(rendered).find((name) => !Object.hasOwn(environment, name));
    if (variable !== undefined) return [{ component, url, variable }];
    const parsed = parseStorageUrl(rendered, environment);
    // A URL that the sidecar would refuse is not rendered either: the WalStorage tells so (ConfigRendered).
    if (!('url' in parsed)) return [];
    const { path } = parsed.url;
    const mount = mountOf(volume, path, posix.relative(volume.mountPath, path));
    return [{ component, url, mount }];
  });
}

function variablesOf(url: string): string[] {
  return Array.from(url.matchAll(/\$\{([^}]*)\}/g), ([, name = '']) => name);
}
