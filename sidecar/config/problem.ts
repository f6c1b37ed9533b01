/** How a problem of the configuration is worded: with what the user wrote, the rule and the remedy; never with a secret. */

export interface Problem {
  /** Where, as TOML writes keys: `storage.wal_config.wal_urls[2]`; empty for the file as a whole. */
  readonly keyPath: string;
  /** The value as it stands there, shortened, secrets masked; empty where nothing stands. */
  readonly value: string;
  /** The rule that it breaks. */
  readonly problem: string;
  /** What to write or to do instead. */
  readonly remedy: string;
}

/** What a parse found: problems stop it, warnings do not. */
export interface Report {
  readonly problems: Problem[];
  readonly warnings: Problem[];
}

const valueCharactersMax = 100;

/** The largest edit distance at which one name counts as a misspelling of another. */
const nearMissDistance = 2;

/** Problems for humans, a line each. */
export function format(problems: readonly Problem[]): string {
  return problems.map((problem) => `${formatOne(problem)}\n`).join('');
}

function formatOne({ keyPath, value, problem, remedy }: Problem): string {
  const place = [keyPath, value].filter((part) => part !== '').join(' = ');
  return `${place === '' ? '' : `${place}: `}${problem}; ${remedy}`;
}

/** A value of a TOML document as a problem shows it: at most 100 characters, credentials in URLs masked. */
export function shorten(value: unknown): string {
  if (value === undefined) return '';
  const text = describe(value);
  return text.length <= valueCharactersMax ? text : `${text.slice(0, valueCharactersMax - 1)}…`;
}

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(maskUrl(value));
  if (Array.isArray(value))
    return value.length === 0 ? '[]' : `[${describe(value[0])}${value.length > 1 ? ', …' : ''}]`;
  if (value instanceof Date) return value.toISOString();
  if (typeof value === 'object' && value !== null) return '{…}';
  if (typeof value === 'number' && Number.isInteger(value)) return value.toFixed(1);
  return String(value);
}

/** A URL, or any text, without what may be a secret: `user:password@` and everything after `?`. */
export function maskUrl(text: string): string {
  const [scheme = ''] = /^[a-z][a-z0-9+.-]*:\/\//i.exec(text) ?? [];
  const rest = text.slice(scheme.length).replace(/\?.*$/s, '?***');
  // In abfs://container@account the part before the @ is no secret unless it has a colon.
  const user = /^abfs/i.test(scheme) ? /^[^@]*:.*@/s : /^([^@]*:.*|[^/]*)@/s;
  return scheme + rest.replace(user, '***@');
}

/** The path of a key below another, quoted where TOML would. */
export function pathOfKey(parent: string, key: string): string {
  const segment = /^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(maskUrl(key));
  return parent === '' ? segment : `${parent}.${segment}`;
}

/** Whether a key's or variable's name says that its value is a secret. */
export function namesSecret(name: string): boolean {
  return /secret|password|passwd|passphrase|token|^sas|sas$|credential|(access|account|storage|private|api|shared)key|keyid|connectionstring|^key$|keyjson|^(user|username|pass)$/.test(
    name.toLowerCase().replace(/[^a-z0-9]/g, ''),
  );
}

/** The candidate that `name` misspells (edit distance at most 2, and less than the name's length), if there is one. */
export function nearMiss(name: string, candidates: readonly string[]): string | undefined {
  return closest(name, candidates, Math.min(nearMissDistance, name.length - 1));
}

/** The candidate nearest to `name` within `distance` edits, the first one where several are. */
export function closest(name: string, candidates: readonly string[], distance: number): string | undefined {
  let best: string | undefined;
  let bestDistance = distance + 1;
  for (const candidate of candidates) {
    const found = editDistance(name, candidate, bestDistance);
    if (found < bestDistance) {
      best = candidate;
      bestDistance = found;
    }
  }
  return best;
}

/** The Levenshtein distance, or `limit` where it is that or more. */
function editDistance(left: string, right: string, limit: number): number {
  if (Math.abs(left.length - right.length) >= limit) return limit;
  let previous = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= right.length; column += 1) {
      const substituted = (previous[column - 1] ?? 0) + (left[row - 1] === right[column - 1] ? 0 : 1);
      current.push(Math.min(substituted, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return Math.min(previous[right.length] ?? limit, limit);
}
