/**
 * Makes `walstorage.generated.ts`, the types of a WalStorage, from `walstorage.yaml`, the one source of the schema.
 *
 *     node crds/generate.ts [--check] [CRD [TYPES]]
 *
 * Without `--check` the types are written. With it they are compared: exit status 1 and the command to type when the two
 * have drifted apart (`npm run check` runs that). CRD and TYPES are the two files beside this one by default.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compile, type JSONSchema } from 'json-schema-to-typescript';
import { parse } from 'yaml';

/** Places in the schema whose type gets a name of its own; the other objects stay where they stand. */
const typeNames: Readonly<Record<string, string>> = {
  '': 'WalStorage',
  spec: 'WalStorageSpec',
  'spec.volumes[]': 'Volume',
  'spec.wal': 'WalSpec',
  'spec.wal.urls[]': 'UrlSpec',
  'spec.viper': 'ComponentSpec',
  'spec.sidecar': 'SidecarSpec',
  status: 'WalStorageStatus',
  'status.conditions[]': 'StatusCondition',
  'status.urls[]': 'UrlTotal',
  'status.pods[]': 'PodStatus',
  'status.pods[].urls[]': 'PodUrlStatus',
  'status.pods[].assignments[]': 'PodAssignment',
};

/** Keys of a structural schema that say something about types; the rest is for the API server. */
const typeKeys = ['type', 'description', 'enum', 'required'] as const;

interface StructuralSchema {
  readonly [key: string]: unknown;
  readonly properties?: Readonly<Record<string, StructuralSchema>>;
  readonly items?: StructuralSchema;
  readonly additionalProperties?: StructuralSchema;
}

/** What is read of a CustomResourceDefinition; the API server checks the rest. */
interface Definition {
  readonly spec: {
    readonly group: string;
    readonly names: { readonly kind: string };
    readonly versions: readonly {
      readonly name: string;
      readonly schema: { readonly openAPIV3Schema: StructuralSchema };
    }[];
  };
}

/**
 * The TypeScript text of a CRD's first version.
 * @param crd the YAML text of the CustomResourceDefinition
 */
export async function typesOf(crd: string): Promise<string> {
  const definition: Definition = parse(crd);
  const version = definition.spec.versions[0];
  if (version === undefined) throw new Error('the CRD has no version: add one to spec.versions');
  const schema = jsonSchema(version.schema.openAPIV3Schema, '', new Map());
  const root = {
    ...schema,
    required: ['apiVersion', 'kind', 'metadata', 'spec'],
    properties: {
      ...schema.properties,
      apiVersion: { const: `${definition.spec.group}/${version.name}` },
      kind: { const: definition.spec.names.kind },
      metadata: { tsType: 'V1ObjectMeta' },
    },
  };
  return compile(root, definition.spec.names.kind, {
    additionalProperties: false,
    bannerComment: [
      '/** Made by `npm run generate` from walstorage.yaml: change that file, not this one. */',
      "import type { V1ObjectMeta } from '@kubernetes/client-node';",
    ].join('\n'),
    style: { singleQuote: true, printWidth: 120 },
    ignoreMinAndMaxItems: true,
  });
}

/** The part of a structural schema that types come from; a schema met again (a YAML alias) becomes the same type. */
function jsonSchema(schema: StructuralSchema, path: string, seen: Map<StructuralSchema, JSONSchema>): JSONSchema {
  const met = seen.get(schema);
  if (met !== undefined) return met;
  const result: JSONSchema = {};
  seen.set(schema, result);
  Object.assign(result, Object.fromEntries(typeKeys.filter((key) => key in schema).map((key) => [key, schema[key]])));
  const name = typeNames[path];
  if (name !== undefined) result.title = name;
  if (schema['x-kubernetes-int-or-string'] === true) result.tsType = 'number | string';
  if (schema.items !== undefined) result.items = jsonSchema(schema.items, `${path}[]`, seen);
  if (schema.additionalProperties !== undefined) {
    result.additionalProperties = jsonSchema(schema.additionalProperties, `${path}{}`, seen);
  }
  if (schema.properties !== undefined) {
    const prefix = path === '' ? '' : `${path}.`;
    result.properties = Object.fromEntries(
      Object.entries(schema.properties).map(([key, value]) => [key, jsonSchema(value, prefix + key, seen)]),
    );
  }
  return result;
}

/** Runs the command of this file's head; returns the exit status. */
async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { check: { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  const crdFile = positionals[0] ?? fileURLToPath(new URL('walstorage.yaml', import.meta.url));
  const typesFile = positionals[1] ?? fileURLToPath(new URL('walstorage.generated.ts', import.meta.url));
  const types = await typesOf(readFileSync(crdFile, 'utf8'));
  if (!values.check) {
    writeFileSync(typesFile, types);
    return 0;
  }
  if (readFileSync(typesFile, 'utf8') === types) return 0;
  const [shownTypes, shownCrd] = [typesFile, crdFile].map((file) => relative(process.cwd(), file));
  process.stderr.write(`${shownTypes} is not what ${shownCrd} gives: run \`npm run generate\` and commit the result\n`);
  return 1;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
