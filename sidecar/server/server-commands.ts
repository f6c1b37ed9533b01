/** INFO, CONFIG and COMMAND: what tools ask of the server itself. */
import { WalError } from '../errors.ts';
import { absent, shown } from './arguments.ts';
import type { Command, CommandContext, CommandDescription, ServerContext } from './command.ts';
import { type Reply, Status, Text } from './resp-serializer.ts';

type Section = readonly (readonly [string, string | number])[];

/** Tools read `redis_version` to learn what they may send; this is the level of the protocol and of these commands. */
const protocolLevel = '7.0.0';

const sections: ReadonlyMap<string, (server: ServerContext) => Section> = new Map([
  [
    'Server',
    (server: ServerContext): Section => [
      ['server_name', 'walstorage'],
      ['walstorage_version', server.version],
      ['redis_version', protocolLevel],
      ['redis_mode', 'standalone'],
      ['process_id', process.pid],
      ['unix_socket', server.socketPath],
      ['uptime_in_seconds', Math.floor((Date.now() - server.startedAtMs) / 1000)],
    ],
  ],
  [
    'Clients',
    (server: ServerContext): Section => [
      ['connected_clients', [...server.sessions()].length],
      ['maxclients', server.limits.connections],
    ],
  ],
  [
    'Memory',
    (server: ServerContext): Section => {
      const { rss, heapUsed, external } = process.memoryUsage();
      return [
        ['used_memory', heapUsed + external],
        ['used_memory_rss', rss],
        ['reply_bytes', server.replies.usedBytes],
      ];
    },
  ],
  ['Persistence', (): Section => [['loading', 0]]],
  [
    'Stats',
    ({ counters }: ServerContext): Section => [
      ['total_connections_received', counters.connectionsReceived],
      ['rejected_connections', counters.connectionsRejected],
      ['total_commands_processed', counters.commandsProcessed],
      ['total_net_input_bytes', counters.inputBytes],
    ],
  ],
  [
    'Replication',
    (): Section => [
      ['role', 'master'],
      ['connected_slaves', 0],
    ],
  ],
  ['Wal', ({ wal }: ServerContext): Section => [['collections', [...wal.collections()].length]]],
]);

function info({ server }: CommandContext, values: readonly Buffer[]): Reply {
  const asked = new Set(values.map((value) => value.toString('latin1').toLowerCase()));
  const all = asked.size === 0 || ['all', 'default', 'everything'].some((word) => asked.has(word));
  const texts: string[] = [];
  for (const [name, section] of sections) {
    if (!all && !asked.has(name.toLowerCase())) continue;
    const lines = section(server).map(([key, value]) => `${key}:${value}\r\n`);
    texts.push(`# ${name}\r\n${lines.join('')}`);
  }
  return new Text(texts.join('\r\n'));
}

/** What redis-benchmark and a few tools ask for before they begin. All else is configured in the TOML file. */
const settings: ReadonlyMap<string, string> = new Map([
  ['save', ''],
  ['appendonly', 'yes'],
  ['databases', '1'],
]);

function config({ server }: CommandContext, values: readonly Buffer[]): Reply {
  const [word = absent, ...names] = values;
  if (word.toString('latin1').toUpperCase() !== 'GET' || names.length === 0) {
    throw new WalError(
      'ERR',
      `CONFIG '${shown(word)}': only CONFIG GET name is known; settings are in the configuration file`,
    );
  }
  const found = new Map<string, Reply>();
  const all = new Map(settings).set('maxclients', String(server.limits.connections));
  for (const name of names) {
    const pattern = name.toString('latin1').toLowerCase();
    for (const [key, value] of all) if (pattern === '*' || pattern === key) found.set(key, value);
  }
  return found;
}

/** COMMAND over the given descriptions (all commands, itself included: hence a function). */
function command(descriptions: () => readonly CommandDescription[], values: readonly Buffer[]): Reply {
  const [word, ...names] = values;
  const subcommand = word?.toString('latin1').toUpperCase();
  if (subcommand === undefined) return descriptions().map(tableRow);
  if (subcommand === 'COUNT') return descriptions().length;
  if (subcommand === 'LIST') return descriptions().map(({ name }) => name.toLowerCase());
  const asked = names.map((name) => name.toString('latin1').toUpperCase());
  if (subcommand === 'DOCS') {
    const chosen = descriptions().filter(({ name }) => asked.length === 0 || asked.includes(name));
    return new Map(chosen.map((row) => [row.name.toLowerCase(), documentation(row)]));
  }
  if (subcommand === 'INFO') {
    if (asked.length === 0) return descriptions().map(tableRow);
    const byName = new Map(descriptions().map((row) => [row.name, row]));
    return asked.map((name) => {
      const row = byName.get(name);
      return row === undefined ? null : tableRow(row);
    });
  }
  throw new WalError('ERR', `unknown subcommand 'COMMAND ${shown(word ?? absent)}': COUNT, DOCS, INFO, LIST are known`);
}

/** A row as COMMAND of Redis 7 has it. The arity counts the name and is negative where more may follow. */
function tableRow(row: CommandDescription): Reply {
  const arity = row.minimum === row.maximum ? row.minimum + 1 : -(row.minimum + 1);
  const key = row.takesCollection ? 1 : 0;
  const flags = [new Status(row.writes ? 'write' : 'readonly')];
  return [row.name.toLowerCase(), arity, flags, key, key, key, [], [], [], []];
}

function documentation(row: CommandDescription): Reply {
  const fields = new Map<string, Reply>([
    ['summary', row.summary],
    ['group', row.name.startsWith('WAL.') ? 'walstorage' : 'connection'],
  ]);
  if (row.usage === '') return fields;
  // One argument that reads as all of them: redis-cli shows it as the hint behind the command's name.
  const all = [
    ['name', row.usage],
    ['type', 'string'],
    ['display_text', row.usage],
  ] as const;
  return fields.set('arguments', [new Map<string, Reply>(all)]);
}

const plain = { takesCollection: false, writes: false, maximum: 100_000 } as const;

/** The commands of this file; `descriptions` gives all commands of the server. */
export function serverCommands(descriptions: () => readonly CommandDescription[]): readonly Command[] {
  return [
    { ...plain, name: 'INFO', usage: '[section ...]', summary: 'Shows the state of the server', minimum: 0, run: info },
    {
      ...plain,
      name: 'CONFIG',
      usage: 'GET name',
      summary: 'Shows a setting that tools ask for',
      minimum: 1,
      run: config,
    },
    {
      ...plain,
      name: 'COMMAND',
      usage: '[COUNT|DOCS|INFO|LIST]',
      summary: 'Shows the commands',
      minimum: 0,
      run: (_context, values) => command(descriptions, values),
    },
  ];
}
