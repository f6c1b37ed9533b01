#!/usr/bin/env node
/**
 * The command `walstorage`. Each subcommand's code is loaded when it is called: the Kubernetes client of the operator
 * costs 300 ms and 100 MB, and nobody else needs it.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import packageJson from '../../package.json' with { type: 'json' };
import { strategies } from '../assignment/assignment.ts';
import { end } from './ending.ts';
import { exitStatus, outputForms, type Terminal } from './terminal.ts';

const terminal: Terminal = { stdout: process.stdout, stderr: process.stderr, environment: process.env };

const configOption = (): Option =>
  new Option('--config <file>', 'the configuration file (TOML)').env('WALSTORAGE_CONFIG').makeOptionMandatory();
const socketOption = (): Option =>
  new Option('--socket <path>', 'the Unix socket').env('WALSTORAGE_SOCKET').default('/run/walstorage/wal.sock');
const httpOption = (): Option =>
  new Option('--http <host:port>', 'where health, metrics and the status page are served')
    .env('WALSTORAGE_HTTP')
    .default('127.0.0.1:9464');
const outputOption = (): Option =>
  new Option('--output <form>', 'text for people, json for programs').choices(outputForms).default('text');
const logLevelOption = (): Option =>
  new Option('--log-level <level>', 'the least severe level to log')
    .env('WALSTORAGE_LOG_LEVEL')
    .choices(['trace', 'debug', 'info', 'warn', 'error', 'fatal'])
    .default('info');

/** Of the commands that talk to a sidecar. */
const talkStatus = '\nExit status: 0 done, 1 no sidecar answers, or it refuses, 2 the command was not understood.';

const program = new Command('walstorage')
  .description('Write-ahead log storage for ProximaDB: the sidecar, the operator, and tools to look at both')
  .version(packageJson.version)
  .showHelpAfterError('(add --help for what it takes)')
  .exitOverride((error) => process.exit(error.exitCode === 0 ? exitStatus.fine : exitStatus.configuration));

program
  .command('sidecar')
  .description('serve the log on a Unix socket')
  .addOption(configOption())
  .addOption(socketOption())
  .addOption(httpOption())
  .addOption(logLevelOption())
  .addHelpText(
    'after',
    '\nThe configuration file is watched, and read again at SIGHUP; docs/changes.md tells what takes effect without a restart.\nExit status: 0 ended by SIGTERM or SIGINT, 1 it could not start, 2 the configuration is bad, or the command not understood.',
  )
  .action(async (options) => end((await import('./sidecar.ts')).runSidecar(options, terminal)));

program
  .command('operator')
  .description('reconcile WalStorage resources of a Kubernetes cluster')
  .option('--kubeconfig <file>', 'how to reach the cluster (default: in-cluster)')
  .addOption(new Option('--http <host:port>', 'where health and metrics are served').default('0.0.0.0:9465'))
  .addOption(new Option('--namespace <name>', 'a namespace to watch; repeatable').argParser(collect).default([], 'all'))
  .addOption(
    new Option('--webhook <host:port>', 'where the API server asks for sidecars (default: nowhere)').env(
      'WALSTORAGE_WEBHOOK',
    ),
  )
  .addOption(
    new Option('--image <name>', 'the image of the sidecars, where a WalStorage names none; needed by --webhook').env(
      'WALSTORAGE_IMAGE',
    ),
  )
  .addOption(
    new Option(
      '--tls-dir <dir>',
      'where tls.crt and tls.key of the webhook are mounted (default: the operator keeps its own in a Secret of POD_NAMESPACE)',
    ).env('WALSTORAGE_TLS_DIR'),
  )
  .addOption(logLevelOption())
  .addHelpText(
    'after',
    '\nPOD_NAMESPACE and POD_NAME in the environment: one of several replicas, of which one at a time works.' +
      '\nExit status: 0 ended by SIGTERM or SIGINT, 1 it could not start, 2 the command was not understood.',
  )
  .action(async (options) => end((await import('./operator.ts')).runOperatorCommand(options, terminal)));

program
  .command('verify')
  .description('report what a configuration and its directories hold, and what is wrong with them')
  .addOption(configOption())
  .addOption(outputOption())
  .addHelpText(
    'after',
    '\nExit status: 0 all is well, 1 something is wrong, 2 the configuration is bad, or the command not understood.',
  )
  .action(async (options) => finish((await import('./verify.ts')).verify(options, terminal)));

program
  .command('simulate')
  .description('show where new collections would go')
  .addOption(configOption())
  .option('--collections <n>', 'how many', integer, 10)
  .addOption(new Option('--strategy <name>', 'instead of the configured one').choices(strategies))
  .addOption(outputOption())
  .addHelpText('after', '\nExit status: 0 it is shown, 2 the configuration is bad, or the command not understood.')
  .action(async (options) =>
    finish((await import('./simulate.ts')).simulate({ strategy: undefined, ...options }, terminal)),
  );

program
  .command('append')
  .description('append entries to a collection: one from the command line, or one a line from standard input')
  .argument('<collection>')
  .argument('[payload]', 'the payload; without it each line of standard input is one')
  .addOption(socketOption())
  .option('--op <operation>', 'INSERT, UPDATE, DELETE or another token', 'INSERT')
  .option('--key <key>', 'the key of the entries', '')
  .addHelpText(
    'after',
    `\nPrints a sequence for each append: that of its last entry. Up to 100 lines share one.${talkStatus}`,
  )
  .action(async (collection, payload, options) =>
    finish((await import('./append.ts')).append({ collection, payload, ...options }, process.stdin, terminal)),
  );

for (const [name, description, follow] of [
  ['read', 'print entries of a collection', false],
  ['tail', 'print the entries of a collection as they come, until Ctrl-C', true],
] as const) {
  program
    .command(name)
    .description(description)
    .argument('<collection>')
    .addOption(socketOption())
    .option(
      '--from <sequence>',
      follow ? 'begin there (default: behind the last entry)' : 'begin there (default: the first kept)',
      integer,
    )
    .option('--count <n>', 'stop after so many entries', integer)
    .addOption(outputOption())
    .addHelpText('after', talkStatus)
    .action(async (collection, options) =>
      finish((await import('./read.ts')).read({ collection, follow, ...options }, terminal)),
    );
}

await program.parseAsync();

async function finish(status: Promise<number>): Promise<void> {
  process.exitCode = await status;
}

function collect(value: string, previous: readonly string[]): string[] {
  return [...previous, value];
}

function integer(value: string): number {
  if (!/^\d{1,15}$/.test(value)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(value);
}
