/** Progress on stderr: a bar on a terminal, plain lines elsewhere. */
import { megabytes } from "../base/byte_size.ts";
import type { OnProgress, ProgressEvent } from "../base/progress.ts";
import { type ProgressDisplay, Rate } from "./display.ts";
import { onInterrupt } from "./interrupt.ts";
import { currentOutlet, plainText, say, writeErr } from "./terminal.ts";

/** Seconds between two lines of the same stage when stderr is not a terminal. */
const LINE_INTERVAL = 10;

/**
 * Runs with a progress display: hints alone when quiet, a bar on a terminal, else lines. The display is removed when
 * `run` has ended or the process is interrupted.
 */
export async function withProgress<T>(
  { quiet = false }: { readonly quiet?: boolean | undefined },
  run: (onProgress: OnProgress) => Promise<T>,
): Promise<T> {
  const display = sayingHints(quiet ? noDisplay() : (distantDisplay() ?? (await loudDisplay())));
  const forget = onInterrupt(() => display.stop());
  try {
    return await run(display.onProgress);
  } finally {
    display.stop();
    forget();
  }
}

/** Display that sends events to the parent process; undefined when there is none. */
function distantDisplay(): ProgressDisplay | undefined {
  const { progress, progressEnd } = currentOutlet();
  return progress && progressEnd && { onProgress: progress, stop: progressEnd };
}

/** Display on this process's own stderr. */
export async function loudDisplay(): Promise<ProgressDisplay> {
  const isTerminal = process.stderr.isTTY && process.env.TERM !== "dumb";
  if (isTerminal) return (await import("./bar.ts")).barDisplay();
  return lineDisplay((line) => writeErr(`${line}\n`));
}

/** A display that prints hints as lines of their own, which stay. */
export function sayingHints(
  { onProgress, stop }: ProgressDisplay,
  sayHint: (line: string) => void = say,
): ProgressDisplay {
  const show = (event: ProgressEvent): void =>
    event.hint === undefined ? onProgress(event) : sayHint(`hint: ${plainText(event.hint)}`);
  return { onProgress: show, stop };
}

function noDisplay(): ProgressDisplay {
  return { onProgress: () => {}, stop: () => {} };
}

/** Display that prints a line when a stage begins, every ten seconds, and when it ends. */
export function lineDisplay(print: (line: string) => void): ProgressDisplay {
  /** Name and speed of the current stage. */
  let current: { readonly stage: string; readonly rate: Rate } | null = null;
  let last = 0;
  const onProgress: OnProgress = (event) => {
    const now = performance.now() / 1000;
    const ended = event.done >= event.total;
    const say = (text: string): void => print(plainText(`${event.stage}: ${text}`));
    if (event.stage !== current?.stage) {
      current = { stage: event.stage, rate: new Rate(event) };
      last = now;
      if (!ended) say(count(event.total, event.unit));
    }
    const { rate } = current;
    const sayAll = (parts: readonly string[]): void => say(parts.filter((part) => part !== "").join(", "));
    if (ended) {
      sayAll(["done", count(event.total, event.unit), rate.text(event)]);
      current = null;
    } else if (now - last >= LINE_INTERVAL) {
      last = now;
      const percent = Math.floor((100 * event.done) / event.total);
      sayAll([`${percent} %`, rate.text(event), rate.timeLeft(event), event.detail ?? ""]);
    }
  };
  return { onProgress, stop: () => {} };
}

function count(total: number, unit: string): string {
  return unit === "bytes" ? megabytes(total) : `${Math.round(total).toLocaleString("en")} ${unit}`;
}
