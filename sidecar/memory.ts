/**
 * What a sidecar's process needs besides unflushed bytes: its resident set is at most the threshold + 250 MB, and 256 MiB are
 * 268 MB. The operator sets memory limits by it, and a running sidecar takes no threshold that its limit does not hold.
 */
export const memoryOverheadBytes = 256 * 1024 * 1024;

/**
 * The largest threshold that fits into the memory that the system allows this process; infinite where it sets no limit.
 * @param limitBytes as `process.constrainedMemory()` tells it: 0, or more than any machine has, without a limit
 */
export function thresholdBytesMax(limitBytes: number): number {
  return limitBytes > 0 ? limitBytes - memoryOverheadBytes : Number.POSITIVE_INFINITY;
}
