/**
 * The two objects of the API that hold certificates: the Secret, which every replica reads, and `caBundle` in the
 * MutatingWebhookConfiguration. Only the leader writes.
 *
 * | Secret | what becomes of it |
 * |---|---|
 * | none | an error that says what to do: the operator has no right to create one |
 * | empty, as the chart makes it | filled, and marked by our annotation |
 * | with our annotation | ours: its certificates are replaced where they are no good |
 * | with certificates of somebody else's | left alone, with an error that says what to do |
 *
 * Writes are bound to what was read: of two that write at once, one gets a conflict.
 */
import { type ApiClient, ApiError } from '../client.ts';
import { operatorName } from '../desired.ts';
import {
  apiGroup,
  asObject,
  clusterObjectPath,
  type MutatingWebhookConfiguration,
  mutatingWebhookConfigurations,
  objectPath,
  type Secret,
  secrets,
} from '../kubernetes.ts';
import type { SecretData } from './certificates.ts';

export const secretName = 'walstorage-operator-webhook';
const configurationName = 'walstorage-operator';
const webhookName = 'inject.wal.proximadb.io';
/** Whose the certificates in the Secret are. */
const filledByAnnotation = `${apiGroup}/filled-by`;

/** The Secret. Throws an Error with the remedy where there is none. */
export async function readSecret(client: ApiClient, namespace: string, signal: AbortSignal): Promise<Secret> {
  try {
    return asObject<Secret>(await client.get(objectPath(secrets, namespace, secretName), {}, signal));
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) throw error;
    const remedy = 'create it, empty, as an upgrade of the chart does';
    throw new Error(`there is no Secret ${secretName} in namespace ${namespace}: ${remedy}`, { cause: error });
  }
}

/** What a Secret holds. Throws an Error with the remedy if it holds what is not ours. */
export function dataOf(secret: Secret): SecretData {
  if (!isOurs(secret) && Object.values(secret.data ?? {}).some((value) => value !== '')) {
    throw new Error(
      `Secret ${secretName} in namespace ${secret.metadata.namespace} has content that is not the operator's, which ` +
        'leaves it alone: empty it, or mount it and name the directory with --tls-dir',
    );
  }
  const decoded = (key: keyof SecretData): string => Buffer.from(secret.data?.[key] ?? '', 'base64').toString();
  return {
    'tls.crt': decoded('tls.crt'),
    'tls.key': decoded('tls.key'),
    'next.crt': decoded('next.crt'),
    'next.key': decoded('next.key'),
    'ca.crt': decoded('ca.crt'),
  };
}

function isOurs({ metadata }: Secret): boolean {
  return metadata.annotations?.[filledByAnnotation] === operatorName;
}

/** Replaces what our keys of the Secret hold; it must be as it was read. */
export async function writeSecret(
  client: ApiClient,
  read: Secret,
  data: SecretData,
  signal: AbortSignal,
): Promise<void> {
  const { metadata } = read;
  const encoded = Object.entries(data).map(([key, value]) => [key, Buffer.from(String(value)).toString('base64')]);
  const secret = {
    ...read,
    metadata: { ...metadata, annotations: { ...metadata.annotations, [filledByAnnotation]: operatorName } },
    data: { ...read.data, ...Object.fromEntries(encoded) },
  };
  await client.replace(objectPath(secrets, metadata.namespace, secretName), secret, signal);
}

/** `caBundle` as it is, and the object that it is in. */
export interface Published {
  readonly uid: string;
  /** PEM; empty where there is none. */
  readonly bundle: string;
}

/** Reads `caBundle`. Throws an Error with the remedy where our webhook is not configured. */
export async function readBundle(client: ApiClient, signal: AbortSignal): Promise<Published> {
  const path = clusterObjectPath(mutatingWebhookConfigurations, configurationName);
  const { metadata, webhooks } = asObject<MutatingWebhookConfiguration>(await client.get(path, {}, signal));
  const webhook = webhooks?.find(({ name }) => name === webhookName);
  if (webhook === undefined) {
    throw new Error(
      `MutatingWebhookConfiguration ${configurationName} has no webhook ${webhookName}: no pod gets its sidecar; ` +
        'install the chart again',
    );
  }
  return { uid: metadata.uid, bundle: Buffer.from(webhook.clientConfig.caBundle ?? '', 'base64').toString() };
}

/** Sets `caBundle`, and nothing else, in the object that was read. */
export async function writeBundle(
  client: ApiClient,
  { uid }: Published,
  bundle: string,
  signal: AbortSignal,
): Promise<void> {
  const object = {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingWebhookConfiguration',
    metadata: { name: configurationName, uid },
    webhooks: [{ name: webhookName, clientConfig: { caBundle: Buffer.from(bundle).toString('base64') } }],
  };
  const path = clusterObjectPath(mutatingWebhookConfigurations, configurationName);
  await client.apply(path, operatorName, object, signal);
}
