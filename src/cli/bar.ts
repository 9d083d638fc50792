/**
 * Progress on a terminal: one line that is redrawn for the current stage, and a line that stays for each stage that has
 * ended. Imported only where stderr is a terminal.
 *
 *     ✓ calibrate   12.3 s  810 tokens/s
 *       learn 1/8   ━━━━━━━━━━━━━━━╸──────────  62 %  410 tokens/s  0:12 left  backward, layer 19/30
 */
import type { OnProgress, ProgressEvent } from "../base/progress.ts";
import { type Paint, paintFor, wantsColour } from "./colour.ts";
import { type ProgressDisplay, Rate } from "./display.ts";
import { plainText, writeErr } from "./terminal.ts";

/** The terminal that is drawn on. */
export interface Screen {
  write(text: string): void;
  /** Width of the terminal in characters. */
  columns(): number;
  readonly paint: Paint;
}

/** Milliseconds between two redraws of a stage. */
const FRAME = 80;
const NAME_WIDTH = 11;
const BAR_WIDTH = 26;
const MIN_BAR_WIDTH = 8;

const CLEAR_LINE = "\r\u001b[2K";
const HIDE_CURSOR = "\u001b[?25l";
const SHOW_CURSOR = "\u001b[?25h";

/** A progress bar. It hides the cursor; after a signal exit.ts stops the display, which shows the cursor again. */
export function barDisplay(screen: Screen = standardError()): ProgressDisplay {
  /** Last event and speed of the current stage. */
  let current: { readonly event: ProgressEvent; readonly rate: Rate } | null = null;
  let isDrawn = false;
  let due = 0;
  const erase = (): void => {
    if (isDrawn) screen.write(CLEAR_LINE + SHOW_CURSOR);
    isDrawn = false;
  };
  const leave = (event: ProgressEvent, rate: Rate): void => {
    erase();
    screen.write(`${endedLine(event, rate, screen)}\n`);
    current = null;
  };
  const onProgress: OnProgress = (event) => {
    const isSame = event.stage === current?.event.stage;
    // A stage without a last event ends when the next one begins.
    if (current !== null && !isSame) leave(current.event, current.rate);
    const rate = current?.rate ?? new Rate(event);
    current = { event, rate };
    if (event.done >= event.total) return leave(event, rate);
    if (!isSame) due = 0;
    const now = performance.now();
    if (now < due) return;
    due = now + FRAME;
    screen.write(`${isDrawn ? "" : HIDE_CURSOR}${CLEAR_LINE}${runningLine(event, rate, screen)}`);
    isDrawn = true;
  };
  return { onProgress, stop: erase };
}

function standardError(): Screen {
  return {
    write: writeErr,
    columns: () => process.stderr.columns ?? 80,
    paint: paintFor(wantsColour(process.stderr)),
  };
}

function runningLine(event: ProgressEvent, rate: Rate, { columns, paint }: Screen): string {
  const share = event.total > 0 ? event.done / event.total : 0;
  const head = `  ${nameOf(event)} `;
  const percent = `${Math.floor(100 * share)}`.padStart(3);
  const parts = [`${percent} %`, rate.text(event), rate.timeLeft(event), plainText(event.detail ?? "")];
  const tail = parts.filter((part) => part !== "").join("  ");
  const room = columns() - head.length - 1;
  // The text has priority over the bar where there is no room for both.
  const width = Math.max(0, Math.min(BAR_WIDTH, Math.max(MIN_BAR_WIDTH, room - 2 - tail.length), room - 8));
  return `${paint.bold(head)}${bar(share, width, paint)}  ${paint.dim(cut(tail, room - width - 2))}`;
}

function endedLine(event: ProgressEvent, rate: Rate, { columns, paint }: Screen): string {
  const measured = event.values === undefined ? "" : plainText(event.detail ?? "");
  const facts = [rate.elapsed(), rate.text(event), measured];
  const text = facts.filter((part) => part !== "").join("  ");
  const name = nameOf(event);
  return `${paint.green("✓")} ${name} ${paint.dim(cut(text, columns() - name.length - 4))}`;
}

/** `━━━━━━╸──────`, with a resolution of half a character. */
function bar(share: number, width: number, paint: Paint): string {
  const halves = Math.floor(2 * width * Math.min(1, share));
  const full = "━".repeat(Math.floor(halves / 2)) + (halves % 2 === 1 ? "╸" : "");
  return paint.cyan(full) + paint.dim("─".repeat(width - full.length));
}

function nameOf({ stage }: ProgressEvent): string {
  return plainText(stage).replaceAll(/\s+/g, " ").padEnd(NAME_WIDTH);
}

/** Text cut to one line of the length: a line that wraps could not be redrawn. */
function cut(text: string, length: number): string {
  const characters = [...text.replaceAll(/[\r\n\t]+/g, " ")];
  const isLong = characters.length > Math.max(0, length);
  return isLong ? `${characters.slice(0, Math.max(0, length - 1)).join("")}…` : characters.join("");
}
