/**
 * One connection: requests come in, replies go out in the same order.
 *
 * - Appends are started as they come; each has a place in the row of replies (`ReplyRow`).
 * - Any other command is carried out when everything before it was answered, and alone.
 * - What is received and not answered is bounded: beyond a bound the connection is not read, or no request is started.
 *
 *     bytes ─► parser ─► start ─┬─ append ─► row, in order ───┐
 *                    (pump)     └─ other ──► running ─────────┴─► writer ─► socket, once a turn (flush)
 */
import type { Socket } from 'node:net';
import { WalError } from '../errors.ts';
import { type CollectionNames, isAppend, startAppend } from './append-command.ts';
import type { ArgumentCache } from './argument-cache.ts';
import { absent } from './arguments.ts';
import type { CommandContext, ServerContext, Session } from './command.ts';
import { errorReply, execute } from './commands.ts';
import { argumentOverheadBytes } from './limits.ts';
import { ReplyRow, type Slot } from './reply-row.ts';
import type { RequestBudget, RequestHolder } from './request-budget.ts';
import { RequestParser } from './resp-parser.ts';
import { Encoded, type OutputPart, type Reply, ReplyWriter } from './resp-serializer.ts';

/** What connections share besides what commands see. */
export interface ConnectionContext extends ServerContext {
  readonly budget: RequestBudget;
  readonly names: CollectionNames;
  readonly cache: ArgumentCache;
  /** Has `flush` called at the end of this turn of the event loop. */
  scheduleFlush(connection: Connection): void;
}

export class Connection implements RequestHolder {
  readonly session: Session;
  readonly #shared: ConnectionContext;
  readonly #context: CommandContext;
  readonly #socket: Socket;
  readonly #parser: RequestParser;
  readonly #writer = new ReplyWriter();

  readonly #appends = new ReplyRow();
  readonly #passOn = (reply: number | WalError): void => {
    if (typeof reply === 'number') this.#writer.integer(reply);
    else this.#writer.error(reply);
  };
  /** A command other than WAL.APPEND that waits until all before it is answered. */
  #next: Buffer[] | undefined;
  /** Such a command is being carried out. */
  #running = false;
  /** Memory that its request takes. */
  #runningBytes = 0;
  /** What that command waits for can be ended with this. */
  #waiting: AbortController | undefined;

  /** The parser has no whole request. */
  #starved = true;
  /** No more bytes will come (the client ended, or we shut down): the connection ends when what came whole is answered. */
  #inputOver = false;
  /** No request is started any more (QUIT, or bytes that cannot be followed): it ends when those before are answered. */
  #last = false;
  #ending = false;
  #closed = false;
  #paused = false;
  #flushScheduled = false;
  /** What the budget has counted for this connection. */
  #countedBytes = 0;
  /** While it has the turn: whether a request was got done in it. */
  #turnUsed = false;

  receivedBytes = 0;

  constructor(socket: Socket, session: Session, shared: ConnectionContext) {
    this.#socket = socket;
    this.session = session;
    this.#shared = shared;
    this.#parser = new RequestParser(shared.limits, shared.cache);
    this.#context = { server: shared, session, waiting: (wait) => this.#wait(wait) };
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('end', () => this.#inputEnded());
    socket.on('drain', () => this.#drained());
    socket.on('timeout', () => this.#outputStalled());
    socket.on('error', (error) => shared.logger.debug({ err: error, connection: session.id }, 'connection failed'));
    socket.on('close', () => this.#socketClosed());
  }

  /** Shutdown: what was received whole is carried out and answered, then the connection ends (E24). */
  drain(): void {
    this.#inputOver = true;
    this.#waiting?.abort(new WalError('UNAVAILABLE', 'the sidecar is shutting down: connect again'));
    this.#pump();
    this.#settle();
  }

  /** Ends it at once, whatever is unanswered. */
  destroy(): void {
    this.#socket.destroy();
  }

  get isReceiving(): boolean {
    return this.#isIdle() && this.#starved && !this.#socket.writableNeedDrain;
  }

  reconsider(): void {
    // Not at once: this may be called while another connection, or this one, is in the middle of its account.
    this.#requestFlush();
  }

  stalled(): void {
    this.#shared.logger.warn(
      { connection: this.session.id },
      'a request hardly moved while others waited: disconnected',
    );
    const seconds = this.#shared.limits.requestStallMs / 1000;
    this.#writer.error(
      new WalError('UNAVAILABLE', `too little of the request came in ${seconds} s while others waited: send it whole`),
    );
    this.#end();
  }

  /** Writes what replies there are, in one go, and goes on with requests that waited. */
  flush(): void {
    this.#flushScheduled = false;
    if (this.#closed) {
      for (const part of this.#writer.take()) if (typeof part === 'function') part();
      this.#leaveBudget();
      return;
    }
    if (this.#writer.bytes > 0) this.#write();
    if (!this.#starved || this.#next !== undefined) this.#pump();
    this.#settle();
  }

  #receive(chunk: Buffer): void {
    if (this.#ending || this.#last || this.#inputOver) return;
    this.receivedBytes += chunk.length;
    this.#shared.counters.inputBytes += chunk.length;
    this.#parser.push(chunk);
    this.#starved = false;
    this.#pump();
    this.#settle();
  }

  /** Starts requests while that is allowed. */
  #pump(): void {
    try {
      while (this.#mayStart()) {
        const request = this.#next ?? this.#parser.next();
        if (request === undefined) {
          this.#starved = true;
          return;
        }
        this.#start(request);
      }
    } catch (error) {
      // The stream cannot be followed any further: the error is the last reply, after those of the appends in flight.
      this.#answer(this.#appends.push(0), errorReply(this.#context, error, 'the request'));
      this.#last = true;
    }
  }

  #mayStart(): boolean {
    const { limits } = this.#shared;
    if (this.#running || this.#last || this.#closed) return false;
    if (this.#next !== undefined) return this.#appends.length === 0;
    return (
      this.#appends.length < limits.connectionHeldRequests &&
      this.#appends.heldBytes <= limits.connectionHeldBytes &&
      this.#outputBytes() <= limits.connectionOutputBytes
    );
  }

  #start(request: Buffer[]): void {
    if (isAppend(request[0] ?? absent)) {
      this.#startAppend(request);
    } else if (this.#appends.length > 0) {
      this.#next = request;
    } else {
      this.#next = undefined;
      this.#execute(request);
    }
  }

  #startAppend(request: Buffer[]): void {
    const slot = this.#appends.push(this.#begin(request));
    this.session.lastCommand = 'WAL.APPEND';
    try {
      startAppend(this.#shared.wal, this.#shared.names, this.#shared.limits, request, (error, lastSequence) => {
        this.#answer(slot, error ?? lastSequence);
      });
    } catch (error) {
      this.#answer(slot, errorReply(this.#context, error, 'WAL.APPEND'));
    }
  }

  /** Counts a request; returns the memory that it takes until it is answered. */
  #begin(request: readonly Buffer[]): number {
    this.#shared.counters.commandsProcessed += 1;
    this.#turnUsed = true;
    return this.#parser.lastRequestBytes + request.length * argumentOverheadBytes;
  }

  #answer(slot: Slot, reply: number | WalError): void {
    if (this.#appends.answer(slot, reply, this.#passOn)) this.#requestFlush();
  }

  #execute(request: readonly Buffer[]): void {
    const heldBytes = this.#begin(request);
    const reply = execute(this.#context, request);
    if (!(reply instanceof Promise)) {
      this.#executed(reply);
      return;
    }
    this.#running = true;
    this.#runningBytes = heldBytes;
    // `execute` never rejects.
    void reply.then((late) => {
      this.#running = false;
      this.#runningBytes = 0;
      this.#executed(late);
    });
  }

  #executed(reply: Reply): void {
    if (this.#closed && reply instanceof Encoded) reply.written();
    else this.#writer.reply(reply, this.session.protocol);
    if (this.session.quitting) this.#last = true;
    this.#requestFlush();
  }

  #requestFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    this.#shared.scheduleFlush(this);
  }

  async #wait<Result>(wait: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    const controller = new AbortController();
    if (this.#closed || this.#inputOver) controller.abort(goneError());
    this.#waiting = controller;
    // Whether too much came behind this command already.
    this.#requestFlush();
    try {
      controller.signal.throwIfAborted();
      return await wait(controller.signal);
    } catch (error) {
      // However the wait says that it was ended: the reason is what we gave.
      throw controller.signal.aborted ? controller.signal.reason : error;
    } finally {
      this.#waiting = undefined;
    }
  }

  /** Memory of the requests that are started and not answered. */
  #inFlightBytes(): number {
    return this.#appends.heldBytes + this.#runningBytes;
  }

  /** Replies collected, and those that the socket has not taken. */
  #outputBytes(): number {
    return this.#writer.bytes + this.#socket.writableLength;
  }

  #write(): void {
    const text = this.#writer.takeText();
    const taken = text === undefined ? this.#writeParts(this.#writer.take()) : this.#socket.write(text, 'latin1');
    // A client that takes nothing for long is disconnected; the socket's timer starts anew whenever bytes move.
    if (!taken) this.#socket.setTimeout(this.#shared.limits.outputStallMs);
  }

  #writeParts(parts: readonly OutputPart[]): boolean {
    let taken = true;
    this.#socket.cork();
    for (const [index, part] of parts.entries()) {
      if (typeof part === 'function') continue;
      const written = parts[index + 1];
      const done = typeof written === 'function' ? written : undefined;
      taken = typeof part === 'string' ? this.#socket.write(part, 'latin1', done) : this.#socket.write(part, done);
    }
    this.#socket.uncork();
    return taken;
  }

  #drained(): void {
    this.#socket.setTimeout(0);
    this.#pump();
    this.#settle();
  }

  #outputStalled(): void {
    if (this.#socket.writableLength === 0) return;
    const { outputStallMs } = this.#shared.limits;
    this.#shared.logger.warn({ connection: this.session.id, outputStallMs }, 'a client took no output: disconnected');
    this.#socket.destroy();
  }

  /** The client sends no more (or is gone, which looks the same): what came whole is answered, then we end, too. */
  #inputEnded(): void {
    if (this.#ending) return;
    this.#inputOver = true;
    this.#waiting?.abort(goneError());
    this.#pump();
    this.#settle();
  }

  /** Brings the account, reading and ending up to date with the state. */
  #settle(): void {
    if (this.#closed || this.#ending) return;
    const idle = this.#isIdle();
    if (idle && (this.#last || (this.#starved && this.#inputOver))) {
      this.#end();
      return;
    }
    // Output that the system takes at once or nearly so is not worth counting; of more, 'drain' tells the end.
    const outputBytes = this.#socket.writableNeedDrain ? this.#socket.writableLength : 0;
    const heldBytes = this.#parser.heldBytes + this.#inFlightBytes() + outputBytes;
    this.#count(heldBytes, idle);
    if (this.#mayRead(heldBytes, idle)) this.#resume();
    else this.#pause();
  }

  /** No request is started, or waits to be. */
  #isIdle(): boolean {
    return !this.#running && this.#next === undefined && this.#appends.length === 0;
  }

  #count(heldBytes: number, idle: boolean): void {
    const { budget, limits } = this.#shared;
    if (budget.hasTurn(this) && idle && this.#turnUsed && heldBytes <= limits.connectionHeldBytes) budget.endTurn(this);
    const countedBytes = budget.hasTurn(this) ? 0 : heldBytes;
    const change = countedBytes - this.#countedBytes;
    this.#countedBytes = countedBytes;
    if (change !== 0) budget.add(change);
  }

  #mayRead(heldBytes: number, idle: boolean): boolean {
    const { budget, limits } = this.#shared;
    if (this.#last || this.#inputOver) return false;
    if (heldBytes <= limits.connectionAlwaysBytes) return true;
    if (!budget.full && heldBytes <= limits.connectionHeldBytes) return true;
    // Only a request that is here in part is worth the turn; what else is held goes by itself.
    const needsMore = idle && this.#starved && !this.#socket.writableNeedDrain;
    if (!needsMore) return false;
    if (!budget.hasTurn(this)) this.#turnUsed = false;
    return budget.askForTurn(this);
  }

  #resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket.resume();
  }

  #pause(): void {
    if (this.#waiting !== undefined) {
      // Unread, the connection could be gone without our noticing, and the wait would last for ever.
      const held = 'too much was sent behind a command that waits: read its reply first, or wait on its own connection';
      this.#waiting.abort(new WalError('TOOLARGE', held));
    }
    if (this.#shared.budget.full) this.#shared.budget.waitForRoom(this);
    if (this.#paused) return;
    this.#paused = true;
    this.#socket.pause();
  }

  /** Sends what is to be sent and ends our side; the client gets a little time to read it and to end its own. */
  #end(): void {
    this.#ending = true;
    this.#leaveBudget();
    if (this.#writer.bytes > 0) this.#write();
    let timer: NodeJS.Timeout | undefined;
    this.#socket.end(() => {
      timer = setTimeout(() => this.#socket.destroy(), this.#shared.limits.lingerMs);
      timer.unref();
    });
    this.#socket.once('close', () => clearTimeout(timer));
    // What still comes is thrown away: closing with bytes unread would make the client's next write fail before it reads.
    this.#paused = false;
    this.#socket.resume();
  }

  #leaveBudget(): void {
    this.#shared.budget.leave(this);
    const countedBytes = this.#inFlightBytes();
    this.#shared.budget.add(countedBytes - this.#countedBytes);
    this.#countedBytes = countedBytes;
  }

  #socketClosed(): void {
    this.#closed = true;
    this.#waiting?.abort(goneError());
    this.#next = undefined;
    this.#leaveBudget();
    this.#requestFlush();
  }
}

function goneError(): WalError {
  return new WalError('UNAVAILABLE', 'the connection ended');
}
