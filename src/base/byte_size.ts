/** Sizes in bytes as people write them: `4GB`, `512MiB`, `4000000000`. GB are decimal, GiB binary. */

const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};
const SIZE = /^\s*(?<amount>\d+(?:\.\d+)?)\s*(?<unit>[KMGT]?i?B)?\s*$/i;

/** The bytes of a written size, rounded down; null for text that is no positive size. */
export function parseSize(text: string): number | null {
  const { amount, unit = "B" } = SIZE.exec(text)?.groups ?? {};
  const bytes = Math.floor(Number(amount) * (UNITS[unit.toUpperCase()] ?? Number.NaN));
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : null;
}

/** A smaller number without a unit was not meant as bytes. */
const MIN_BARE_BYTES = 1e6;

/** Whether a size is a bare number, so small that its unit must have been forgotten. */
export function lacksUnit(text: string): boolean {
  return /^[\s\d.]*$/.test(text) && Number(text) < MIN_BARE_BYTES;
}

/** `64.0 MB` */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** `1.62 GB` */
export function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(2)} GB`;
}

/** Gigabytes rounded up, so that a limit of the printed size is enough for `bytes`. */
export function enoughGigabytes(bytes: number): string {
  return gigabytes(Math.ceil(bytes / 1e7) * 1e7);
}

/** `4 bytes`, `64.00 kB`, `512.00 MB`, `1.62 GB`: in the decimal unit that fits. */
export function decimalSize(bytes: number): string {
  return inUnit(bytes, [
    ["GB", 1e9],
    ["MB", 1e6],
    ["kB", 1e3],
  ]);
}

/** As `decimalSize`, in binary units. */
export function binarySize(bytes: number): string {
  return inUnit(bytes, [
    ["GiB", 2 ** 30],
    ["MiB", 2 ** 20],
    ["KiB", 2 ** 10],
  ]);
}

/**
 * A needed size and the smaller one that was found, each in the binary unit that fits; in bytes where both would read
 * the same.
 */
export function contrastedSizes(needed: number, found: number): readonly [string, string] {
  const [a, b] = [binarySize(needed), binarySize(found)];
  return a === b ? [wholeBytes(needed), wholeBytes(found)] : [a, b];
}

/** Smallest multiple of `alignment` that is not below `bytes`; arithmetic, since `&` would cut at 32 bits. */
export function alignUp(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

/** @param units - largest first */
function inUnit(bytes: number, units: readonly (readonly [name: string, bytes: number])[]): string {
  const unit = units.find(([, size]) => bytes >= size);
  return unit === undefined ? wholeBytes(bytes) : `${(bytes / unit[1]).toFixed(2)} ${unit[0]}`;
}

function wholeBytes(bytes: number): string {
  const count = Math.round(bytes);
  return `${count.toLocaleString("en")} ${count === 1 ? "byte" : "bytes"}`;
}
