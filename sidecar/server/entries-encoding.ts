/** The reply of WAL.READ: an array of `[seq, timestamp-µs, op, key, payload]`, copied into blocks for the socket. */
import type { WalEntry } from '../wal/wal.ts';

/** A block is at least so long, so that a large reply is not one large buffer that stays until its last byte is sent. */
const blockBytes = 256 * 1024;
/** Numbers, lengths and line ends of one entry, at most. */
const entryOverheadBytes = 128;

/** The encoded reply. The entries' buffers are copied: they may be reused once this returns. */
export function encodeEntries(entries: readonly WalEntry[]): Buffer[] {
  const blocks: Buffer[] = [];
  let block = Buffer.allocUnsafe(blockSize(entries, 0) + 32);
  let at = block.write(`*${entries.length}\r\n`, 0, 'latin1');
  for (const [index, entry] of entries.entries()) {
    if (at + sizeOf(entry) > block.length) {
      blocks.push(block.subarray(0, at));
      block = Buffer.allocUnsafe(blockSize(entries, index));
      at = 0;
    }
    at = encodeEntry(entry, block, at);
  }
  blocks.push(block.subarray(0, at));
  return blocks;
}

/** The size of a block that begins with the entry at `index`: up to `blockBytes`, but that entry fits. */
function blockSize(entries: readonly WalEntry[], index: number): number {
  let bytes = 0;
  for (let at = index; at < entries.length && bytes < blockBytes; at += 1) {
    const entry = entries[at];
    if (entry !== undefined) bytes += sizeOf(entry);
  }
  return bytes;
}

function sizeOf(entry: WalEntry): number {
  return entryOverheadBytes + entry.operation.length + entry.key.length + entry.payload.length;
}

function encodeEntry(entry: WalEntry, block: Buffer, start: number): number {
  const { operation, key, payload } = entry;
  let at = start;
  at += block.write(`*5\r\n:${entry.sequence}\r\n:${entry.timestampUs}\r\n$${operation.length}\r\n`, at, 'latin1');
  at += operation.copy(block, at);
  at += block.write(`\r\n$${key.length}\r\n`, at, 'latin1');
  at += key.copy(block, at);
  at += block.write(`\r\n$${payload.length}\r\n`, at, 'latin1');
  at += payload.copy(block, at);
  at += block.write('\r\n', at, 'latin1');
  return at;
}
