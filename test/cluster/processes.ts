/** Processes by the network that they are in, as the machine sees them. */
import { readdirSync, readlinkSync } from 'node:fs';

/** The processes in a network namespace, which is what `/proc/<pid>/ns/net` links to. */
export function processesIn(network: string): number[] {
  const numbers = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return numbers.map(Number).filter((pid) => networkOf(pid) === network);
}

function networkOf(pid: number | string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}
