/**
 * What the terminal shows: progress on stderr (a bar on a terminal, plain lines elsewhere), results on stdout, tables.
 */
import { Presets, SingleBar } from "cli-progress";
import type { OnProgress, ProgressEvent } from "../progress.ts";

/** Seconds between two lines of the same stage when stderr is not a terminal. */
const LINE_INTERVAL = 10;

/** Shows progress events; `stop` ends the last stage's display. */
export interface ProgressDisplay {
  readonly onProgress: OnProgress;
  stop(): void;
}

/** The display that fits: nothing when quiet, a bar on a terminal, else lines. */
export function progressDisplay({
  quiet = false,
}: {
  readonly quiet?: boolean | undefined;
}): ProgressDisplay {
  if (quiet) return { onProgress: () => {}, stop: () => {} };
  return process.stderr.isTTY ? barDisplay() : lineDisplay((line) => process.stderr.write(`${line}\n`));
}

/** One bar at a time: `calibrate  ████░░ 62 % | 810 tokens/s | 0:12 left | layer 19/30`. */
function barDisplay(): ProgressDisplay {
  let bar: SingleBar | null = null;
  let rate = new Rate();
  let stage = "";
  const stop = (): void => {
    bar?.stop();
    bar = null;
  };
  const onProgress: OnProgress = (event) => {
    if (bar === null || event.stage !== stage) {
      stop();
      stage = event.stage;
      rate = new Rate();
      const format = "{stage} {bar} {percentage} %  {rate}  {left}  {detail}";
      bar = new SingleBar(
        { format, hideCursor: true, barsize: 28, stream: process.stderr },
        Presets.shades_classic,
      );
      bar.start(event.total, 0, payloadOf(event, rate));
    }
    bar.update(event.done, payloadOf(event, rate));
    if (event.done >= event.total) stop();
  };
  return { onProgress, stop };
}

function payloadOf(event: ProgressEvent, rate: Rate): Record<string, string> {
  return {
    stage: event.stage.padEnd(10),
    rate: rate.text(event),
    left: rate.timeLeft(event),
    detail: event.detail ?? "",
  };
}

/** A line when a stage begins, every ten seconds, and when it ends. */
export function lineDisplay(print: (line: string) => void): ProgressDisplay {
  let rate = new Rate();
  let stage = "";
  let last = 0;
  const onProgress: OnProgress = (event) => {
    const now = performance.now() / 1000;
    const ended = event.done >= event.total;
    if (event.stage !== stage) {
      stage = event.stage;
      rate = new Rate();
      last = now;
      if (!ended) print(`${event.stage}: ${count(event.total, event.unit)}`);
    }
    if (ended) {
      print(`${event.stage}: done, ${count(event.total, event.unit)}, ${rate.text(event)}`);
      stage = "";
    } else if (now - last >= LINE_INTERVAL) {
      last = now;
      const percent = Math.floor((100 * event.done) / event.total);
      print(
        `${event.stage}: ${percent} %, ${rate.text(event)}, ${rate.timeLeft(event)} ${event.detail ?? ""}`.trimEnd(),
      );
    }
  };
  return { onProgress, stop: () => {} };
}

/** Speed since a stage began. */
class Rate {
  readonly #start = performance.now();

  text({ done, unit }: ProgressEvent): string {
    const perSecond = done / this.#seconds();
    return unit === "bytes"
      ? `${(perSecond / 1e6).toFixed(0)} MB/s`
      : `${perSecond.toFixed(perSecond < 10 ? 1 : 0)} ${unit}/s`;
  }

  timeLeft({ done, total }: ProgressEvent): string {
    if (done === 0) return "";
    const seconds = Math.ceil(((total - done) / done) * this.#seconds());
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} left`;
  }

  #seconds(): number {
    return Math.max(1e-3, (performance.now() - this.#start) / 1000);
  }
}

function count(total: number, unit: string): string {
  return unit === "bytes"
    ? `${(total / 1e6).toFixed(1)} MB`
    : `${Math.round(total).toLocaleString("en")} ${unit}`;
}

/** Text from files without what could steer a terminal: control characters become visible escapes. */
export function plainText(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}

/** Rows as aligned columns: the first column to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => [...(row[column] ?? "")].length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)))
      .join("  ")
      .trimEnd();
  return rows.map(line).join("\n");
}

/** Writes to stdout. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Writes one JSON document to stdout. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2));
}
