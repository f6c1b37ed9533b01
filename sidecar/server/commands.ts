/** The command table, and how a request other than WAL.APPEND is carried out. */
import { asWalError, WalError } from '../errors.ts';
import { appendDescription } from './append-command.ts';
import { absent, shown } from './arguments.ts';
import { assignmentCommands } from './assignment-commands.ts';
import { clientCommand } from './client-command.ts';
import { collectionCommands } from './collection-commands.ts';
import type { Command, CommandContext, CommandDescription } from './command.ts';
import { connectionCommands } from './connection-commands.ts';
import { readCommands } from './read-commands.ts';
import type { Reply } from './resp-serializer.ts';
import { serverCommands } from './server-commands.ts';

const commands: readonly Command[] = [
  ...readCommands,
  ...collectionCommands,
  ...assignmentCommands,
  ...connectionCommands,
  clientCommand,
  ...serverCommands(() => descriptions),
];

const descriptions: readonly CommandDescription[] = [appendDescription, ...commands];

const byName: ReadonlyMap<string, Command> = new Map(commands.map((command) => [command.name, command]));

/**
 * Carries a request out: its reply, at once or later. Never throws nor rejects: an error is a reply, and an unexpected
 * one is `UNAVAILABLE` (it is not known what was done) and logged.
 */
export function execute(context: CommandContext, request: readonly Buffer[]): Reply | Promise<Reply> {
  try {
    const command = commandOf(request);
    context.session.lastCommand = command.name;
    const reply = command.run(context, request.slice(1));
    return reply instanceof Promise ? reply.catch((error: unknown) => errorReply(context, error, command.name)) : reply;
  } catch (error) {
    return errorReply(context, error, shown(request[0] ?? absent));
  }
}

/** The error as its reply. */
export function errorReply(context: Pick<CommandContext, 'server'>, error: unknown, command: string): WalError {
  if (!(error instanceof WalError))
    context.server.logger.error({ err: error, command }, 'a command failed unexpectedly');
  return asWalError(error, 'UNAVAILABLE', `${command} failed unexpectedly`);
}

function commandOf(request: readonly Buffer[]): Command {
  const word = request[0] ?? absent;
  const command = word.length > 32 ? undefined : byName.get(word.toString('latin1').toUpperCase());
  if (command === undefined) {
    throw new WalError('ERR', `unknown command '${shown(word)}': COMMAND LIST shows those that are known`);
  }
  const count = request.length - 1;
  if (count < command.minimum || count > command.maximum) {
    throw new WalError(
      'ERR',
      `wrong number of arguments for '${command.name}': usage: ${command.name} ${command.usage}`.trimEnd(),
    );
  }
  return command;
}
