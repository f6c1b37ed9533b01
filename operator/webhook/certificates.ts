/**
 * The webhook's certificates: what stands in their Secret and in `caBundle`, and what the leader does next. Pure.
 *
 * A generation is an authority and the one certificate that it ever signed: its key is thrown away at once, so that nothing
 * in the cluster can sign another. A rotation never lets a request fail:
 *
 *     issue    the next generation is made; its authority joins those in `ca.crt`
 *     publish  `caBundle` becomes `ca.crt`
 *     promote  after a while, in which every API server has seen that: replicas serve with the next pair
 *     mend     an authority leaves when it has expired, not before: a replica may have fallen behind
 *
 * | key of the Secret | holds |
 * |---|---|
 * | `tls.crt`, `tls.key` | what replicas serve with; empty until the first authority is published |
 * | `next.crt`, `next.key` | what they will serve with, while its authority is being published |
 * | `ca.crt` | the authorities that `caBundle` must hold, newest first |
 *
 * Authorities that `caBundle` holds and `ca.crt` lacks are taken over: where the Secret was lost or edited, replicas still
 * serve what it held. To revoke a stolen key, delete the Secret and empty `caBundle`.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';

/** A certificate and its private key, PEM. */
export interface Pair {
  readonly certificate: string;
  readonly key: string;
}

/** A pair and the authority that signed it. */
export interface Generation {
  readonly pair: Pair;
  /** PEM. */
  readonly authority: string;
}

/** The Secret's data, decoded; what is absent is empty. */
export interface SecretData {
  readonly 'tls.crt': string;
  readonly 'tls.key': string;
  readonly 'next.crt': string;
  readonly 'next.key': string;
  readonly 'ca.crt': string;
}

export const noData: SecretData = { 'tls.crt': '', 'tls.key': '', 'next.crt': '', 'next.key': '', 'ca.crt': '' };

export interface Lifetimes {
  /** How long a certificate is valid. */
  readonly validMs: number;
  /** So long before its making it begins to be valid: clocks differ. It is also trusted so long after its end. */
  readonly skewMs: number;
  /** How long `caBundle` has held an authority before anybody serves with what it signed. */
  readonly settleMs: number;
}

const dayMs = 24 * 60 * 60_000;

/** A new one each 60 days: what happens that often works, and a cluster may sleep for a month. */
export const defaultLifetimes: Lifetimes = { validMs: 90 * dayMs, skewMs: 60 * 60_000, settleMs: 60_000 };

/** When so much of its time is over, the next one is made. */
const renewAfter = 2 / 3;

/** R5: authorities in `caBundle`, the newest. Two are the rule, three while rotating. */
const authoritiesMax = 8;

export interface CertificateState {
  readonly data: SecretData;
  /** `caBundle`, PEM; empty where it holds nothing. */
  readonly bundle: string;
  /** How long the leader has seen `caBundle` as it is, without a change. */
  readonly publishedMs: number;
  /** Host names and IP addresses that the certificate must be valid for. */
  readonly names: readonly string[];
}

export type Step =
  /** Make a generation, and write the Secret with it as the next one (`withNext`). */
  | { readonly step: 'issue'; readonly why: string; readonly base: SecretData }
  | { readonly step: 'mend' | 'promote'; readonly data: SecretData }
  | { readonly step: 'publish'; readonly bundle: string }
  /** Nothing to do now; look again in so many milliseconds at the latest. */
  | { readonly step: 'wait'; readonly forMs: number };

/** What the leader does next; `now` is in milliseconds of the wall clock. Carried out again and again, it comes to `wait`. */
export function plan(state: CertificateState, now: number, lifetimes: Lifetimes): Step {
  const { data, bundle } = state;
  const authorities = authoritiesOf(state, now, lifetimes);
  const usable = (pair: Pair): boolean => flawOf(pair, authorities, state.names, now) === undefined;
  const next = usable(nextPair(data)) ? nextPair(data) : undefined;
  const serving = usable(servingPair(data)) ? servingPair(data) : undefined;
  const base = dataOf(serving, next, authorities);
  const why = next === undefined ? whyIssue(state, authorities, now, lifetimes) : undefined;
  if (why !== undefined) return { step: 'issue', why, base };
  if (!isSame(base, data)) return { step: 'mend', data: base };
  if (normal(bundle) !== base['ca.crt']) return { step: 'publish', bundle: base['ca.crt'] };
  if (next === undefined) return { step: 'wait', forMs: renewalMs(servingPair(data), lifetimes) - now };
  // Where nobody is trusted but the next one, nobody can be refused for serving with it.
  const settledInMs = authorities.length === 1 ? 0 : lifetimes.settleMs - state.publishedMs;
  if (settledInMs > 0) return { step: 'wait', forMs: settledInMs };
  return { step: 'promote', data: dataOf(next, undefined, authorities) };
}

/** The Secret's data with a new generation as the next one. */
export function withNext(base: SecretData, { pair, authority }: Generation): SecretData {
  const authorities = [normal(authority), base['ca.crt']].filter((text) => text !== '').join('\n');
  return { ...base, 'next.crt': normal(pair.certificate), 'next.key': pair.key, 'ca.crt': authorities };
}

/** What replicas serve with, as the Secret has it; both parts empty where it has none. */
export function servingPair(data: SecretData): Pair {
  return { certificate: data['tls.crt'], key: data['tls.key'] };
}

function nextPair(data: SecretData): Pair {
  return { certificate: data['next.crt'], key: data['next.key'] };
}

/** Why no server can use a pair, for people; undefined if one can. The key is never part of it (R7). */
export function pairFlaw({ certificate, key }: Pair): string | undefined {
  if (certificate === '' || key === '') return 'the certificate or its key is missing';
  const [leaf] = certificatesOf(certificate);
  if (leaf === undefined) return 'the certificate is no PEM';
  try {
    return leaf.checkPrivateKey(createPrivateKey(key)) ? undefined : "the key is not the certificate's";
  } catch {
    return 'the key is no PEM';
  }
}

/** When a certificate ends, in milliseconds of the wall clock; undefined where it cannot be read. */
export function expiryMs({ certificate }: Pair): number | undefined {
  return certificatesOf(certificate)[0]?.validToDate.getTime();
}

/** Why a generation is to be made, where no next one waits; undefined if none is. */
function whyIssue(
  state: CertificateState,
  authorities: readonly X509Certificate[],
  now: number,
  lifetimes: Lifetimes,
): string | undefined {
  const pair = servingPair(state.data);
  if (isSame(state.data, noData)) return 'there is none';
  const flaw = flawOf(pair, authorities, state.names, now);
  if (flaw !== undefined) return flaw;
  return now >= renewalMs(pair, lifetimes) ? 'two thirds of its time are over' : undefined;
}

/** Why the API server would not trust a server with this pair. */
function flawOf(
  pair: Pair,
  authorities: readonly X509Certificate[],
  names: readonly string[],
  now: number,
): string | undefined {
  const flaw = pairFlaw(pair);
  if (flaw !== undefined) return flaw;
  const leaf = new X509Certificate(pair.certificate);
  const wrong = names.find((name) => (isIP(name) === 0 ? leaf.checkHost(name) : leaf.checkIP(name)) === undefined);
  if (wrong !== undefined) return `the certificate is not valid for ${wrong}`;
  if (leaf.validToDate.getTime() <= now) return 'the certificate has expired';
  const isSigned = authorities.some((authority) => hasSigned(authority, leaf));
  return isSigned ? undefined : 'the authority of the certificate is missing';
}

function hasSigned(authority: X509Certificate, leaf: X509Certificate): boolean {
  return leaf.checkIssued(authority) && leaf.verify(authority.publicKey);
}

function renewalMs(pair: Pair, { validMs }: Lifetimes): number {
  return (expiryMs(pair) ?? 0) - validMs * (1 - renewAfter);
}

/**
 * The authorities of Secret and `caBundle` that have not expired, each once: first those of the pairs that the Secret holds,
 * then the newest, at most `authoritiesMax`.
 */
function authoritiesOf({ data, bundle }: CertificateState, now: number, { skewMs }: Lifetimes): X509Certificate[] {
  const found = certificatesOf(`${data['ca.crt']}\n${bundle}`);
  const distinct = new Map(found.map((certificate) => [certificate.fingerprint256, certificate]));
  const leaves = certificatesOf(`${data['tls.crt']}\n${data['next.crt']}`);
  const rank = (authority: X509Certificate): number => (leaves.some((leaf) => hasSigned(authority, leaf)) ? 0 : 1);
  return [...distinct.values()]
    .filter(({ validToDate }) => validToDate.getTime() + skewMs > now)
    .toSorted((a, b) => rank(a) - rank(b) || b.validFromDate.getTime() - a.validFromDate.getTime())
    .slice(0, authoritiesMax);
}

const pemCertificate = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** The certificates in a text; what is none is left out. */
function certificatesOf(text: string): X509Certificate[] {
  return [...text.matchAll(pemCertificate)].flatMap(([pem]) => {
    try {
      return new X509Certificate(pem);
    } catch {
      return [];
    }
  });
}

/** The certificates in a text, in one form: texts that are equal then hold the same. */
function normal(text: string): string {
  return joined(certificatesOf(text));
}

function joined(certificates: readonly X509Certificate[]): string {
  return certificates.map((certificate) => certificate.toString().trim()).join('\n');
}

function dataOf(
  serving: Pair | undefined,
  next: Pair | undefined,
  authorities: readonly X509Certificate[],
): SecretData {
  return {
    'tls.crt': serving?.certificate ?? '',
    'tls.key': serving?.key ?? '',
    'next.crt': next?.certificate ?? '',
    'next.key': next?.key ?? '',
    'ca.crt': joined(authorities),
  };
}

function isSame(a: SecretData, b: SecretData): boolean {
  return (
    a['tls.crt'] === b['tls.crt'] &&
    a['tls.key'] === b['tls.key'] &&
    a['next.crt'] === b['next.crt'] &&
    a['next.key'] === b['next.key'] &&
    a['ca.crt'] === b['ca.crt']
  );
}
