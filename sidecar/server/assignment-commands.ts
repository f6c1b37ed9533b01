/** Commands of the assignment service: which URL a component's collection lives under. */
import type { Assignment } from '../assignment/assignment.ts';
import { WalError } from '../errors.ts';
import { absent, collectionArgument, componentArgument } from './arguments.ts';
import { pageArguments } from './collection-commands.ts';
import type { Command, CommandContext } from './command.ts';
import { page } from './cursor.ts';
import type { Reply } from './resp-serializer.ts';

async function assign(context: CommandContext, values: readonly Buffer[]): Promise<Reply> {
  const [component = absent, collection = absent] = values;
  return asMap(await context.server.assignments.assign(componentArgument(component), collectionArgument(collection)));
}

function assignment(context: CommandContext, values: readonly Buffer[]): Reply {
  const [component = absent, collection = absent] = values;
  const found = context.server.assignments.get(componentArgument(component), collectionArgument(collection));
  return found === undefined ? null : asMap(found);
}

async function unassign(context: CommandContext, values: readonly Buffer[]): Promise<Reply> {
  const [component = absent, collection = absent] = values;
  const removed = await context.server.assignments.remove(componentArgument(component), collectionArgument(collection));
  return removed ? 1 : 0;
}

function assignments(context: CommandContext, values: readonly Buffer[]): Reply {
  const component = componentArgument(values[0] ?? absent);
  const { cursor, count } = pageArguments(values, 1);
  const found = page(context.server.assignments.list(component), ({ collection }) => collection, cursor, count);
  return [String(found.cursor), found.items.map(asMap)];
}

function asMap(found: Assignment): ReadonlyMap<string, Reply> {
  return new Map<string, Reply>([
    ['component', found.component],
    ['collection', found.collection],
    ['url', found.url],
    ['path', found.path],
    ['index', found.index],
    ['assigned_at', found.assignedAt],
  ]);
}

function forget(): never {
  throw new WalError(
    'ERR',
    'WAL.FORGET is not supported yet: put the missing URL back, or keep it in the configuration',
  );
}

export const assignmentCommands: readonly Command[] = [
  {
    name: 'WAL.ASSIGN',
    usage: 'component collection',
    summary: 'Assigns a collection to a URL at first use; afterwards always the same',
    minimum: 2,
    maximum: 2,
    takesCollection: false,
    writes: true,
    run: assign,
  },
  {
    name: 'WAL.ASSIGNMENT',
    usage: 'component collection',
    summary: 'Shows the assignment of a collection',
    minimum: 2,
    maximum: 2,
    takesCollection: false,
    writes: false,
    run: assignment,
  },
  {
    name: 'WAL.UNASSIGN',
    usage: 'component collection',
    summary: 'Removes the assignment of a collection that holds nothing',
    minimum: 2,
    maximum: 2,
    takesCollection: false,
    writes: true,
    run: unassign,
  },
  {
    name: 'WAL.ASSIGNMENTS',
    usage: 'component [cursor] [COUNT n]',
    summary: "Lists a component's assignments, page by page as SCAN does",
    minimum: 1,
    maximum: 4,
    takesCollection: false,
    writes: false,
    run: assignments,
  },
  {
    name: 'WAL.FORGET',
    usage: 'url',
    summary: 'Forgets a URL that is gone for ever',
    minimum: 1,
    maximum: 1,
    takesCollection: false,
    writes: true,
    run: forget,
  },
];
