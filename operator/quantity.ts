/** Kubernetes quantities (`512Mi`, `1.5G`, `2e6`, `1048576`) as bytes, and bytes for people. */

const multipliers: Readonly<Record<string, number>> = {
  '': 1,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** The quantity in bytes, fractions of one rounded up; undefined if it is no quantity. */
export function quantityBytes(quantity: number | string): number | undefined {
  const match = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([mkMGTPE]|[KMGTPE]i))?$/.exec(String(quantity));
  if (match === null) return undefined;
  const [, digits = '', exponent = '', suffix = ''] = match;
  const bytes = Number(`${digits}${exponent}`) * (multipliers[suffix] ?? Number.NaN);
  if (!Number.isFinite(bytes)) return undefined;
  // 1.001M is 1000999.9999999999 in binary fractions.
  return Math.abs(bytes - Math.round(bytes)) < 1e-3 ? Math.round(bytes) : Math.ceil(bytes);
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
