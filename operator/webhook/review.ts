/** AdmissionReview v1 as the API server sends it, and the answer: only the fields that are used here. */
import type { AdmittedPod } from '../injection/pod.ts';
import type { PatchOperation } from './patch.ts';

export interface AdmissionRequest {
  /** Comes back in the answer. */
  readonly uid: string;
  readonly namespace: string;
  /** The pod that is to be created; undefined where the request is about anything else. */
  readonly pod: AdmittedPod | undefined;
}

export type Verdict =
  | { readonly patch: readonly PatchOperation[]; readonly warnings: readonly string[] }
  /** `code`: 403 for what the user can mend, 503 for what passes by itself. */
  | { readonly refusal: string; readonly code: 403 | 503 };

const apiVersion = 'admission.k8s.io/v1';
const kind = 'AdmissionReview';
/** A DNS label. Anybody may send a review, and its namespace becomes part of the path of a request. */
const namespacePattern = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

/** A body that is no AdmissionReview which can be answered. The message holds nothing of it (R7). */
export class ReviewError extends Error {
  override readonly name = 'ReviewError';
}

/** A decoded body as a request. Throws a ReviewError if it is none. */
export function asAdmissionRequest(body: unknown): AdmissionRequest {
  const review = fieldsOf(body);
  if (review['apiVersion'] !== apiVersion || review['kind'] !== kind) {
    throw new ReviewError(`the body is no ${kind} of ${apiVersion}`);
  }
  const { uid, namespace, operation, kind: of, subResource, object } = fieldsOf(review['request']);
  if (typeof uid !== 'string' || uid === '') throw new ReviewError(`the ${kind} has no request with a uid`);
  const { group, version, kind: objectKind } = fieldsOf(of);
  const isPod = group === '' && version === 'v1' && objectKind === 'Pod';
  const isCreated = operation === 'CREATE' && (subResource === undefined || subResource === '');
  if (!isPod || !isCreated) return { uid, namespace: '', pod: undefined };
  if (typeof namespace !== 'string' || !namespacePattern.test(namespace) || !isPodObject(object)) {
    throw new ReviewError(`the ${kind}'s request to create a Pod has no namespace or no object that is a Pod`);
  }
  return { uid, namespace, pod: object };
}

/** The answer to a request. */
export function reviewOf(uid: string, verdict: Verdict): object {
  if ('refusal' in verdict) {
    const { refusal: message, code } = verdict;
    const reason = code === 403 ? 'Forbidden' : 'ServiceUnavailable';
    const status = { status: 'Failure', reason, code, message };
    return { apiVersion, kind, response: { uid, allowed: false, status } };
  }
  const { patch, warnings } = verdict;
  const patched =
    patch.length === 0 ? {} : { patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(patch)).toString('base64') };
  return {
    apiVersion,
    kind,
    response: { uid, allowed: true, ...(warnings.length === 0 ? {} : { warnings }), ...patched },
  };
}

/** The rest of its form is the API server's word. */
function isPodObject(value: unknown): value is AdmittedPod {
  const { metadata, spec } = fieldsOf(value);
  return isRecord(metadata) && isRecord(spec) && Array.isArray(spec['containers']);
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {};
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
