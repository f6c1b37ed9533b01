/**
 * How much memory the sidecar needs: what it may hold unflushed, and an overhead for itself.
 *
 * A volume in memory (emptyDir, medium Memory) counts to the container that writes it: under WAL URLs that is the sidecar.
 */
import { globalFlushThresholdBytesDefault } from '../../sidecar/config/sections.ts';
import { memoryOverheadBytes } from '../../sidecar/memory.ts';
import type { WalStorage } from '../kubernetes.ts';
import { quantityBytes } from '../quantity.ts';
import type { Resources } from './pod.ts';
import { walVolumesOf } from './volumes.ts';

const mebibyte = 2 ** 20;
/** It works in bursts; without a limit it takes what the node has left. */
const cpuRequest = '100m';

/** The least memory limit with which the sidecar can hold what its threshold allows, in bytes. */
export function memoryNeededBytes(storage: WalStorage): number {
  return (quantityBytes(thresholdOf(storage)) ?? 0) + memoryOverheadBytes;
}

export function thresholdOf({ spec }: WalStorage): number | string {
  return spec.wal.globalFlushThreshold ?? quantityOf(globalFlushThresholdBytesDefault);
}

/** The container's resources: what the user gave, and our defaults for the rest. */
export function resourcesOf(storage: WalStorage): Resources {
  const { limits = {}, requests = {} } = storage.spec.sidecar?.resources ?? {};
  const neededBytes = memoryNeededBytes(storage) + memoryVolumesBytes(storage);
  // A limit below the request would be refused.
  const limitBytes = Math.max(neededBytes, quantityBytes(requests['memory'] ?? 0) ?? 0);
  const givenLimitBytes = quantityBytes(limits['memory'] ?? limitBytes) ?? limitBytes;
  const cpu = limits['cpu'] === undefined ? { cpu: cpuRequest } : {};
  return {
    limits: { memory: quantityOf(limitBytes), ...limits },
    requests: { ...cpu, memory: quantityOf(Math.min(neededBytes, givenLimitBytes)), ...requests },
  };
}

function memoryVolumesBytes(storage: WalStorage): number {
  return walVolumesOf(storage)
    .filter(({ emptyDir }) => emptyDir?.medium === 'Memory')
    .reduce((bytes, { emptyDir }) => bytes + (quantityBytes(emptyDir?.sizeLimit ?? 0) ?? 0), 0);
}

/** Bytes as a quantity: in Mi where that is a whole number. */
export function quantityOf(bytes: number): string {
  return bytes % mebibyte === 0 ? `${bytes / mebibyte}Mi` : `${bytes}`;
}
