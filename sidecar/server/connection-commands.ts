/** What Redis clients say to greet and to leave: answered as Redis does, so that they connect with default options. */
import { WalError } from '../errors.ts';
import { absent, parseInteger, shown } from './arguments.ts';
import type { Command, CommandContext, Session } from './command.ts';
import { ErrorLine, type Reply, Status } from './resp-serializer.ts';

const ok = new Status('OK');
/** `NOPROTO` is the word that clients look for to go on in RESP2; it is of the protocol, not of the log's table of codes. */
const unsupportedProtocol = new ErrorLine('NOPROTO unsupported protocol version: 2 and 3 are known');
const nameBytesMax = 512;

/**
 * A name that a client gives itself: at most 512 printable ASCII characters without spaces. Throws ERR otherwise.
 */
export function clientName(bytes: Buffer): string {
  const name = bytes.toString('latin1');
  if (bytes.length <= nameBytesMax && /^[!-~]*$/.test(name)) return name;
  throw new WalError(
    'ERR',
    `name '${shown(bytes)}': must be at most ${nameBytesMax} printable characters without spaces`,
  );
}

function ping(_context: CommandContext, values: readonly Buffer[]): Reply {
  return values[0] ?? new Status('PONG');
}

/** `HELLO [2|3 [AUTH user password] [SETNAME name]]`. */
function hello(context: CommandContext, values: readonly Buffer[]): Reply {
  const { session, server } = context;
  const protocol = values[0] === undefined ? session.protocol : parseInteger(values[0]);
  if (protocol !== 2 && protocol !== 3) return unsupportedProtocol;
  let name = session.name;
  for (let at = 1; at < values.length; at += 2) {
    const word = values[at] ?? absent;
    const option = word.toString('latin1').toUpperCase();
    if (option === 'AUTH') throw noPassword();
    const value = values[at + 1];
    if (option !== 'SETNAME' || value === undefined)
      throw new WalError('ERR', `syntax error at '${shown(word)}' in HELLO`);
    name = clientName(value);
  }
  session.protocol = protocol;
  session.name = name;
  return new Map<string, Reply>([
    ['server', 'walstorage'],
    ['version', server.version],
    ['proto', protocol],
    ['id', session.id],
    ['mode', 'standalone'],
    ['role', 'master'],
    ['modules', []],
  ]);
}

function noPassword(): WalError {
  return new WalError('NOAUTH', 'a password was sent, and this server has none: leave user and password out');
}

function select(_context: CommandContext, values: readonly Buffer[]): Reply {
  const [index = absent] = values;
  if (parseInteger(index) === 0) return ok;
  throw new WalError('ERR', `DB index '${shown(index)}' is out of range: there is database 0 only`);
}

function reset(context: CommandContext): Reply {
  const { session } = context;
  session.protocol = 2;
  session.name = '';
  return new Status('RESET');
}

function quit({ session }: { readonly session: Session }): Reply {
  session.quitting = true;
  return ok;
}

const plain = { takesCollection: false, writes: false } as const;

export const connectionCommands: readonly Command[] = [
  {
    ...plain,
    name: 'PING',
    usage: '[message]',
    summary: 'Answers PONG or the message',
    minimum: 0,
    maximum: 1,
    run: ping,
  },
  {
    ...plain,
    name: 'ECHO',
    usage: 'message',
    summary: 'Answers the message',
    minimum: 1,
    maximum: 1,
    run: (_context, values) => values[0] ?? absent,
  },
  {
    ...plain,
    name: 'HELLO',
    usage: '[2|3 [AUTH user password] [SETNAME name]]',
    summary: 'Chooses the protocol version and shows the server',
    minimum: 0,
    maximum: 6,
    run: hello,
  },
  {
    ...plain,
    name: 'AUTH',
    usage: '[user] password',
    summary: 'Is refused: there is no password',
    minimum: 1,
    maximum: 2,
    run: () => {
      throw noPassword();
    },
  },
  { ...plain, name: 'SELECT', usage: '0', summary: 'Chooses the one database', minimum: 1, maximum: 1, run: select },
  { ...plain, name: 'RESET', usage: '', summary: 'Forgets name and protocol', minimum: 0, maximum: 0, run: reset },
  { ...plain, name: 'QUIT', usage: '', summary: 'Ends the connection', minimum: 0, maximum: 1000, run: quit },
];
