/**
 * A storage URL: expanded, checked, and brought into one canonical form a scheme, so that two URLs name the same place
 * exactly if their texts are equal.
 *
 *   written                                                      canonical
 *   file:///abs/path                                             file:///abs/path
 *   s3://bucket[/prefix]                                         s3://bucket[/prefix]
 *   gcs://bucket[/prefix], gs://bucket[/prefix]                  gcs://bucket[/prefix]
 *   adls://account[.dfs.core.windows.net]/container[/path]       adls://account.dfs.core.windows.net/container[/path]
 *   abfs[s]://container@account.dfs.core.windows.net[/path]      the same
 *
 * `${NAME}` is replaced from the environment, once; what comes out is taken literally. Schemes and host names become
 * lower case, doubled and trailing slashes go. Refused: `.` and `..`, percent-escapes (they would give one place two
 * names), a query or fragment (there secrets travel), a `$` without braces, white space but inner spaces of a name,
 * control and invisible characters, credentials, more than 1024 characters.
 */
import { namesSecret, nearMiss } from './problem.ts';

export interface StorageUrl {
  /** As it stands in the file, before `${}` expansion: the key of `url_options`. */
  readonly written: string;
  /** Expanded and normalised (no trailing slash, one form a scheme): what is shown, compared and hashed. */
  readonly url: string;
  readonly scheme: 'file' | 's3' | 'adls' | 'gcs';
  /** file: the absolute directory. Object stores: the prefix, possibly empty. */
  readonly path: string;
  /** Object stores: the bucket or container. */
  readonly bucket?: string;
  /** adls: the account's host name. */
  readonly host?: string;
}

/** One rule that a URL breaks, and what to write instead. */
export interface UrlProblem {
  readonly problem: string;
  readonly remedy: string;
}

export type ParsedUrl = { readonly url: StorageUrl } | { readonly problems: readonly UrlProblem[] };

/** R5: written, and expanded. */
export const urlCharactersMax = 1024;

const azureDomain = 'dfs.core.windows.net';

const schemes: Readonly<Record<string, (place: Place) => Omit<StorageUrl, 'written'> | UrlProblem>> = {
  file: parseFile,
  s3: (place) => parseBucket(place, 's3', /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/),
  gcs: (place) => parseBucket(place, 'gcs', /^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$/),
  gs: (place) => parseBucket(place, 'gcs', /^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$/),
  adls: parseAdls,
  abfs: parseAbfs,
  abfss: parseAbfs,
};
const schemeList = 'file, s3, adls, abfs, abfss, gcs or gs';

/** What stands after `scheme://`: up to the first slash, and the names after it. */
interface Place {
  readonly scheme: string;
  readonly authority: string;
  readonly segments: readonly string[];
}

/** The URL, or every rule that it breaks. The problems name no value of the environment, and no credentials. */
export function parseStorageUrl(written: string, environment: Readonly<Record<string, string | undefined>>): ParsedUrl {
  if (written === '')
    return { problems: [{ problem: 'is empty', remedy: 'write a URL, such as file:///mnt/nvme1/wal' }] };
  if (written.length > urlCharactersMax) return { problems: [tooLong(written.length)] };
  const expansion = expand(written, environment);
  if (expansion.problems.length > 0) return { problems: expansion.problems };
  const { text } = expansion;
  if (text.length > urlCharactersMax) return { problems: [tooLong(text.length)] };

  const match = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/]*)(.*)$/s.exec(text);
  if (match === null) return { problems: [noScheme(text)] };
  const place: Place = {
    scheme: (match[1] ?? '').toLowerCase(),
    authority: match[2] ?? '',
    segments: (match[3] ?? '').split('/').filter((segment) => segment !== ''),
  };
  const problems = checks.flatMap((check) => check(place, text) ?? []);
  const parse = schemes[place.scheme];
  if (parse === undefined) return { problems: [unknownScheme(place.scheme), ...problems] };
  if (problems.some((found) => found.problem === credentials)) return { problems };
  const parsed = parse(place);
  if ('problem' in parsed) return { problems: [parsed, ...problems] };
  return problems.length > 0 ? { problems } : { url: { written, ...parsed } };
}

function tooLong(characters: number): UrlProblem {
  return {
    problem: `has ${characters} characters, ${urlCharactersMax} are allowed`,
    remedy: 'use a shorter directory or prefix',
  };
}

/** Replaces each `${NAME}` once. */
function expand(
  written: string,
  environment: Readonly<Record<string, string | undefined>>,
): { text: string; problems: UrlProblem[] } {
  const problems: UrlProblem[] = [];
  const text = written.replace(/\$(?:\{([^}]*)\}?)?/g, (whole: string, name: string | undefined) => {
    const value = name === undefined || !Object.hasOwn(environment, name) ? undefined : environment[name];
    const problem = expansionProblem(whole, name, value);
    if (problem !== undefined) problems.push(problem);
    return value ?? '';
  });
  return { text, problems };
}

function expansionProblem(whole: string, name: string | undefined, value: string | undefined): UrlProblem | undefined {
  if (name === undefined) {
    return { problem: 'has a $ that begins no ${NAME}', remedy: 'write a variable with braces: ${NAME}' };
  }
  if (!whole.endsWith('}') || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
    return {
      problem: 'has a ${ that no variable name and } follow',
      remedy: 'write ${NAME}, a name of letters, digits and _',
    };
  }
  if (namesSecret(name)) {
    return {
      problem: `takes \${${name}}, by its name a secret, into a URL, and URLs are shown`,
      remedy: 'give credentials by the environment of the SDK or by credentials_dir',
    };
  }
  if (value === undefined || value === '') {
    return {
      problem: `the environment variable ${name} is ${value === undefined ? 'not set' : 'empty'}`,
      remedy: `set ${name} in the environment of the process, or write its value in place of \${${name}}`,
    };
  }
  return undefined;
}

function noScheme(text: string): UrlProblem {
  if (/^file:/i.test(text)) {
    return { problem: 'has no // after file:', remedy: 'write file:// and an absolute path: file:///mnt/nvme1/wal' };
  }
  if (text.startsWith('/')) return { problem: 'has no scheme', remedy: 'write file:// before the path' };
  return { problem: 'has no scheme', remedy: `write ${schemeList}, then :// and the place` };
}

function unknownScheme(scheme: string): UrlProblem {
  const near = nearMiss(scheme, Object.keys(schemes));
  const remedy = near === undefined ? `use one of ${schemeList}` : `did you mean ${near}://?`;
  return { problem: `the scheme ${scheme}:// is unknown`, remedy };
}

const credentials = 'has a user or password before the host';

/** The rules of all schemes. */
const checks: readonly ((place: Place, text: string) => UrlProblem | undefined)[] = [
  function refuseCredentials({ scheme, authority }, text) {
    // A password may hold a slash: then the authority ends inside of it, and the @ comes later.
    const colonThenAt = authority.includes(':') && text.includes('@');
    if (!authority.includes('@') && !colonThenAt) return undefined;
    if (scheme.startsWith('abfs') && /^[^:@]*@[^:@]*$/.test(authority)) return undefined;
    return {
      problem: credentials,
      remedy: 'take it out: credentials come from the environment, or from the files in credentials_dir of url_options',
    };
  },
  function refuseQuery(_place, text) {
    if (!/[?#]/.test(text)) return undefined;
    return { problem: 'has a ? or #', remedy: 'end the URL before it: options belong into url_options' };
  },
  function refuseDots({ segments }) {
    if (!segments.some((segment) => segment === '.' || segment === '..')) return undefined;
    return { problem: 'has . or .. in its path', remedy: 'write the directory that is meant, in full' };
  },
  function refuseEscapes(_place, text) {
    if (!text.includes('%')) return undefined;
    return {
      problem: 'has a %, and URLs are taken literally',
      remedy: 'write the name as it is, or use one without %',
    };
  },
  function refuseBackslash(_place, text) {
    if (!text.includes('\\')) return undefined;
    return { problem: 'has a backslash', remedy: 'separate names by /' };
  },
  function refuseInvisible({ segments, authority }, text) {
    const spaced = [authority, ...segments].some((name) => name.trim() !== name) || authority.includes(' ');
    if (!spaced && !/[\p{Cc}\p{Cf}\p{Cs}]|[^\S ]/u.test(text)) return undefined;
    return {
      problem: 'has white space at the start or end of a name, or a control or invisible character',
      remedy: 'take it out',
    };
  },
];

function parseFile({ authority, segments }: Place): Omit<StorageUrl, 'written'> | UrlProblem {
  if (authority !== '') {
    return {
      problem: 'is relative, or names a host: after file:// must come an absolute path',
      remedy: 'write three slashes and the path from the root: file:///mnt/nvme1/wal',
    };
  }
  if (segments.length === 0) {
    return { problem: 'names the root directory', remedy: 'name a directory of its own: file:///mnt/nvme1/wal' };
  }
  const path = `/${segments.join('/')}`;
  return { url: `file://${path}`, scheme: 'file', path };
}

function parseBucket(
  { scheme, authority, segments }: Place,
  canonical: 's3' | 'gcs',
  rule: RegExp,
): Omit<StorageUrl, 'written'> | UrlProblem {
  const form = `${scheme}://bucket/prefix`;
  if (authority === '') return { problem: 'has no bucket', remedy: `write ${form}` };
  if (!rule.test(authority)) {
    return {
      problem: 'its bucket is not of the form that the store allows (3 or more of a-z, 0-9, - and .)',
      remedy: `write ${form} with the bucket's own name; endpoints belong into url_options`,
    };
  }
  const path = segments.join('/');
  return { url: [`${canonical}://${authority}`, ...segments].join('/'), scheme: canonical, path, bucket: authority };
}

function parseAdls({ authority, segments }: Place): Omit<StorageUrl, 'written'> | UrlProblem {
  const [container, ...names] = segments;
  return azure(authority, container, names, `adls://account.${azureDomain}/container/path`);
}

function parseAbfs({ scheme, authority, segments }: Place): Omit<StorageUrl, 'written'> | UrlProblem {
  const at = authority.indexOf('@');
  const container = at === -1 ? '' : authority.slice(0, at);
  return azure(authority.slice(at + 1), container, segments, `${scheme}://container@account.${azureDomain}/path`);
}

function azure(
  account: string,
  container: string | undefined,
  names: readonly string[],
  form: string,
): Omit<StorageUrl, 'written'> | UrlProblem {
  const named = account.toLowerCase();
  const host = named.includes('.') ? named : `${named}.${azureDomain}`;
  if (!/^[a-z0-9]{3,24}\.dfs(\.[a-z0-9-]+)+$/.test(host)) {
    return {
      problem: 'its account is missing or not of the form account.dfs.core.windows.net (3 to 24 of a-z and 0-9)',
      remedy: `write ${form}; endpoints belong into url_options`,
    };
  }
  if (container === undefined || container === '') return { problem: 'has no container', remedy: `write ${form}` };
  if (!/^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/.test(container)) {
    return {
      problem: 'its container is not of the form that Azure allows (3 to 63 of a-z, 0-9 and -)',
      remedy: `write ${form}`,
    };
  }
  const url = [`adls://${host}/${container}`, ...names].join('/');
  return { url, scheme: 'adls', path: names.join('/'), bucket: container, host };
}
