/** Kubernetes quantities compared exactly, whatever their spelling: processors come in thousandths, so rounding to whole units won't do. */

const decimalExponents: Readonly<Record<string, number>> = {
  n: -9,
  u: -6,
  m: -3,
  k: 3,
  M: 6,
  G: 9,
  T: 12,
  P: 15,
  E: 18,
};
const binaryPrefixes = 'KMGTPE';
/** R5: twice what the CRD takes. Arithmetic on a megabyte of digits would take minutes. */
const charactersMax = 64;

/**
 * One text for all spellings of a quantity: `1Gi`, `1024Mi` and `1073741824` give the same, `500m` and `0.5` too.
 * What is no quantity is given back as it is.
 */
export function canonicalQuantity(quantity: number | string): string {
  return exactQuantity(quantity) ?? String(quantity);
}

/**
 * The quantity as a decimal number without loss, `<digits>e<exponent>`; undefined if it is no quantity, or a longer one than
 * anybody writes.
 */
export function exactQuantity(quantity: number | string): string | undefined {
  const text = String(quantity);
  if (text.length > charactersMax) return undefined;
  const match = /^([+-]?)(\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d+)|([numkMGTPE])|([KMGTPE])i)?$/.exec(text);
  if (match === null) return undefined;
  const [, sign = '', digits = '', power = '0', decimal = '', binary = ''] = match;
  const [whole = '', fraction = ''] = digits.split('.');
  const doublings = binary === '' ? 0 : 10 * (1 + binaryPrefixes.indexOf(binary));
  let mantissa = BigInt(whole + fraction) << BigInt(doublings);
  if (mantissa === 0n) return '0';
  let exponent = Number(power) + (decimalExponents[decimal] ?? 0) - fraction.length;
  for (; mantissa % 10n === 0n; mantissa /= 10n) exponent += 1;
  return `${sign === '-' ? '-' : ''}${mantissa}e${exponent}`;
}
