/**
 * Makes what stands twice in the chart: the table of values in `README.md` and the commented `values.yaml` from
 * `values.schema.json`, and `templates/crd.yaml` from `crds/walstorage.yaml`.
 *
 *     node charts/generate.ts [--check] [ROOT]
 *
 * Without `--check` the files are written. With it they are compared: exit status 1 and the command to type when one has
 * drifted (`npm run check` runs that). ROOT is the checkout.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { stringify } from 'yaml';

/** What is read of a value's schema; helm checks values against all of it. */
export interface ValueSchema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly properties?: Readonly<Record<string, ValueSchema>>;
}

/** Where the table begins in the README: what follows is replaced. */
const marker = '<!-- The table is made from values.schema.json by `npm run generate`. -->\n';
/** A comment is broken after so many characters. */
const commentColumns = 100;

/** A generated file: its path in the checkout, and what it should hold. */
interface Generated {
  readonly path: string;
  readonly text: string;
}

function generated(root: string): Generated[] {
  const read = (path: string) => readFileSync(join(root, path), 'utf8');
  const schema: ValueSchema = JSON.parse(read('charts/walstorage/values.schema.json'));
  const readme = read('charts/walstorage/README.md');
  const end = readme.indexOf(marker);
  if (end < 0) throw new Error(`charts/walstorage/README.md has no line ${marker.trim()}: add it where the table goes`);
  const introduction = readme.slice(0, end + marker.length);
  return [
    { path: 'charts/walstorage/README.md', text: `${introduction}\n${valueTable(schema)}` },
    { path: 'charts/walstorage/values.yaml', text: valuesFile(schema) },
    { path: 'charts/walstorage/templates/crd.yaml', text: crdTemplate(read('crds/walstorage.yaml')) },
  ];
}

/** Whether a schema is a group of values, not a value: only those have no default. */
function isGroup(schema: ValueSchema): boolean {
  return schema.properties !== undefined && !('default' in schema);
}

/** The values of a schema, depth first, with their dotted names. What has neither a default nor values is no value of ours. */
export function valuesOf(schema: ValueSchema, prefix = ''): [string, ValueSchema][] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, value]) => {
    const name = `${prefix}${key}`;
    if (isGroup(value)) return valuesOf(value, `${name}.`);
    return 'default' in value ? [[name, value]] : [];
  });
}

/** A Markdown table of all values. */
function valueTable(schema: ValueSchema): string {
  const rows = valuesOf(schema).map(([name, value]) => {
    const choices =
      value.enum === undefined ? '' : ` One of ${value.enum.map((choice) => `\`${choice}\``).join(', ')}.`;
    const shown = JSON.stringify(value.default);
    return `| \`${name}\` | \`${shown}\` | ${value.description}${choices} |`;
  });
  return ['| value | default | what it is |', '|---|---|---|', ...rows, ''].join('\n');
}

/** `values.yaml`: every default, with its description above it. */
function valuesFile(schema: ValueSchema): string {
  const head = '# Made by `npm run generate` from values.schema.json: change that file, not this one.\n';
  return `${head}${yamlOf(schema, '')}`;
}

function yamlOf(schema: ValueSchema, indent: string): string {
  const entries = Object.entries(schema.properties ?? {}).filter(([, value]) => isGroup(value) || 'default' in value);
  return entries
    .map(([key, value]) => {
      const comment = `${indent === '' ? '\n' : ''}${commentOf(value, indent)}`;
      if (isGroup(value)) return `${comment}${indent}${key}:\n${yamlOf(value, `${indent}  `)}`;
      const text = stringify({ [key]: value.default }, { lineWidth: 0 }).trimEnd();
      return `${comment}${indent}${text.replaceAll('\n', `\n${indent}`)}\n`;
    })
    .join('');
}

function commentOf({ description = '', enum: choices }: ValueSchema, indent: string): string {
  const text = choices === undefined ? description : `${description} One of ${choices.join(', ')}.`;
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.at(-1) ?? '';
    if (last.length + word.length < commentColumns) lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
    else lines.push(word);
  }
  return lines.map((line) => `${indent}# ${line}\n`).join('');
}

/** The CRD as a template: the same text, with what makes helm keep it, unless values or the cluster speak against it. */
function crdTemplate(crd: string): string {
  const body = crd.slice(crd.indexOf('apiVersion:')).trimEnd().replaceAll('{{', '{{ "{{" }}');
  const name = /^ {2}name: .*$/m.exec(body)?.[0];
  if (name === undefined) throw new Error('crds/walstorage.yaml has no line with its name below metadata');
  const kept = body.replace(name, `${name}\n  annotations:\n    helm.sh/resource-policy: keep`);
  return `{{- /* Made by \`npm run generate\` from crds/walstorage.yaml: change that file, not this one. */ -}}
{{- define "walstorage.crd" -}}
${kept}
{{- end -}}
{{- if include "walstorage.installsCrd" . }}
{{ include "walstorage.crd" . }}
{{- end }}
`;
}

/** Runs the command of this file's head; returns the exit status. */
function main(args: readonly string[]): number {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { check: { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  const root = positionals[0] ?? fileURLToPath(new URL('..', import.meta.url));
  const files = generated(root);
  if (!values.check) {
    for (const { path, text } of files) writeFileSync(join(root, path), text);
    return 0;
  }
  const drifted = files.filter(({ path, text }) => readFileSync(join(root, path), 'utf8') !== text);
  for (const { path } of drifted) {
    process.stderr.write(`${path} is not what it is made from: run \`npm run generate\` and commit the result\n`);
  }
  return drifted.length === 0 ? 0 : 1;
}

if (import.meta.main) process.exitCode = main(process.argv.slice(2));
