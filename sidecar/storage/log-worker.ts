/**
 * The thread that writes one URL's log files, so that a disk that stalls stops nothing but its own URL (E2).
 * It imports nothing beyond Node's own modules: each worker's memory counts.
 *
 * A log file is open twice: synced writes go through a descriptor with `O_DSYNC`, so that write and sync are one
 * system call; the others, and `fdatasync`, through a plain one.
 */
import { closeSync, constants, fdatasyncSync, ftruncateSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { constants as systemConstants } from 'node:os';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { LogError, LogReply, LogRequest, LogWorkerData } from './log-messages.ts';

interface OpenLog {
  readonly synced: number;
  readonly plain: number;
}

const { O_WRONLY, O_CREAT, O_EXCL, O_DSYNC } = constants;
const logs = new Map<number, OpenLog>();

function create(path: string): OpenLog {
  const synced = openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_DSYNC);
  try {
    return { synced, plain: openSync(path, O_WRONLY) };
  } catch (error) {
    closeSync(synced);
    unlinkSync(path);
    throw error;
  }
}

function opened(file: number): OpenLog {
  const log = logs.get(file);
  if (!log) throw new Error(`log ${file} is not open`);
  return log;
}

/** Writes all: a call that writes less than it was given is followed by one for the rest. */
function write(log: OpenLog, request: LogRequest & { operation: 'write' }): LogReply {
  const descriptor = request.synced ? log.synced : log.plain;
  const { content, position } = request;
  const memory = content.buffer;
  let bytes = 0;
  try {
    while (bytes < content.length)
      bytes += writeSync(descriptor, content, bytes, content.length - bytes, position + bytes);
    return { bytes, error: undefined, memory };
  } catch (error) {
    return { bytes, error: described(error), memory };
  }
}

function answer(request: LogRequest): LogReply {
  const done = { bytes: 0, error: undefined };
  try {
    if (request.operation === 'create') {
      logs.set(request.file, create(request.path));
      return done;
    }
    const log = opened(request.file);
    if (request.operation === 'write') return write(log, request);
    if (request.operation === 'sync') fdatasyncSync(log.plain);
    if (request.operation === 'truncate') ftruncateSync(log.plain, request.bytes);
    if (request.operation === 'close') {
      logs.delete(request.file);
      closeSync(log.plain);
      closeSync(log.synced);
    }
    return done;
  } catch (error) {
    return { bytes: 0, error: described(error) };
  }
}

function described(error: unknown): LogError {
  if (!(error instanceof Error)) return { message: String(error), code: undefined };
  // A quota that is used up: Node has only a number for it.
  const isQuota = 'errno' in error && error.errno === -systemConstants.errno.EDQUOT;
  if (isQuota) return { message: `EDQUOT: ${error.message}`, code: 'EDQUOT' };
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return { message: error.message, code };
}

function serve(): never {
  const port = parentPort;
  if (!port) throw new Error('this module is the body of a worker thread');
  const { sent }: LogWorkerData = workerData;
  for (;;) {
    const seen = Atomics.load(sent, 0);
    for (let received = receiveMessageOnPort(port); received; received = receiveMessageOnPort(port)) {
      const request: LogRequest = received.message;
      const reply = answer(request);
      port.postMessage(reply, reply.memory === undefined ? [] : [reply.memory]);
    }
    Atomics.wait(sent, 0, seen);
  }
}

serve();
