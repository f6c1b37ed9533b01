/**
 * From a WalStorage's spec to the configuration file of its sidecars. Rendered with sidecar/config, and parsed with it
 * before it is published: what a sidecar would refuse never reaches a ConfigMap.
 *
 * | spec | file |
 * |---|---|
 * | what the user left out | left out, so that the sidecar's own defaults hold |
 * | a URL on an object store, a hostPath or a persistentVolumeClaim | `/${POD_NAMESPACE}/${POD_NAME}` appended, unless it contains `${POD_NAME}`: else pods would share it |
 * | any other URL | as it is (its volume belongs to the pod) |
 * | credentialsSecretRef | `credentials_dir`, where the Secret is mounted; never its content (R7) |
 */
import type { ComponentSpec, UrlSpec, Volume, WalSpec, WalStorageSpec } from '../crds/walstorage.generated.ts';
import { type Component, components } from '../sidecar/assignment/assignment.ts';
import type { UrlOptions } from '../sidecar/config/configuration.ts';
import { hashOf } from '../sidecar/config/hash.ts';
import { parse, refuseUnsupported } from '../sidecar/config/parse.ts';
import { format } from '../sidecar/config/problem.ts';
import { type RenderedComponent, type RenderedUrl, type RenderedWal, render } from '../sidecar/config/render.ts';
import { credentialsDirectory } from './injection/names.ts';
import { quantityBytes } from './quantity.ts';

/** A URL of the configuration. */
export interface PlacedUrl {
  readonly component: Component;
  /** As the file has it; `${}` unexpanded. */
  readonly rendered: string;
  /** As the spec has it; undefined for one that the spec no longer has (O7). */
  readonly spec: string | undefined;
}

/** A URL that left the spec while it held collections, as the live ConfigMap has it. */
export interface RetainedUrl extends RenderedUrl {
  readonly component: Component;
}

export interface Rendering {
  readonly text: string;
  /** SHA-256 of the text, in hex: what a sidecar reports as `configHash` once it has applied it. */
  readonly hash: string;
  readonly urls: readonly PlacedUrl[];
}

export type RenderOutcome =
  | { readonly rendering: Rendering }
  /** What a sidecar would refuse, a line each. */
  | { readonly problems: string };

const perPodSuffix = '/${POD_NAMESPACE}/${POD_NAME}';

/** Stands for a pod's environment where only the form of the configuration matters. */
const anyPod = { POD_NAMESPACE: 'namespace', POD_NAME: 'pod', WALSTORAGE_NAME: 'storage' };

/** The file of a spec, with the retained URLs at the end of their components' lists. */
export function renderSpec(
  spec: WalStorageSpec,
  retained: readonly RetainedUrl[],
  operatorVersion: string,
): RenderOutcome {
  const fleeting = placedUrls(spec, retained).filter(({ rendered }) => rendered.includes('${POD_UID}'));
  if (fleeting.length > 0) return { problems: fleeting.map(refuseUid).join('\n') };
  const others: Partial<Record<Exclude<Component, 'wal'>, RenderedComponent>> = {};
  for (const component of components) {
    const kept = retained.filter((url) => url.component === component);
    const section = spec[component];
    if (component === 'wal' || (section === undefined && kept.length === 0)) continue;
    others[component] = renderComponent(section, kept, spec);
  }
  const wal = renderWal(
    spec.wal,
    retained.filter((url) => url.component === 'wal'),
    spec,
  );
  const text = render({ renderedBy: operatorVersion, wal, ...others });
  const { configuration, problems } = parse(text, anyPod);
  const refused = configuration === undefined ? problems : refuseUnsupported(configuration);
  if (refused.length > 0) return { problems: format(refused).trim() };
  return { rendering: { text, hash: hashOf(text), urls: placedUrls(spec, retained) } };
}

/** R1: a pod that is made anew has another uid. */
function refuseUid({ component, rendered }: PlacedUrl): string {
  return `${component}: ${rendered} has another place for each new pod, which would not find the log of the one before: use \${POD_NAME} instead of \${POD_UID}`;
}

/** The URLs that a rendered file has, with their options; none if a sidecar would refuse it. */
export function readUrls(text: string): RetainedUrl[] {
  const { configuration } = parse(text, anyPod);
  if (configuration === undefined) return [];
  return [...configuration.components].flatMap(([component, { urls }]) =>
    urls.map(({ written }) => {
      const options = configuration.urlOptions.get(written);
      return { component, url: written, ...(options === undefined ? {} : { options }) };
    }),
  );
}

/** The volume that a file:// URL lies on; undefined for an object store. */
export function volumeOf(url: string, volumes: readonly Volume[]): Volume | undefined {
  return volumes.find(({ mountPath }) => `${url}/`.startsWith(`file://${mountPath}/`));
}

/** The URL as the file has it. */
export function renderedUrl(url: string, volumes: readonly Volume[]): string {
  const volume = volumeOf(url, volumes);
  const shared = volume === undefined || volume.hostPath !== undefined || volume.persistentVolumeClaim !== undefined;
  return shared && !url.includes('${POD_NAME}') ? `${url.replace(/\/+$/, '')}${perPodSuffix}` : url;
}

/** Every URL of the spec and the retained ones, in the order of the file. */
export function placedUrls(spec: WalStorageSpec, retained: readonly RetainedUrl[]): PlacedUrl[] {
  const volumes = spec.volumes ?? [];
  return components.flatMap((component) => {
    const wanted = spec[component]?.urls ?? [];
    const kept = retained.filter((url) => url.component === component);
    const ofSpec = wanted.map(({ url }): PlacedUrl => ({ component, rendered: renderedUrl(url, volumes), spec: url }));
    return ofSpec.concat(kept.map(({ url }) => ({ component, rendered: url, spec: undefined })));
  });
}

function renderWal(wal: WalSpec, retained: readonly RetainedUrl[], spec: WalStorageSpec): RenderedWal {
  return {
    ...renderComponent(wal, retained, spec),
    ...(wal.memoryFlushSize === undefined ? {} : { memoryFlushSizeBytes: wholeBytes(wal.memoryFlushSize) }),
    ...(wal.globalFlushThreshold === undefined
      ? {}
      : { globalFlushThresholdBytes: wholeBytes(wal.globalFlushThreshold) }),
    ...(wal.syncMode === undefined ? {} : { syncMode: wal.syncMode }),
    ...(wal.syncIntervalMs === undefined ? {} : { syncIntervalMs: wal.syncIntervalMs }),
    ...(wal.lingerMs === undefined ? {} : { lingerMs: wal.lingerMs }),
    ...(wal.compression === undefined ? {} : { compression: wal.compression }),
  };
}

/** What is no quantity (the CRD refuses it) becomes 0, which parsing refuses. */
function wholeBytes(quantity: number | string): number {
  return quantityBytes(quantity) ?? 0;
}

function renderComponent(
  section: ComponentSpec | undefined,
  retained: readonly RetainedUrl[],
  spec: WalStorageSpec,
): RenderedComponent {
  const urls = (section?.urls ?? []).map((url) => renderUrl(url, spec.volumes ?? []));
  const { distributionStrategy, collectionAffinity } = section ?? {};
  return {
    urls: [...urls, ...retained],
    ...(distributionStrategy === undefined ? {} : { distributionStrategy }),
    ...(collectionAffinity === undefined ? {} : { collectionAffinity }),
  };
}

function renderUrl({ url, options, credentialsSecretRef }: UrlSpec, volumes: readonly Volume[]): RenderedUrl {
  const rendered: UrlOptions = {
    ...options,
    ...(credentialsSecretRef === undefined
      ? {}
      : { credentialsDir: `${credentialsDirectory}/${credentialsSecretRef.name}` }),
  };
  return { url: renderedUrl(url, volumes), options: rendered };
}
