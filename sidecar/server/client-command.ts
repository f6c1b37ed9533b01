/** CLIENT: what client libraries say of themselves, and what people ask about connections. */
import { WalError } from '../errors.ts';
import { absent, shown } from './arguments.ts';
import type { Command, CommandContext, Session } from './command.ts';
import { clientName } from './connection-commands.ts';
import { type Reply, Status } from './resp-serializer.ts';

const ok = new Status('OK');

type Subcommand = (context: CommandContext, values: readonly Buffer[]) => Reply;

interface SubcommandRow {
  readonly usage: string;
  readonly minimum: number;
  readonly maximum: number;
  readonly run: Subcommand;
}

function setName({ session }: CommandContext, values: readonly Buffer[]): Reply {
  session.name = clientName(values[0] ?? absent);
  return ok;
}

function setInformation({ session }: CommandContext, values: readonly Buffer[]): Reply {
  const [attribute = absent, value = absent] = values;
  const name = attribute.toString('latin1').toUpperCase();
  if (name === 'LIB-NAME') session.libraryName = clientName(value);
  else if (name === 'LIB-VER') session.libraryVersion = clientName(value);
  else throw new WalError('ERR', `CLIENT SETINFO '${shown(attribute)}': LIB-NAME and LIB-VER are known`);
  return ok;
}

/** ON and OFF change nothing here: no connection is ever evicted, and nothing has an age that reads touch. */
function acceptSwitch(_context: CommandContext, values: readonly Buffer[]): Reply {
  const word = (values[0] ?? absent).toString('latin1').toUpperCase();
  if (word === 'ON' || word === 'OFF') return ok;
  throw new WalError('ERR', `'${shown(values[0] ?? absent)}': ON or OFF`);
}

function list({ server }: CommandContext, values: readonly Buffer[]): Reply {
  if (values.length > 0) throw new WalError('ERR', 'CLIENT LIST takes no filter here: it shows all connections');
  return Array.from(server.sessions(), (session) => `${lineOf(session)}\n`).join('');
}

function lineOf(session: Session): string {
  const ageSeconds = Math.floor((Date.now() - session.connectedAtMs) / 1000);
  return [
    `id=${session.id}`,
    `name=${session.name}`,
    `age=${ageSeconds}`,
    'db=0',
    `cmd=${session.lastCommand.toLowerCase() || 'NULL'}`,
    `resp=${session.protocol}`,
    `lib-name=${session.libraryName}`,
    `lib-ver=${session.libraryVersion}`,
  ].join(' ');
}

const subcommands: ReadonlyMap<string, SubcommandRow> = new Map([
  ['SETNAME', { usage: 'name', minimum: 1, maximum: 1, run: setName }],
  ['GETNAME', { usage: '', minimum: 0, maximum: 0, run: ({ session }: CommandContext) => session.name || null }],
  ['SETINFO', { usage: 'LIB-NAME|LIB-VER value', minimum: 2, maximum: 2, run: setInformation }],
  ['ID', { usage: '', minimum: 0, maximum: 0, run: ({ session }: CommandContext) => session.id }],
  ['INFO', { usage: '', minimum: 0, maximum: 0, run: ({ session }: CommandContext) => `${lineOf(session)}\n` }],
  ['LIST', { usage: '', minimum: 0, maximum: 100, run: list }],
  ['NO-EVICT', { usage: 'ON|OFF', minimum: 1, maximum: 1, run: acceptSwitch }],
  ['NO-TOUCH', { usage: 'ON|OFF', minimum: 1, maximum: 1, run: acceptSwitch }],
]);

function client(context: CommandContext, values: readonly Buffer[]): Reply {
  const [word = absent, ...rest] = values;
  const name = word.toString('latin1').toUpperCase();
  const row = subcommands.get(name);
  if (row === undefined) {
    throw new WalError(
      'ERR',
      `unknown subcommand 'CLIENT ${shown(word)}': ${[...subcommands.keys()].join(', ')} are known`,
    );
  }
  if (rest.length < row.minimum || rest.length > row.maximum) {
    throw new WalError(
      'ERR',
      `wrong number of arguments for 'CLIENT ${name}': usage: CLIENT ${name} ${row.usage}`.trimEnd(),
    );
  }
  return row.run(context, rest);
}

export const clientCommand: Command = {
  name: 'CLIENT',
  usage: [...subcommands.keys()].join('|'),
  summary: 'Names this connection, shows connections',
  minimum: 1,
  maximum: 100,
  takesCollection: false,
  writes: false,
  run: client,
};
