/**
 * What a Secret for an object store must hold (interfaces, section 6), and what is wrong with one: pure, and in words that
 * name keys and never a value (R7).
 *
 * | scheme | keys | optional |
 * |---|---|---|
 * | s3 | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` | `AWS_SESSION_TOKEN` |
 * | gcs | `key.json` | |
 * | adls | one of `AZURE_STORAGE_KEY`, `AZURE_STORAGE_SAS_TOKEN`, or `AZURE_TENANT_ID` + `AZURE_CLIENT_ID` + `AZURE_CLIENT_SECRET` | |
 */
import { parseJsonObject } from '../assignment/json-object.ts';
import { closest } from '../config/problem.ts';
import type { StorageUrl } from '../config/storage-url.ts';

export type StoreScheme = Exclude<StorageUrl['scheme'], 'file'>;

/** Sets of keys, of which a Secret holds exactly one, and keys that may stand beside them. */
interface SecretForm {
  readonly alternatives: readonly (readonly string[])[];
  readonly optional: readonly string[];
}

const serviceAccountKey = 'key.json';

const forms: Readonly<Record<StoreScheme, SecretForm>> = {
  s3: { alternatives: [['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']], optional: ['AWS_SESSION_TOKEN'] },
  gcs: { alternatives: [[serviceAccountKey]], optional: [] },
  adls: {
    alternatives: [
      ['AZURE_STORAGE_KEY'],
      ['AZURE_STORAGE_SAS_TOKEN'],
      ['AZURE_TENANT_ID', 'AZURE_CLIENT_ID', 'AZURE_CLIENT_SECRET'],
    ],
    optional: [],
  },
};

/** What the service account's key file of Google must have to be of use. */
const serviceAccountFields: Readonly<Record<string, readonly string[]>> = {
  service_account: ['client_email', 'private_key'],
};

/** The keys of a Secret; the value of those that the scheme knows, undefined for the others, which are not read. */
export type SecretContent = ReadonlyMap<string, Buffer | undefined>;

/** The keys that are read of a Secret for this scheme. */
export function keysRead(scheme: StoreScheme): readonly string[] {
  const { alternatives, optional } = forms[scheme];
  return [...alternatives.flat(), ...optional];
}

/** What is wrong with the Secret `name`: a sentence with the remedy; undefined if nothing is. */
export function secretProblem(scheme: StoreScheme, name: string, content: SecretContent): string | undefined {
  const { alternatives } = forms[scheme];
  const wanted = alternatives.map((keys) => keys.join(' + ')).join(', or ');
  if (content.size === 0) {
    return `the Secret ${name} does not exist or is empty: create it in the pod's namespace with ${wanted}`;
  }
  const begun = alternatives.filter((keys) => keys.some((key) => content.has(key)));
  const [chosen, ...others] = begun;
  if (chosen === undefined) return `the Secret ${name} lacks ${wanted}${foundInstead(scheme, content)}: add that`;
  if (others.length > 0) {
    const found = begun.flat().filter((key) => content.has(key));
    return `the Secret ${name} has ${found.join(' and ')}, which exclude each other: keep ${wanted}`;
  }
  const missing = chosen.filter((key) => !content.has(key));
  if (missing.length > 0) {
    return `the Secret ${name} lacks ${missing.join(' and ')}${foundInstead(scheme, content)}: add that`;
  }
  const empty = keysRead(scheme).filter((key) => content.get(key)?.toString().trim() === '');
  if (empty.length > 0) return `${empty.join(' and ')} of the Secret ${name} is empty: give it its value`;
  const problem = scheme === 'gcs' ? keyFileProblem(content.get(serviceAccountKey)) : undefined;
  return problem && `${serviceAccountKey} of the Secret ${name} ${problem}: store the key file as Google gives it`;
}

function keyFileProblem(file: Buffer | undefined): string | undefined {
  const key = file && parseJsonObject(file);
  if (key === undefined) return 'is no JSON object';
  const { type } = key;
  if (typeof type !== 'string') return 'has no "type"';
  const lacking = (serviceAccountFields[type] ?? []).filter(
    (field) => typeof key[field] !== 'string' || key[field] === '',
  );
  return lacking.length === 0 ? undefined : `has no ${lacking.map((field) => `"${field}"`).join(' and no ')}`;
}

const namesShownMax = 5;

/** Names of keys that were probably meant. One with digits may be a value in the wrong place, and is not shown. */
function foundInstead(scheme: StoreScheme, content: SecretContent): string {
  const known = keysRead(scheme);
  const others = [...content.keys()].filter((key) => !known.includes(key) && /^[A-Za-z_.-]{1,40}$/.test(key));
  if (others.length === 0) return '';
  const shown = others.slice(0, namesShownMax).map((key) => {
    const near = closest(key.toUpperCase().replaceAll(/[.-]/g, '_'), known, Math.floor(key.length / 3));
    return near === undefined ? key : `${key} (${near} is meant?)`;
  });
  return ` and has ${shown.join(', ')} instead`;
}
