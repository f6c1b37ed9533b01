/** What a command of the CLI is given of the process that it runs in, and how it ends. */
import type { Configuration } from '../config/configuration.ts';
import { load } from '../config/parse.ts';
import { format, type Problem } from '../config/problem.ts';

export interface Terminal {
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** The exit statuses of all commands. */
export const exitStatus = {
  fine: 0,
  /** Something is wrong with what was looked at. */
  wrong: 1,
  /** The configuration, or an option, is bad: nothing was looked at. */
  configuration: 2,
} as const;

/** `json`: one JSON document on stdout, for programs. */
export const outputForms = ['text', 'json'] as const;
export type OutputForm = (typeof outputForms)[number];

/** A configuration that holds, and what its file sets. */
export interface LoadedConfiguration {
  readonly configuration: Configuration;
  /** The key paths that stand in the file; all others have their defaults. */
  readonly written: ReadonlySet<string>;
  /** Of the file's text. */
  readonly hash: string;
  readonly warnings: readonly Problem[];
}

/**
 * The configuration of a file, its warnings written to stderr. Undefined where it does not hold: all its problems are
 * written there, and the command ends with `exitStatus.configuration`.
 */
export async function loadConfiguration(file: string, terminal: Terminal): Promise<LoadedConfiguration | undefined> {
  const { configuration, written, hash, problems, warnings } = await load(file, terminal.environment);
  if (warnings.length > 0) terminal.stderr.write(`${file}: warnings:\n${indent(format(warnings))}`);
  if (configuration !== undefined) return { configuration, written, hash, warnings };
  const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`;
  terminal.stderr.write(`${file}: ${count}:\n${indent(format(problems))}`);
  return undefined;
}

function indent(lines: string): string {
  return lines.replace(/^(?=.)/gm, '  ');
}
