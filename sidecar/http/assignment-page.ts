/** `GET /v1/assignments`: a page of assignments, sorted by component and name, so that pages fit together whatever changes meanwhile. */
import { type Assignment, type Component, components } from '../assignment/assignment.ts';
import { WalError } from '../errors.ts';

const limitDefault = 500;
const limitMax = 5000;
const parameters = ['component', 'collection', 'limit', 'continue'];

export interface AssignmentQuery {
  readonly component: Component | undefined;
  readonly collection: string | undefined;
  /** At most so many. */
  readonly limit: number;
  /** Go on behind this one. */
  readonly after: Position | undefined;
}

interface Position {
  readonly component: Component;
  readonly collection: string;
}

/** The query of a URL understood. INVALID names the parameter, the rule and the remedy. */
export function parseAssignmentQuery(query: URLSearchParams): AssignmentQuery {
  for (const name of query.keys()) {
    if (!parameters.includes(name)) {
      throw new WalError('INVALID', `The parameter ${JSON.stringify(name)} is unknown: use ${parameters.join(', ')}.`);
    }
    if (query.getAll(name).length > 1)
      throw new WalError('INVALID', `The parameter ${name} is given twice: give it once.`);
  }
  const component = query.get('component');
  const next = query.get('continue');
  return {
    component: component === null ? undefined : parseComponent(component),
    collection: query.get('collection') ?? undefined,
    limit: parseLimit(query.get('limit')),
    after: next === null ? undefined : parseContinue(next),
  };
}

function parseComponent(value: string): Component {
  const component = components.find((name) => name === value);
  if (component !== undefined) return component;
  throw new WalError('INVALID', `component=${value} is none of ${components.join(', ')}.`);
}

function parseLimit(value: string | null): number {
  if (value === null) return limitDefault;
  const limit = Number(value);
  if (/^\d{1,5}$/.test(value) && limit >= 1 && limit <= limitMax) return limit;
  throw new WalError('INVALID', `limit=${value} is not a number from 1 to ${limitMax}.`);
}

function parseContinue(value: string): Position {
  const [name, ...rest] = Buffer.from(value, 'base64url').toString().split('/');
  const component = components.find((known) => known === name);
  if (component !== undefined && rest.length > 0) return { component, collection: rest.join('/') };
  throw new WalError('INVALID', `continue=${value} was not given by this server: leave it out to begin again.`);
}

/** One page as JSON shows it, with `continue` where more follow. */
export function pageOf(query: AssignmentQuery, assignments: (component: Component) => Iterable<Assignment>) {
  const page: Assignment[] = [];
  for (const component of components) {
    if (query.component !== undefined && query.component !== component) continue;
    if (query.after !== undefined && components.indexOf(component) < components.indexOf(query.after.component))
      continue;
    const behind = query.after?.component === component ? query.after.collection : '';
    const matching = Array.from(assignments(component)).filter(({ collection }) => {
      return collection > behind && (query.collection === undefined || query.collection === collection);
    });
    matching.sort((one, other) => (one.collection < other.collection ? -1 : 1));
    page.push(...matching.slice(0, query.limit + 1 - page.length));
  }
  const shown = page.slice(0, query.limit);
  const last = shown.at(-1);
  const body = { assignments: shown.map(shownAs) };
  if (page.length === shown.length || last === undefined) return body;
  return { ...body, continue: Buffer.from(`${last.component}/${last.collection}`).toString('base64url') };
}

function shownAs({ component, collection, url, path, index, assignedAt, incarnation }: Assignment) {
  return { component, collection, url, path, index, assigned_at: assignedAt, incarnation };
}
