import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ProgressEvent } from "../base/progress.ts";
import { barDisplay, type Screen } from "./bar.ts";
import { paintFor } from "./colour.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

function screen(columns: number, written: string[]): Screen {
  return { write: (text) => written.push(text), columns: () => columns, paint: paintFor(false) };
}

function event(done: number, changes: Partial<ProgressEvent> = {}): ProgressEvent {
  return { stage: "calibrate", done, total: 1000, unit: "tokens", ...changes };
}

test("draws the stage under way on one line, and leaves a line for each that has ended", () => {
  const written: string[] = [];
  const { onProgress, stop } = barDisplay(screen(100, written));
  onProgress(event(0));
  vi.advanceTimersByTime(10);
  onProgress(event(1));
  vi.advanceTimersByTime(9990);
  onProgress(event(500, { detail: "layer 2/4" }));
  vi.advanceTimersByTime(10_000);
  onProgress(event(1000));
  stop();
  expect(written).toEqual([
    "\u001b[?25l\r\u001b[2K  calibrate   ──────────────────────────    0 %",
    "\r\u001b[2K  calibrate   ━━━━━━━━━━━━━─────────────   50 %  50 tokens/s  0:10 left  layer 2/4",
    "\r\u001b[2K\u001b[?25h",
    "✓ calibrate   20.0 s  50 tokens/s\n",
  ]);
});

test("says what was measured, and that a stage has ended when the next begins", () => {
  const written: string[] = [];
  const { onProgress } = barDisplay(screen(100, written));
  onProgress(event(0));
  vi.advanceTimersByTime(2000);
  onProgress(event(500));
  onProgress(event(10, { stage: "check", total: 10, unit: "sets", detail: "loss web 2.10", values: [] }));
  const lines = written.filter((text) => text.endsWith("\n"));
  expect(lines).toEqual([
    "✓ calibrate   2.0 s  250 tokens/s\n",
    expect.stringMatching(/^✓ check {7}0\.0 s {2}loss web 2\.10\n$/),
  ]);
});

test("counts what was done before a resumed run went on for no speed", () => {
  const written: string[] = [];
  const { onProgress } = barDisplay(screen(100, written));
  onProgress(event(800));
  vi.advanceTimersByTime(2000);
  onProgress(event(900));
  vi.advanceTimersByTime(2000);
  onProgress(event(1000));
  expect(written[0]).toMatch(/80 %$/);
  expect(written[1]).toMatch(/90 % {2}50 tokens\/s {2}0:02 left$/);
  expect(written.at(-1)).toBe("✓ calibrate   4.0 s  50 tokens/s\n");
});

test("shortens the bar before the text", () => {
  const written: string[] = [];
  const { onProgress } = barDisplay(screen(60, written));
  onProgress(event(0));
  vi.advanceTimersByTime(10_000);
  onProgress(event(500));
  expect(written[1]).toMatch(/ ━{7}─{7} {3}50 % {2}50 tokens\/s {2}0:10 left$/);
});

test("goes on with its rate after something else was printed", () => {
  const written: string[] = [];
  const { onProgress, stop } = barDisplay(screen(100, written));
  onProgress(event(0));
  vi.advanceTimersByTime(5000);
  stop();
  stop();
  vi.advanceTimersByTime(5000);
  onProgress(event(200));
  expect(written.filter((text) => text.endsWith("\u001b[?25h"))).toHaveLength(1);
  expect(written.at(-1)).toContain("20 tokens/s  0:40 left");
});

test("stays within the line and lets no name steer the terminal", () => {
  for (const columns of [8, 30, 60]) {
    const written: string[] = [];
    const { onProgress } = barDisplay(screen(columns, written));
    const names = { stage: "score \u001b[2J", detail: "a\nb".repeat(50) };
    onProgress(event(400, names));
    onProgress(event(1000, names));
    const text = written.join("");
    expect(text).not.toContain("\u001b[2J");
    expect(text.split("\n")).toHaveLength(2);
    const [line] = text.replace("\u001b[?25l\r\u001b[2K", "").split("\r");
    if (columns > 30) expect([...line!].length).toBeLessThanOrEqual(columns);
  }
});
