/** Kubernetes quantities (`512Mi`, `1.5G`, `2e6`, `1048576`) as bytes, and bytes for people. */
import { exactQuantity } from '../sidecar/config/quantity.ts';

/** The quantity in bytes, fractions of one rounded up; undefined if it is no quantity. */
export function quantityBytes(quantity: number | string): number | undefined {
  const exact = exactQuantity(quantity);
  const bytes = exact === undefined ? Number.NaN : Math.ceil(Number(exact));
  return Number.isFinite(bytes) ? bytes : undefined;
}

const sizeUnits = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'] as const;

/** Bytes for people: `512 B`, `3.03 MiB`. */
export function humanSize(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  let size = bytes;
  let shown = '';
  for (const unit of sizeUnits) {
    size /= 1024;
    shown = `${size.toFixed(2)} ${unit}`;
    // 1023.999 KiB would be shown as 1024.00 KiB.
    if (Number(size.toFixed(2)) < 1024) break;
  }
  return shown;
}
