/** The chart as helm renders it, for tests. */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { helm } from '../test/cluster/helm.ts';

export const chart = fileURLToPath(new URL('walstorage', import.meta.url));

/** The release of tests, and its namespace. */
export const release = { name: 'logs', namespace: 'walstorage-system' } as const;

export interface Rendered {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [key: string]: unknown;
}

/** The files in `ci/`: by name, without the ending. */
export const valueFiles: readonly string[] = readdirSync(`${chart}/ci`)
  .map((name) => name.replace(/-values\.yaml$/, ''))
  .toSorted();

/** The path of one of them. */
export function valueFile(name: string): string {
  return `${chart}/ci/${name}-values.yaml`;
}

/** What helm prints for the chart with these flags. Rejects with what helm says. */
export function render(flags: readonly string[]): Promise<string> {
  return helm(['template', release.name, chart, '--namespace', release.namespace, ...flags]);
}

/** The objects in YAML that helm printed. */
export function objectsOf(text: string): Rendered[] {
  return parseAllDocuments(text).flatMap((document) => {
    const object: Rendered | null = document.toJS();
    return object === null ? [] : [object];
  });
}
