/**
 * Which of a component's configured URLs is what its lists say (E25–E27): a pure judgement over what was read.
 *
 * | at the URL | the lists say | verdict |
 * |---|---|---|
 * | an id | that id, here or elsewhere, or nothing of it nor of this URL | known (a moved directory keeps its id) |
 * | an id | another id at this URL, found nowhere | missing |
 * | an id | the id is forgotten | forgotten |
 * | an id | the same id stands at a second configured URL (a copy) | refused, but for the one that the lists name |
 * | no `_url.json` | nothing of this URL, or its id is found elsewhere | fresh |
 * | no `_url.json` | an id at this URL, found nowhere | missing |
 * | unread | | unread: nothing is known, nothing assumed (R6) |
 */
import type { Component } from './assignment.ts';
import type { NamedUrl, UrlFile } from './url-file.ts';

/** What was read of one configured URL. */
export interface Observation {
  readonly url: string;
  readonly content:
    | { readonly kind: 'file'; readonly file: UrlFile }
    | { readonly kind: 'none' }
    /** In a pod, outside its mounts (O5): nothing can be there. */
    | { readonly kind: 'pending' }
    | { readonly kind: 'unread'; readonly reason: string };
}

export interface Verdict {
  readonly kind: 'known' | 'fresh' | 'missing' | 'forgotten' | 'refused' | 'unread' | 'pending';
  /** A sentence with the remedy; empty when known, fresh or pending. */
  readonly reason: string;
}

export interface Judgement {
  /** In the order of the observations. */
  readonly verdicts: readonly Verdict[];
  /** Named in a list, but under no configured URL (E26). */
  readonly removed: readonly NamedUrl[];
  /** All ids that a list names, with their URLs as of now. */
  readonly named: ReadonlyMap<string, string>;
  readonly forgotten: ReadonlySet<string>;
  readonly affinityWasFalse: boolean;
}

/** Judges all URLs of a component at once. */
export function judge(component: Component, observations: readonly Observation[]): Judgement {
  const files = observations.flatMap(({ content }) => (content.kind === 'file' ? [content.file] : []));
  const forgotten = new Set(files.flatMap((file) => file.forgotten));
  const heeded = files.filter((file) => file.component === component && !forgotten.has(file.id));
  const lists = new Map<string, string>();
  for (const { id, url } of heeded.flatMap((file) => file.others)) if (!forgotten.has(id)) lists.set(id, url);

  const found = new Map<string, string[]>();
  for (const { url, content } of observations) {
    if (content.kind === 'file') found.set(content.file.id, [...(found.get(content.file.id) ?? []), url]);
  }
  const evidence: Evidence = { component, lists, found, forgotten };
  const verdicts = observations.map((observation) => judgeOne(observation, evidence));
  const named = new Map(Array.from(lists, ([id, url]) => [id, onlyUrl(found.get(id)) ?? url]));
  // A configured URL that is Missing, unread or refused answers itself for the id that the lists expect there.
  const answered = observations.filter((_, place) =>
    ['missing', 'unread', 'refused'].includes(verdicts[place]?.kind ?? ''),
  );
  const answeredUrls = new Set(answered.map((observation) => observation.url));
  const lost = Array.from(lists, ([id, url]) => ({ id, url })).filter(({ id }) => !found.has(id));
  const removed = lost.filter(({ url }) => !answeredUrls.has(url));
  return { verdicts, removed, named, forgotten, affinityWasFalse: heeded.some((file) => file.affinityWasFalse) };
}

interface Evidence {
  readonly component: Component;
  /** By id: the URL that the lists name. */
  readonly lists: ReadonlyMap<string, string>;
  /** By id: the configured URLs where it was read. */
  readonly found: ReadonlyMap<string, readonly string[]>;
  readonly forgotten: ReadonlySet<string>;
}

function judgeOne({ url, content }: Observation, evidence: Evidence): Verdict {
  if (content.kind === 'unread') return { kind: 'unread', reason: content.reason };
  // The id that other URLs know under this URL and that was read nowhere.
  const lost = Array.from(evidence.lists).find(([id, at]) => at === url && !evidence.found.has(id))?.[0];
  if (content.kind !== 'file') {
    if (lost !== undefined) return { kind: 'missing', reason: `${url} ${lostReason(lost, 'holds no _url.json')}` };
    return { kind: content.kind === 'none' ? 'fresh' : 'pending', reason: '' };
  }
  return judgeFile(url, content.file, lost, evidence);
}

function judgeFile(url: string, file: UrlFile, lost: string | undefined, evidence: Evidence): Verdict {
  if (file.component !== evidence.component) {
    const reason = `${url} belongs to the component ${file.component} (its _url.json says so), not to ${evidence.component}: give each component its own directory.`;
    return { kind: 'refused', reason };
  }
  if (evidence.forgotten.has(file.id)) {
    const reason = `${url} holds the id ${file.id}, which was forgotten: it is never read or written again; configure an empty directory instead.`;
    return { kind: 'forgotten', reason };
  }
  const same = evidence.found.get(file.id) ?? [];
  const listed = evidence.lists.get(file.id);
  if (same.length > 1 && !(listed === url)) {
    const others = same.filter((other) => other !== url).join(', ');
    const reason = `${url} holds the id ${file.id}, and so does ${others}: one is a copy; remove the copy from the configuration.`;
    return { kind: 'refused', reason };
  }
  if (listed === undefined && lost !== undefined) {
    return { kind: 'missing', reason: `${url} ${lostReason(lost, `holds the id ${file.id}`)}` };
  }
  return { kind: 'known', reason: '' };
}

function lostReason(id: string, instead: string): string {
  return `should hold the id ${id}, as the component's other URLs know it, but ${instead}: mount the right volume there, or give the lost one up with walstorage forget.`;
}

function onlyUrl(urls: readonly string[] | undefined): string | undefined {
  return urls?.length === 1 ? urls[0] : undefined;
}
