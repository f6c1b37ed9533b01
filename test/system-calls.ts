/**
 * The system calls of a process and all its threads, as `strace -f -y -xx -s <all>` writes them to a file.
 *
 * Line numbers are the clock. strace stops a thread before a call and after it and lets it go on only when that is noted, so
 * what a thread does because of another's finished call stands below that call's end; a call that others overlap has two lines
 * (`<unfinished ...>`, `<... resumed>`), any other begins and ends in one.
 */
export interface SystemCall {
  readonly name: string;
  /** As strace shows them, texts in hexadecimal. */
  readonly args: string;
  /** The returned number; -1 for an error or a call that never returned. */
  readonly result: number;
  /** What a returned descriptor stands for; empty for other results. */
  readonly resultPath: string;
  /** Lines of the trace. */
  readonly begin: number;
  readonly end: number;
}

/** How to run a program so that `parseTrace` understands what is written to `file`. The program keeps its parent and its pid. */
export function tracer(file: string, calls: readonly string[]): string[] {
  const trace = `trace=${calls.join(',')}`;
  return ['strace', '-D', '-f', '--seccomp-bpf', '-y', '-xx', '-s', '16777216', '-e', trace, '-o', file];
}

interface Begun {
  readonly name: string;
  readonly args: string;
  readonly line: number;
}

/** The calls in the order of their beginnings. Throws when a text was cut: then the trace shows too little. */
export function parseTrace(text: string): SystemCall[] {
  const calls: SystemCall[] = [];
  const begun = new Map<string, Begun>();
  for (const [line, content] of text.split('\n').entries()) {
    const space = content.indexOf(' ');
    const thread = content.slice(0, space);
    const rest = content.slice(space).trimStart();
    const resumed = /^<\.\.\. (\w+) resumed>/.exec(rest);
    const opening = /^(\w+)\(/.exec(rest);
    if (resumed !== null) {
      const before = begun.get(thread);
      begun.delete(thread);
      if (before === undefined || before.name !== resumed[1]) throw new Error(`line ${line} resumes nothing`);
      const whole = before.args + rest.slice(resumed[0].length);
      calls.push(finishCall({ ...before, args: whole }, line));
    } else if (opening !== null) {
      const [name = '', args] = [opening[1], rest.slice(opening[0].length)];
      const cut = / ?<unfinished \.\.\.>$/.exec(args);
      if (cut !== null) begun.set(thread, { name, args: args.slice(0, cut.index), line });
      else calls.push(finishCall({ name, args, line }, line));
    }
  }
  return calls.toSorted((a, b) => a.begin - b.begin);
}

function finishCall({ name, args, line }: Begun, end: number): SystemCall {
  if (args.includes('"...')) throw new Error(`line ${line} shows a text in part only`);
  const equals = args.lastIndexOf(') ');
  const returned = /=\s+(-?\d+)(?:<((?:\\x[0-9a-f]{2})*)>)?/.exec(args.slice(equals));
  const resultPath = fromHexadecimal(returned?.[2] ?? '').toString();
  return { name, args: args.slice(0, equals), result: Number(returned?.[1] ?? -1), resultPath, begin: line, end };
}

/** The descriptor that is a call's first argument, and the path or the like that it stands for. */
export function descriptorOf(call: SystemCall): { descriptor: number; path: string } {
  const match = /^(\d+)<((?:\\x[0-9a-f]{2})*)>/.exec(call.args);
  if (match === null) return { descriptor: -1, path: '' };
  return { descriptor: Number(match[1]), path: fromHexadecimal(match[2] ?? '').toString() };
}

/** All texts among a call's arguments. */
export function textsOf(call: SystemCall): Buffer[] {
  return [...call.args.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g)].map((match) => fromHexadecimal(match[1] ?? ''));
}

/** The last argument, as a number. */
export function lastNumberOf(call: SystemCall): number {
  return Number(/, (\d+)$/.exec(call.args)?.[1] ?? Number.NaN);
}

function fromHexadecimal(text: string): Buffer {
  return Buffer.from(text.replaceAll('\\x', ''), 'hex');
}
