/** Numbers as the report shows them. */

const UNIT = "\u00a0";

export function percent(fraction: number): string {
  return `${(100 * fraction).toFixed(1)}${UNIT}%`;
}

/** `134.5 M` */
export function short(count: number): string {
  for (const [size, unit] of [
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "K"],
  ] as const) {
    if (count >= size) return `${(count / size).toFixed(count >= 100 * size ? 1 : 2)}${UNIT}${unit}`;
  }
  return String(count);
}

/** `4 s`, `3:05`, `1:02:33` */
export function clock(seconds: number): string {
  const total = Math.max(0, Math.round(seconds));
  if (total < 60) return `${total}${UNIT}s`;
  const pad = (value: number): string => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(total / 3600), Math.floor((total % 3600) / 60)];
  return hours === 0 ? `${minutes}:${pad(total % 60)}` : `${hours}:${pad(minutes)}:${pad(total % 60)}`;
}

/** `0.52 GiB`, `98 MiB` */
export function bytes(count: number): string {
  return count >= 2 ** 30
    ? `${(count / 2 ** 30).toFixed(2)}${UNIT}GiB`
    : `${Math.round(count / 2 ** 20)}${UNIT}MiB`;
}

/** `25 Nov, 09:04`, in the reader's own time. */
export function moment(iso: string): string {
  const options = {
    day: "numeric",
    month: "short",
    hour: "2-digit",
    minute: "2-digit",
    hour12: false,
  } as const;
  return new Intl.DateTimeFormat("en-GB", options).format(new Date(iso));
}

/** `810 tokens/s`, `12 MB/s` */
export function rate(done: number, seconds: number, unit: string): string {
  const perSecond = done / Math.max(seconds, 1e-3);
  if (unit === "bytes") return `${(perSecond / 1e6).toFixed(0)}${UNIT}MB/s`;
  return `${perSecond.toFixed(perSecond < 10 ? 1 : 0)}${UNIT}${unit}/s`;
}

/** Last part of a path. */
export function lastPart(path: string): string {
  return path.replace(/[/]+$/, "").split("/").at(-1) ?? path;
}
