/** What a command is, and what it sees of the server and of its connection. */
import type { Logger } from 'pino';
import type { Assignment, Component } from '../assignment/assignment.ts';
import type { Wal } from '../wal/wal.ts';
import type { Limits } from './limits.ts';
import type { ReplyBudget } from './reply-budget.ts';
import type { Protocol, Reply } from './resp-serializer.ts';

/** What the server needs of the assignment service. */
export interface Assignments {
  /** The assignment, made durably at first use; afterwards always the same. */
  assign(component: Component, collection: string): Promise<Assignment>;
  get(component: Component, collection: string): Assignment | undefined;
  /** False if there is none; INVALID while the collection or its directory holds something. */
  remove(component: Component, collection: string): Promise<boolean>;
  list(component: Component): Iterable<Assignment>;
}

/** One connection as CLIENT LIST shows it, and what its commands change of it. */
export interface Session {
  readonly id: number;
  readonly connectedAtMs: number;
  protocol: Protocol;
  name: string;
  libraryName: string;
  libraryVersion: string;
  lastCommand: string;
  /** After QUIT: nothing more is read, the connection ends when all is answered. */
  quitting: boolean;
}

export interface ServerCounters {
  connectionsReceived: number;
  connectionsRejected: number;
  commandsProcessed: number;
  inputBytes: number;
}

/** What all connections of a server share. */
export interface ServerContext {
  readonly wal: Wal;
  readonly assignments: Assignments;
  readonly version: string;
  readonly socketPath: string;
  readonly startedAtMs: number;
  readonly limits: Limits;
  readonly logger: Logger;
  readonly counters: ServerCounters;
  readonly replies: ReplyBudget;
  sessions(): Iterable<Session>;
}

export interface CommandContext {
  readonly server: ServerContext;
  readonly session: Session;
  /**
   * Runs what may wait long for others. The signal is aborted with the reason to answer when the connection ends, the
   * server shuts down, or too much was sent behind the command that waits.
   */
  waiting<Result>(wait: (signal: AbortSignal) => Promise<Result>): Promise<Result>;
}

/** A command as COMMAND shows it. */
export interface CommandDescription {
  /** Upper case; commands of two words (`CLIENT ID`) are one command that looks at its first argument. */
  readonly name: string;
  /** The arguments as a user types them, for errors and COMMAND DOCS. */
  readonly usage: string;
  readonly summary: string;
  /** Arguments after the name. */
  readonly minimum: number;
  readonly maximum: number;
  /** Whether the first argument is a collection. */
  readonly takesCollection: boolean;
  readonly writes: boolean;
}

export interface Command extends CommandDescription {
  /** `values`: the arguments after the name. */
  run(context: CommandContext, values: readonly Buffer[]): Reply | Promise<Reply>;
}
