/** From a pod and what becomes of it to a JSON patch (RFC 6902). */
import { isDeepStrictEqual } from 'node:util';

export type PatchOperation =
  | { readonly op: 'add' | 'replace'; readonly path: string; readonly value: unknown }
  | { readonly op: 'remove'; readonly path: string };

/** Whose fields are replaced one by one: the rest of a pod is never changed. */
const sections = ['metadata', 'spec'] as const;

type Sections = Readonly<Record<(typeof sections)[number], object>>;

/** Each field of metadata and spec that differs, as a whole; none if nothing does. */
export function patchOf(before: Sections, after: Sections): PatchOperation[] {
  return sections.flatMap((section) => {
    const was = new Map<string, unknown>(Object.entries(before[section]));
    const is = new Map<string, unknown>(Object.entries(after[section]));
    return [...new Set([...was.keys(), ...is.keys()])].flatMap((field): PatchOperation[] => {
      const path = `/${section}/${field.replaceAll('~', '~0').replaceAll('/', '~1')}`;
      const value = is.get(field);
      if (isDeepStrictEqual(was.get(field), value)) return [];
      if (value === undefined) return [{ op: 'remove', path }];
      return [{ op: was.has(field) ? 'replace' : 'add', path, value }];
    });
  });
}
