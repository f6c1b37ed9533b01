/**
 * What each field of a WalStorage's spec changes (O6): the one table that the operator (restartHash), the sidecar
 * (differences) and docs/changes.md share. A test fails when a field of the CRD or a key of the file has no row.
 *
 * | class | meaning |
 * |---|---|
 * | hot | running pods take it: the sidecar from its file, or the operator where no key of the file stands for it |
 * | restart | it is in force in pods that are made after the change |
 * | operator | concerns the operator alone: no pod differs by it |
 *
 * Two specs have the same restartHash exactly if no pod would have to be replaced to go from one to the other:
 * - The order of keys, of volumes and of access modes does not count; that of URLs does (a list's first URL is home, E23).
 * - Nor does the spelling of a quantity (1Gi, 1024Mi). A URL counts as it is written, since `url_options` go by that.
 * - A default that is written out counts as absent. What a later version adds is absent in an older spec, so that an
 *   upgrade of the operator restarts nothing; for the same reason a default in this table must never be changed.
 * - `sidecar.image` and `sidecar.resources` have no default here: theirs come with the operator, and a new default is no
 *   change of the spec.
 */
import { isDeepStrictEqual } from 'node:util';
import type { WalStorageSpec } from '../../crds/walstorage.generated.ts';
import { components } from '../assignment/assignment.ts';
import type { ComponentConfiguration, Configuration, UrlOptions, WalConfiguration } from './configuration.ts';
import { hashOf } from './hash.ts';
import {
  affinityKey,
  componentSections,
  legacyDirectoryKey,
  renderedByKey,
  strategyKey,
  urlOptionKeys,
  urlOptionsKey,
  walKeys,
  walSection,
} from './keys.ts';
import { pathOfKey } from './problem.ts';
import { canonicalQuantity } from './quantity.ts';

export type ChangeClass = 'hot' | 'restart' | 'operator';

export interface ChangeRow {
  /** In the spec, `[]` for the items of a list, `{}` for the values of a map; absent for a key that the spec lacks. */
  readonly field?: string;
  /** In the configuration file; absent for a field that is not in the file. */
  readonly key?: string;
  readonly change: ChangeClass;
  /** What an absent field is taken for. */
  readonly default?: unknown;
  readonly isQuantity?: boolean;
  /** How it takes effect, where the class does not say it all. */
  readonly note?: string;
}

/** Stands in fields for each of the components, and in keys for its section and for its list of URLs. */
export const componentPlaceholder = '<component>';
export const sectionPlaceholder = '<section>';
export const urlsPlaceholder = '<urls>';
/** Stands in keys for a URL as it is written. */
export const urlPlaceholder = '"<url>"';

const walKey = (key: keyof typeof walKeys): string => `storage.${walSection.section}.${key}`;
const sectionKey = (key: string): string => `storage.${sectionPlaceholder}.${key}`;
const optionKey = (key: keyof typeof urlOptionKeys): string => `storage.${urlOptionsKey}.${urlPlaceholder}.${key}`;
const urlField = (name: string): string => `${componentPlaceholder}.urls[].${name}`;

const pendingNote = 'an added URL is Pending in a running pod, a removed one stays in use there';

export const changes: readonly ChangeRow[] = [
  { field: 'volumes[].name', change: 'restart' },
  { field: 'volumes[].mountPath', change: 'restart' },
  { field: 'volumes[].podVolume.name', change: 'restart' },
  { field: 'volumes[].podVolume.subPath', change: 'restart' },
  { field: 'volumes[].claimTemplate', change: 'restart', note: 'as the source of a volume' },
  {
    field: 'volumes[].claimTemplate.accessModes',
    change: 'restart',
    default: ['ReadWriteOnce'],
    note: 'claims that exist keep theirs',
  },
  { field: 'volumes[].claimTemplate.storageClassName', change: 'restart', note: 'claims that exist keep theirs' },
  { field: 'volumes[].claimTemplate.resources.requests.storage', change: 'hot', note: 'the operator grows the claims' },
  { field: 'volumes[].persistentVolumeClaim.claimName', change: 'restart' },
  { field: 'volumes[].persistentVolumeClaim.subPath', change: 'restart' },
  { field: 'volumes[].hostPath.path', change: 'restart' },
  { field: 'volumes[].hostPath.type', change: 'restart', default: '' },
  { field: 'volumes[].emptyDir', change: 'restart', note: 'as the source of a volume' },
  { field: 'volumes[].emptyDir.medium', change: 'restart', default: '' },
  { field: 'volumes[].emptyDir.sizeLimit', change: 'restart', isQuantity: true },
  { field: urlField('url'), key: sectionKey(urlsPlaceholder), change: 'restart', note: pendingNote },
  {
    field: urlField('credentialsSecretRef.name'),
    key: optionKey('credentials_dir'),
    change: 'restart',
    note: "the Secret's content is hot",
  },
  { field: urlField('options.endpoint'), key: optionKey('endpoint'), change: 'restart' },
  { field: urlField('options.region'), key: optionKey('region'), change: 'restart' },
  { field: urlField('options.forcePathStyle'), key: optionKey('force_path_style'), change: 'restart', default: false },
  {
    field: `${componentPlaceholder}.distributionStrategy`,
    key: sectionKey(strategyKey),
    change: 'hot',
    note: 'for collections that are assigned from then on',
  },
  {
    field: `${componentPlaceholder}.collectionAffinity`,
    key: sectionKey(affinityKey),
    change: 'restart',
    default: true,
  },
  { field: 'wal.memoryFlushSize', key: walKey('memory_flush_size_bytes'), change: 'hot' },
  {
    field: 'wal.globalFlushThreshold',
    key: walKey('global_flush_threshold'),
    change: 'hot',
    note: "restart where the container's memory limit is below it + 256 MiB",
  },
  { field: 'wal.syncMode', key: walKey('sync_mode'), change: 'restart', default: 'Always' },
  { field: 'wal.syncIntervalMs', key: walKey('sync_interval_ms'), change: 'hot' },
  { field: 'wal.lingerMs', key: walKey('linger_ms'), change: 'hot' },
  {
    field: 'wal.compression',
    key: walKey('compression'),
    change: 'hot',
    note: 'for segments that are written from then on',
  },
  { field: 'rollout', change: 'operator' },
  { field: 'ephemeralPods', change: 'operator', note: 'decided when a pod is made' },
  { field: 'sidecar.image', change: 'restart' },
  { field: 'sidecar.resources.limits{}', change: 'restart', isQuantity: true },
  { field: 'sidecar.resources.requests{}', change: 'restart', isQuantity: true },
  { field: 'sidecar.logLevel', change: 'restart', default: 'info' },
  { field: 'sidecar.httpPort', change: 'restart', default: 9464 },
  { key: `storage.${legacyDirectoryKey}`, change: 'restart', note: 'only in files that people write' },
  { key: renderedByKey, change: 'operator', note: 'the version of the operator' },
];

/**
 * The hash of exactly the restart fields of a spec: 64 hex digits. Pods that bear another one than the spec gives need
 * a restart to be as it says.
 */
export function restartHash(spec: WalStorageSpec): string {
  const found = changes
    .filter(({ change }) => change === 'restart')
    .flatMap((row) => Array.from(restartValues(spec, row)))
    .toSorted(([left], [right]) => (left < right ? -1 : 1));
  return hashOf(JSON.stringify(found));
}

/** The row's values in the spec, each with its place; none that is the default. */
function* restartValues(spec: WalStorageSpec, row: ChangeRow): Generator<readonly [string, string]> {
  if (row.field === undefined) return;
  const isGeneric = row.field.startsWith(componentPlaceholder);
  const fields = isGeneric ? components.map((name) => row.field?.replace(componentPlaceholder, name)) : [row.field];
  for (const field of fields) {
    for (const { place, value } of valuesAt(spec, field?.split('.') ?? [], '')) {
      const text = canonical(value, row);
      if (text !== canonical(row.default, row)) yield [place, text];
    }
  }
}

interface PlacedValue {
  readonly place: string;
  readonly value: unknown;
}

/** What stands at a path; an item of a list is placed by its name if it has one (then its order does not count). */
function* valuesAt(value: unknown, path: readonly string[], place: string): Generator<PlacedValue> {
  if (value === undefined) return;
  const [step, ...rest] = path;
  if (step === undefined) {
    yield { place, value };
    return;
  }
  const [key = '', many] = step.split(/(?=\[\]|\{\})/);
  const below = memberOf(value, key);
  const placed = `${place}.${key}`;
  if (many === undefined) yield* valuesAt(below, rest, placed);
  else if (Array.isArray(below)) {
    for (const [index, item] of below.entries()) {
      const name = memberOf(item, 'name');
      yield* valuesAt(item, rest, `${placed}[${typeof name === 'string' ? name : index}]`);
    }
  } else if (typeof below === 'object' && below !== null) {
    for (const [entry, item] of Object.entries(below)) yield* valuesAt(item, rest, `${placed}{${entry}}`);
  }
}

/** A key of the file whose value is another one. */
export interface Difference {
  readonly key: string;
  readonly change: ChangeClass;
}

/** What differs between two configurations, defaults filled in: the same value written out is no difference. */
export function differences(old: Configuration, next: Configuration): Difference[] {
  const found: Difference[] = [];
  const compare = (row: string, key: string, left: unknown, right: unknown): void => {
    if (isDeepStrictEqual(left, right)) return;
    found.push({ key, change: classOf(row) });
  };
  compare(renderedByKey, renderedByKey, old.renderedBy, next.renderedBy);
  for (const { component, section, urlsKey } of componentSections) {
    const [left, right] = [old.components.get(component), next.components.get(component)];
    const place = `storage.${section}`;
    compare(sectionKey(urlsPlaceholder), `${place}.${urlsKey}`, urlsOf(left), urlsOf(right));
    if (left === undefined || right === undefined) continue;
    compare(sectionKey(strategyKey), `${place}.${strategyKey}`, left.distributionStrategy, right.distributionStrategy);
    compare(sectionKey(affinityKey), `${place}.${affinityKey}`, left.collectionAffinity, right.collectionAffinity);
  }
  for (const [key, name] of Object.entries(walKeys)) {
    const path = `storage.${walSection.section}.${key}`;
    compare(path, path, old.wal[name], next.wal[name]);
  }
  const [oldOptions, nextOptions] = [optionsByUrl(old), optionsByUrl(next)];
  for (const [url, { written, options }] of nextOptions) {
    const before = oldOptions.get(url);
    if (before === undefined) continue;
    for (const [key, name] of Object.entries(urlOptionKeys)) {
      const path = pathOfKey(pathOfKey(`storage.${urlOptionsKey}`, written), key);
      compare(`storage.${urlOptionsKey}.${urlPlaceholder}.${key}`, path, before.options[name], options[name]);
    }
  }
  return found;
}

/**
 * What is in force in a process that runs under `old` once it has taken the hot part of `next`: the rest stays, and
 * with it what a component or URL has that only one of the two knows.
 */
export function withHot(old: Configuration, next: Configuration): Configuration {
  const hot = Object.entries(walKeys).filter(([key]) => classOf(`storage.${walSection.section}.${key}`) === 'hot');
  const taken: Partial<WalConfiguration> = Object.fromEntries(hot.map(([, name]) => [name, next.wal[name]]));
  const { distributionStrategy } = next.wal;
  const wal = { ...old.wal, ...taken, distributionStrategy };
  const configured = Array.from(old.components, ([component, values]) => {
    const strategy = next.components.get(component)?.distributionStrategy ?? values.distributionStrategy;
    return [component, component === 'wal' ? wal : { ...values, distributionStrategy: strategy }] as const;
  });
  return { ...old, wal, components: new Map(configured), renderedBy: next.renderedBy };
}

function classOf(key: string): ChangeClass {
  return changes.find((row) => row.key === key)?.change ?? 'restart';
}

function urlsOf(component: ComponentConfiguration | undefined): readonly string[] {
  return component?.urls.map(({ url }) => url) ?? [];
}

/** The options of every URL, by its canonical form: how it is written may change. */
function optionsByUrl({ components: configured, urlOptions }: Configuration): Map<string, WrittenOptions> {
  const urls = [...configured.values()].flatMap((component) => component.urls);
  return new Map(urls.map(({ url, written }) => [url, { written, options: urlOptions.get(written) ?? {} }]));
}

interface WrittenOptions {
  readonly written: string;
  readonly options: UrlOptions;
}

function memberOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null
    ? new Map<string, unknown>(Object.entries(value)).get(name)
    : undefined;
}

/** One text for what is the same: of an object only that it is there, of a list of choices its sorted items. */
function canonical(value: unknown, { isQuantity = false }: ChangeRow): string {
  if (isQuantity && (typeof value === 'string' || typeof value === 'number')) return canonicalQuantity(value);
  if (Array.isArray(value)) return JSON.stringify(value.map(String).toSorted((left, right) => (left < right ? -1 : 1)));
  if (typeof value === 'object' && value !== null) return '{}';
  return JSON.stringify(value) ?? '';
}
