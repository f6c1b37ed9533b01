/**
 * What becomes of a labelled pod that is to be created (O3). Nothing is written or remembered, so that a dry run and a
 * repeated request are like any other.
 *
 *     label ─► WalStorage: cache, else one live GET ─► its spec can be rendered ─► inject ─► places are its own ─► patch
 *
 * Each refusal is a sentence that says what to do: people read it from `kubectl apply`, or in the FailedCreate event of
 * their StatefulSet.
 */
import { restartHash } from '../../sidecar/config/changes.ts';
import { shortened } from '../../sidecar/shortened.ts';
import { inject } from '../injection/inject.ts';
import type { AdmittedPod } from '../injection/pod.ts';
import { storageLabel, type WalStorage } from '../kubernetes.ts';
import { renderSpec } from '../rendering.ts';
import { list } from '../sentence.ts';
import { type Place, sharedPlaces } from '../shared-places.ts';
import { patchOf } from './patch.ts';
import type { AdmissionRequest, Verdict } from './review.ts';

/** What is looked up for a verdict. */
export interface Lookup {
  /** Whether the operator looks after this namespace. */
  isWatched(namespace: string): boolean;
  /** From the cache, else by a request; undefined if there is none. Rejects if that could not be found out. */
  storage(namespace: string, name: string): Promise<WalStorage | undefined>;
  /** Of the WalStorages in a namespace, as far as known. */
  names(namespace: string): readonly string[];
  /** Another pod, `namespace/name`, that writes to a place. */
  holderOf(place: Place, butFor: string): string | undefined;
}

export interface AdmissionSettings {
  /** The sidecar's image where the WalStorage names none. */
  readonly image: string;
  readonly operatorVersion: string;
}

/** R5: a refusal repeats names and URLs, for each container and URL; an event shows 1 KiB of it. */
const refusalBytesMax = 8 * 1024;
/** What no WalStorage is named (the CRD) isn't asked for: it would be part of a path. */
const namePattern = /^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$/;

/** The verdict on a request; never rejects for what the request or the WalStorage is. */
export async function admit(request: AdmissionRequest, lookup: Lookup, settings: AdmissionSettings): Promise<Verdict> {
  const { pod, namespace } = request;
  const name = pod?.metadata.labels?.[storageLabel];
  if (pod === undefined || name === undefined) return { patch: [], warnings: [] };
  if (!lookup.isWatched(namespace)) return refused(notWatched(name, namespace));
  let storage: WalStorage | undefined;
  try {
    storage = namePattern.test(name) ? await lookup.storage(namespace, name) : undefined;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return {
      refusal: `WalStorage ${name} in namespace ${namespace} could not be looked up (${why}); it is tried again.`,
      code: 503,
    };
  }
  if (storage === undefined) return refused(noStorage(name, namespace, lookup.names(namespace)));
  return verdictOn(pod, namespace, storage, lookup, settings);
}

function verdictOn(
  pod: AdmittedPod,
  namespace: string,
  storage: WalStorage,
  lookup: Lookup,
  { image, operatorVersion }: AdmissionSettings,
): Verdict {
  const problems = problemsOf(storage, operatorVersion);
  if (problems !== undefined) return refused(problems);
  const injected = inject(pod, storage, { image, restartHash: restartHash(storage.spec) });
  if ('refusal' in injected) return refused(injected.refusal);
  const taken = takenPlaces(pod, namespace, storage, lookup);
  if (taken.length > 0) return refused(taken.join(' '));
  return { patch: patchOf(pod, injected.pod), warnings: injected.warnings };
}

function refused(refusal: string): Verdict {
  return { refusal: shortened(refusal, refusalBytesMax), code: 403 };
}

function noStorage(name: string, namespace: string, there: readonly string[]): string {
  const remedy = `create it, or correct the label ${storageLabel} of the pod template.`;
  const what = name === '' ? `the label ${storageLabel} names no WalStorage` : `no WalStorage ${name}`;
  return `${what} in namespace ${namespace}: ${remedy}${there.length === 0 ? '' : ` There: ${list(there.toSorted())}.`}`;
}

function notWatched(name: string, namespace: string): string {
  return (
    `WalStorage ${name} cannot be used: the operator does not look after namespace ${namespace}. Add it to the ` +
    `operator's namespaces (the chart's value namespaces, its flag --namespace), or remove the label ${storageLabel} ` +
    'from the pod template.'
  );
}

/** By spec, which is a new object whenever it has changed: a rendering takes longer than all else here. */
const rendered = new WeakMap<WalStorage['spec'], string | undefined>();

/** Why a sidecar would refuse what is rendered from a spec, with the remedy; undefined where it would not. */
function problemsOf({ metadata, spec }: WalStorage, operatorVersion: string): string | undefined {
  if (rendered.has(spec)) return rendered.get(spec);
  const outcome = renderSpec(spec, [], operatorVersion);
  const problems =
    'problems' in outcome
      ? `the spec of WalStorage ${metadata.name} cannot be used: correct it first. ${outcome.problems}`
      : undefined;
  rendered.set(spec, problems);
  return problems;
}

/** A sentence for each place of the pod where another writes already. Without a name it has none that others could have. */
function takenPlaces(pod: AdmittedPod, namespace: string, storage: WalStorage, lookup: Lookup): string[] {
  const { name } = pod.metadata;
  if (name === undefined || name === '') return [];
  const placed = { metadata: { name, namespace }, spec: pod.spec };
  return sharedPlaces(placed, storage).flatMap((place) => {
    const holder = lookup.holderOf(place, `${namespace}/${name}`);
    if (holder === undefined) return [];
    const [itsNamespace, itsName] = holder.split('/');
    const { component, url } = place;
    return (
      `${url} (${component} of WalStorage ${storage.metadata.name}) is where pod ${itsName} of namespace ${itsNamespace} ` +
      'writes already, and a log has one writer: give this WalStorage a directory of its own, or have ' +
      '${POD_NAMESPACE} and ${POD_NAME} in the URL.'
    );
  });
}
