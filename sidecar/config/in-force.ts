/**
 * What is in force in a running process, and what of the newest file is not (O6). Pure: files come in, the rest is asked for.
 *
 * | the newest file | in force | `hash` | told |
 * |---|---|---|---|
 * | is bad | what was | as it was | `error` |
 * | differs in nothing, or in what is hot or the operator's own | the file | the file's | |
 * | differs in what needs a restart, too | its hot part, and what was | as it was: the file is not in force as a whole | `pendingKeys`, `addedUrls` |
 * | raises the threshold over what the process's memory takes | the rest of its hot part, and what was | as it was | `pendingKeys` |
 * | was read at the start, and URLs of it wait for mounts | all but them | empty: no file is in force as a whole | those URLs are Pending |
 *
 * A URL that was removed stays in use until the process ends; one that was added is Pending until then.
 */
import type { Component } from '../assignment/assignment.ts';
import { shortened } from '../shortened.ts';
import { type Difference, differences, withHot } from './changes.ts';
import type { Configuration } from './configuration.ts';
import { walSection } from './keys.ts';
import { type Parsed, refuseUnsupported } from './parse.ts';
import { format } from './problem.ts';
import type { StorageUrl } from './storage-url.ts';

/** R5: of what the status shows of a bad file, in bytes. */
const errorBytesMax = 1024;

/** A URL of the newest file that this process does not have. */
export interface AddedUrl {
  readonly component: Component;
  readonly url: StorageUrl;
}

/** What a new file changed. */
export interface Taken {
  /** Keys whose new values are in force from now on. */
  readonly hot: readonly string[];
  /** Keys that wait for a restart and did not before. */
  readonly pending: readonly string[];
  /** Why sizes are among them, though they are hot: a sentence with the remedy; absent where they are not. */
  readonly memoryProblem?: string;
}

export interface StartedWith {
  readonly configuration: Configuration;
  /** Of that file. */
  readonly hash: string;
  /** Its URLs that wait for mounts of the pod (O5). */
  readonly waitingUrls: readonly string[];
  /** The largest threshold that a running process may be given: its memory is limited. */
  readonly thresholdBytesMax: number;
}

export class ConfigurationInForce {
  /** The configuration that the process goes by. */
  configuration: Configuration;
  /** Of the file that is in force as a whole; empty where none is. */
  hash: string;
  /** Why the newest file is not in force; empty where it holds. At most `errorBytesMax`, no secrets. */
  error = '';
  /** Keys of the newest file whose values wait for a restart. */
  pendingKeys: readonly string[] = [];
  addedUrls: readonly AddedUrl[] = [];
  readonly #startedWith: StartedWith;

  constructor(startedWith: StartedWith) {
    this.#startedWith = startedWith;
    this.configuration = startedWith.configuration;
    this.hash = startedWith.waitingUrls.length === 0 ? startedWith.hash : '';
  }

  /** Takes the newest file. Undefined: it is bad, `error` says why, and all else stays as it was. */
  take({ configuration: next, hash, problems }: Parsed): Taken | undefined {
    const refused = next === undefined ? problems : refuseUnsupported(next);
    if (next === undefined || refused.length > 0) {
      this.error = shortened(format(refused).trim().replaceAll('\n', ' | '), errorBytesMax);
      return undefined;
    }
    const { waitingUrls } = this.#startedWith;
    const [known, wanted] = [without(waitingUrls, this.configuration), without(waitingUrls, next)];
    const found = differences(known, wanted);
    const held = this.#isTooLarge(next) ? sizeKeys : [];
    const isHot = ({ key, change }: Difference): boolean => change === 'hot' && !held.includes(key);
    const waiting = found.filter((difference) => !isHot(difference) && difference.change !== 'operator');
    const before = this.pendingKeys;
    this.error = '';
    this.pendingKeys = waiting.map(({ key }) => key);
    this.addedUrls = addedUrls(known, wanted);
    this.configuration = withHot(this.configuration, held.length > 0 ? withSizesOf(this.configuration, next) : next);
    const isWhole = this.pendingKeys.length === 0 && urlsOf(wanted).length === urlsOf(next).length;
    if (isWhole) this.hash = hash;
    const hot = found.filter(isHot).map(({ key }) => key);
    const pending = this.pendingKeys.filter((key) => !before.includes(key));
    return held.length === 0 ? { hot, pending } : { hot, pending, memoryProblem: this.#memoryProblem(next) };
  }

  #memoryProblem({ wal }: Configuration): string {
    const { thresholdBytesMax } = this.#startedWith;
    const rule = `global_flush_threshold = ${wal.globalFlushThresholdBytes} is over the ${thresholdBytesMax} bytes that the memory limit of this process holds`;
    return `${rule}: raise the limit, which needs a restart, or lower the threshold`;
  }

  /** Whether the file raises the threshold over what this process's memory takes: it would be killed. */
  #isTooLarge({ wal }: Configuration): boolean {
    const { globalFlushThresholdBytes } = this.configuration.wal;
    const { thresholdBytesMax } = this.#startedWith;
    return wal.globalFlushThresholdBytes > Math.max(globalFlushThresholdBytes, thresholdBytesMax);
  }
}

/** The two go together: the threshold is at least twice the flush size. */
const sizeKeys: readonly string[] = ['memory_flush_size_bytes', 'global_flush_threshold'].map(
  (key) => `storage.${walSection.section}.${key}`,
);

function withSizesOf({ wal }: Configuration, next: Configuration): Configuration {
  const { memoryFlushSizeBytes, globalFlushThresholdBytes } = wal;
  return { ...next, wal: { ...next.wal, memoryFlushSizeBytes, globalFlushThresholdBytes } };
}

/** The configuration without these URLs. */
function without(left: readonly string[], configuration: Configuration): Configuration {
  const kept = (urls: readonly StorageUrl[]): StorageUrl[] => urls.filter(({ url }) => !left.includes(url));
  const configured = Array.from(configuration.components, ([component, values]) => {
    return [component, { ...values, urls: kept(values.urls) }] as const;
  });
  return { ...configuration, components: new Map(configured) };
}

function urlsOf({ components: configured }: Configuration): AddedUrl[] {
  return Array.from(configured).flatMap(([component, { urls }]) => urls.map((url) => ({ component, url })));
}

function addedUrls(old: Configuration, next: Configuration): AddedUrl[] {
  const known = new Set(urlsOf(old).map(({ component, url }) => `${component} ${url.url}`));
  return urlsOf(next).filter(({ component, url }) => !known.has(`${component} ${url.url}`));
}
