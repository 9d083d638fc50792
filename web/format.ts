/** Formats of times, speeds and paths that only the page has; others are shared with src/report/format.ts. */
import { UNIT } from "../src/report/format.ts";

/** `4 s`, `3:05`, `1:02:33` */
export function clock(seconds: number): string {
  const total = Math.max(0, Math.round(seconds));
  if (total < 60) return `${total}${UNIT}s`;
  const pad = (value: number): string => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(total / 3600), Math.floor((total % 3600) / 60)];
  return hours === 0 ? `${minutes}:${pad(total % 60)}` : `${hours}:${pad(minutes)}:${pad(total % 60)}`;
}

/** `25 Nov, 09:04`, in the reader's time zone. */
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

/** `810 tokens/s`, `12 MB/s`; a dash for an unknown speed. */
export function rate(perSecond: number | null, unit: string): string {
  if (perSecond === null) return "–";
  if (unit === "bytes") return `${(perSecond / 1e6).toFixed(0)}${UNIT}MB/s`;
  return `${perSecond < 10 ? perSecond.toFixed(1) : Math.round(perSecond).toLocaleString("en")}${UNIT}${unit}/s`;
}

/** Last part of a path. */
export function lastPart(path: string): string {
  return path.replace(/[/]+$/, "").split("/").at(-1) ?? path;
}
