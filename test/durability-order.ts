/**
 * Judges a trace of a sidecar's system calls: does anything leave before it is durable? Three rules:
 *
 *   1. A reply to an append begins to leave after its frame, and every earlier one of its collection, is on the disk: its synced
 *      write returned, or a sync that began after the write had returned.
 *   2. A frame counts only when the name of its file does: the directory was synced after the rename.
 *   3. A file under a temporary name is renamed after all that was written to it is on the disk.
 *
 * Which frame holds which sequences is read from the bytes that went to the journal, at their offsets.
 */
import { basename, dirname } from 'node:path';
import {
  decodeFileHeader,
  decodeFrame,
  type FileHeader,
  type FrameHeader,
  fileHeaderBytes,
} from '../sidecar/journal/frame.ts';
import { isTemporaryName } from '../sidecar/storage/file.ts';
import { descriptorOf, lastNumberOf, type SystemCall, textsOf } from './system-calls.ts';

/** The calls that must be in the trace. */
export const tracedCalls: readonly string[] = `
  openat close accept accept4 dup dup2 dup3
  write writev pwrite64 pwritev pwritev2 sendto sendmsg
  fsync fdatasync rename renameat renameat2
`
  .trim()
  .split(/\s+/);

/** An append that a client got an answer to. */
export interface Answer {
  readonly collection: string;
  /** The sequence of its last entry. */
  readonly last: number;
}

/** The first reply of each connection must be to `ECHO <label>`; `answers` are those that followed, in order. */
export interface ConnectionAnswers {
  readonly label: string;
  readonly answers: readonly Answer[];
}

export interface Judgement {
  readonly violations: readonly string[];
  /** What was looked at. */
  readonly frames: number;
  readonly replies: number;
  /** Temporary files that got their names, by what they became. */
  readonly renames: { readonly journals: number; readonly segments: number; readonly others: number };
}

/** Judges the calls of one sidecar process. */
export function judgeTrace(calls: readonly SystemCall[], connections: readonly ConnectionAnswers[]): Judgement {
  const judge = new Judge(connections);
  const events = calls.flatMap((call) => [
    { line: call.begin, order: 0, happen: () => judge.begin(call) },
    { line: call.end, order: 1, happen: () => judge.end(call) },
  ]);
  for (const event of events.toSorted((a, b) => a.line - b.line || a.order - b.order)) event.happen();
  judge.finish();
  return judge;
}

interface Write {
  /** Where in the file; NaN where the call doesn't say. */
  readonly offset: number;
  readonly bytes: Buffer;
  returned: boolean;
}

interface TracedFile {
  /** Written, or being written, and not known to be on the disk. */
  readonly unsynced: Set<Write>;
  /** What is on the disk of a journal file, from its beginning on. */
  image: Buffer;
  header: FileHeader | undefined;
  /** Where in the image the next frame begins. */
  nextFrame: number;
  /** The line where it got its name. */
  namedAt: number;
  isNameDurable: boolean;
  /** Frames on the disk of a file whose name is not. */
  nameless: FrameHeader[];
}

interface Connection {
  readonly label: string;
  readonly answers: readonly Answer[];
  /** All that is sent to it, and where in that each reply to an append begins. */
  readonly expected: Buffer;
  readonly starts: readonly number[];
  sentBytes: number;
  checked: number;
}

class Judge implements Judgement {
  readonly violations: string[] = [];
  frames = 0;
  replies = 0;
  readonly renames = { journals: 0, segments: 0, others: 0 };
  readonly #files = new Map<string, TracedFile>();
  readonly #writes = new Map<SystemCall, Write>();
  /** Descriptors whose writes are synced. */
  readonly #synced = new Set<number>();
  /** What a sync that is under way makes durable. */
  readonly #syncs = new Map<SystemCall, Write[]>();
  /** Accepted sockets by strace's name for them, with whose they are once that is known. */
  readonly #sockets = new Map<string, Connection | undefined>();
  readonly #connections: readonly Connection[];
  /** By collection: all sequences up to this one are durable. */
  readonly #durable = new Map<string, number>();

  constructor(connections: readonly ConnectionAnswers[]) {
    this.#connections = connections.map(expectReplies);
  }

  begin(call: SystemCall): void {
    const { name } = call;
    const { descriptor, path } = descriptorOf(call);
    // From here on, and not from its return: another thread may be given the same number before that.
    if (name === 'close') this.#synced.delete(descriptor);
    else if (isSync(name)) this.#beginSync(call, path);
    else if (isRename(name)) this.#checkRename(call);
    else if (isWrite(name) && this.#sockets.has(path)) this.#send(call, path);
    else if (isWrite(name)) this.#beginWrite(call, path);
    else if (name.startsWith('dup')) this.#violate(call.begin, 'a descriptor was doubled, which is not followed here');
  }

  end(call: SystemCall): void {
    const { name, result } = call;
    const { descriptor, path } = descriptorOf(call);
    if (result < 0) return;
    if (name === 'openat' && /O_D?SYNC/.test(call.args)) this.#synced.add(result);
    else if (name === 'accept' || name === 'accept4') this.#sockets.set(call.resultPath, undefined);
    else if (isSync(name)) this.#endSync(call, path);
    else if (isRename(name)) this.#rename(call);
    else if (isWrite(name)) this.#endWrite(call, path, this.#synced.has(descriptor));
  }

  /** Says what the trace should have shown and didn't. */
  finish(): void {
    for (const { label, checked, answers } of this.#connections) {
      if (checked < answers.length)
        this.violations.push(`the trace shows ${checked} of ${answers.length} replies to ${label}`);
    }
  }

  #violate(line: number, what: string): void {
    this.violations.push(`line ${line + 1}: ${what}`);
  }

  #file(path: string): TracedFile {
    const known = this.#files.get(path);
    if (known !== undefined) return known;
    const file: TracedFile = {
      unsynced: new Set(),
      image: Buffer.alloc(0),
      header: undefined,
      nextFrame: fileHeaderBytes,
      namedAt: Number.POSITIVE_INFINITY,
      isNameDurable: false,
      nameless: [],
    };
    this.#files.set(path, file);
    return file;
  }

  #beginWrite(call: SystemCall, path: string): void {
    if (call.result <= 0) return;
    const bytes = Buffer.concat(textsOf(call)).subarray(0, call.result);
    const write = { offset: call.name.startsWith('pwrite') ? lastNumberOf(call) : Number.NaN, bytes, returned: false };
    this.#writes.set(call, write);
    this.#file(path).unsynced.add(write);
  }

  #endWrite(call: SystemCall, path: string, isSynced: boolean): void {
    const write = this.#writes.get(call);
    if (write === undefined) return;
    this.#writes.delete(call);
    write.returned = true;
    if (isSynced) this.#becomeDurable(this.#file(path), [write]);
  }

  #beginSync(call: SystemCall, path: string): void {
    const { unsynced } = this.#file(path);
    this.#syncs.set(
      call,
      [...unsynced].filter((write) => write.returned),
    );
  }

  #endSync(call: SystemCall, path: string): void {
    this.#becomeDurable(this.#file(path), this.#syncs.get(call) ?? []);
    this.#syncs.delete(call);
    for (const [name, file] of this.#files) {
      if (dirname(name) !== path || file.namedAt >= call.begin) continue;
      file.isNameDurable = true;
      for (const frame of file.nameless.splice(0)) this.#countFrame(frame);
    }
  }

  #becomeDurable(file: TracedFile, writes: readonly Write[]): void {
    for (const write of writes) {
      file.unsynced.delete(write);
      if (write.offset === file.image.length) file.image = Buffer.concat([file.image, write.bytes]);
    }
    file.header ??= decodeFileHeader(file.image);
    if (file.header === undefined) return;
    for (;;) {
      const decoded = decodeFrame(file.image, file.nextFrame, file.header.marker, file.header.epoch);
      if (decoded.kind !== 'frame') return;
      file.nextFrame += decoded.header.headerBytes + decoded.header.bodyBytes;
      if (file.isNameDurable) this.#countFrame(decoded.header);
      else file.nameless.push(decoded.header);
    }
  }

  #countFrame({ collections }: FrameHeader): void {
    this.frames++;
    for (const { name, first, last } of collections) {
      const durable = this.#durable.get(name) ?? 0;
      // A frame before which others are missing makes nothing answerable.
      if (first <= durable + 1 && last > durable) this.#durable.set(name, last);
    }
  }

  #checkRename(call: SystemCall): void {
    const [from = '', to = ''] = textsOf(call).map(String);
    if (!isTemporaryName(basename(from))) return;
    const { unsynced } = this.#file(from);
    if (unsynced.size > 0) this.#violate(call.begin, `${from} gets the name ${to} before it is synced`);
  }

  #rename(call: SystemCall): void {
    const [from = '', to = ''] = textsOf(call).map(String);
    const file = this.#file(from);
    file.namedAt = call.end;
    this.#files.delete(from);
    this.#files.set(to, file);
    if (!isTemporaryName(basename(from))) return;
    if (to.endsWith('.journal')) this.renames.journals++;
    else if (to.endsWith('.avro')) this.renames.segments++;
    else this.renames.others++;
  }

  /** Compares what leaves with what is expected; what begins to leave must be durable now. */
  #send(call: SystemCall, socket: string): void {
    if (call.result <= 0) return;
    const bytes = Buffer.concat(textsOf(call)).subarray(0, call.result);
    const connection = this.#sockets.get(socket) ?? this.#recognize(bytes);
    if (connection === undefined) return;
    this.#sockets.set(socket, connection);
    const { answers, expected, label, sentBytes, starts } = connection;
    const end = sentBytes + bytes.length;
    if (expected.compare(bytes, 0, bytes.length, sentBytes, end) !== 0) {
      this.#violate(call.begin, `${label} is sent something else than it got`);
    }
    for (let start = starts[connection.checked]; start !== undefined && start < end; ) {
      const answer = answers[connection.checked];
      if (answer !== undefined) this.#checkAnswer(call.begin, label, answer);
      connection.checked++;
      start = starts[connection.checked];
    }
    connection.sentBytes = end;
  }

  #recognize(bytes: Buffer): Connection | undefined {
    return this.#connections.find(({ label }) => bytes.includes(echoReply(label)));
  }

  #checkAnswer(line: number, label: string, { collection, last }: Answer): void {
    this.replies++;
    const durable = this.#durable.get(collection) ?? 0;
    if (durable >= last) return;
    this.#violate(line, `${label} is told of ${collection} ${last}, and durable is it up to ${durable}`);
  }
}

function expectReplies({ label, answers }: ConnectionAnswers): Connection {
  const parts = [echoReply(label)];
  const starts: number[] = [];
  let bytes = parts[0]?.length ?? 0;
  for (const { last } of answers) {
    const reply = Buffer.from(`:${last}\r\n`);
    starts.push(bytes);
    parts.push(reply);
    bytes += reply.length;
  }
  return { label, answers, expected: Buffer.concat(parts), starts, sentBytes: 0, checked: 0 };
}

function echoReply(label: string): Buffer {
  return Buffer.from(`$${label.length}\r\n${label}\r\n`);
}

function isSync(name: string): boolean {
  return name === 'fsync' || name === 'fdatasync';
}

function isRename(name: string): boolean {
  return name.startsWith('rename');
}

function isWrite(name: string): boolean {
  return name.includes('write') || name.startsWith('send');
}
