/** Numbers of bytes as people write them: `4GB`, `512MiB`, `4000000000`. GB are decimal, GiB binary. */

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

/** Bytes; null for what is no size. */
export function parseSize(text: string): number | null {
  const { amount, unit = "B" } = SIZE.exec(text)?.groups ?? {};
  const bytes = Math.floor(Number(amount) * (UNITS[unit.toUpperCase()] ?? Number.NaN));
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : null;
}

/** `1.62 GB` */
export function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(2)} GB`;
}

/** What suffices for so many bytes, and works when it is given: rounded up. */
export function enoughGigabytes(bytes: number): string {
  return gigabytes(Math.ceil(bytes / 1e7) * 1e7);
}
