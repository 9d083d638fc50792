import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { ProgressEvent } from "../base/progress.ts";
import { runCleanups } from "./interrupt.ts";
import { lineDisplay, sayingHints, withProgress } from "./progress.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** An event of a stage of 1000 tokens. */
function event(done: number, changes: Partial<ProgressEvent> = {}): ProgressEvent {
  return { stage: "calibrate", done, total: 1000, unit: "tokens", ...changes };
}

function seconds(count: number): void {
  vi.advanceTimersByTime(1000 * count);
}

describe("sayingHints", () => {
  test("gives a hint a line of its own in place of its event", () => {
    const shown: ProgressEvent[] = [];
    const said: string[] = [];
    const display = { onProgress: (event: ProgressEvent) => void shown.push(event), stop: () => {} };
    const { onProgress } = sayingHints(display, (line) => said.push(line));
    onProgress(event(1, { hint: "more\u001b text" }));
    onProgress(event(2));
    expect(said).toEqual([expect.stringMatching(/^hint: more.* text$/)]);
    expect(said.join()).not.toContain("\u001b");
    expect(shown).toEqual([event(2)]);
  });
});

describe("lineDisplay", () => {
  test("prints when a stage begins, at most every ten seconds, and when it ends", () => {
    const lines: string[] = [];
    const { onProgress } = lineDisplay((line) => lines.push(line));
    onProgress(event(0));
    for (let second = 1; second < 25; second++) {
      seconds(1);
      onProgress(event(40 * second, { detail: `layer ${second}/25` }));
    }
    seconds(1);
    onProgress(event(1000));
    expect(lines).toEqual([
      "calibrate: 1,000 tokens",
      "calibrate: 40 %, 40 tokens/s, 0:15 left, layer 10/25",
      "calibrate: 80 %, 40 tokens/s, 0:05 left, layer 20/25",
      "calibrate: done, 1,000 tokens, 40 tokens/s",
    ]);
  });

  test("prints one line for a stage that is over at once, and starts anew when a stage comes back", () => {
    const lines: string[] = [];
    const { onProgress } = lineDisplay((line) => lines.push(line));
    seconds(1);
    onProgress(event(2_500_000, { stage: "save", total: 2_500_000, unit: "bytes" }));
    onProgress(event(0));
    onProgress(event(1000));
    onProgress(event(0));
    seconds(1);
    onProgress(event(1000));
    expect(lines).toEqual([
      "save: done, 2.5 MB",
      "calibrate: 1,000 tokens",
      "calibrate: done, 1,000 tokens",
      "calibrate: 1,000 tokens",
      "calibrate: done, 1,000 tokens, 1,000 tokens/s",
    ]);
  });

  test("neutralises terminal escapes in names", () => {
    const lines: string[] = [];
    const { onProgress } = lineDisplay((line) => lines.push(line));
    onProgress(event(0, { stage: "evaluate \u001b[2J" }));
    expect(lines).toEqual(["evaluate \\x1b[2J: 1,000 tokens"]);
  });
});

describe("withProgress", () => {
  test("hands the result through, and says hints alone when quiet", async () => {
    const write = vi.spyOn(process.stderr, "write").mockImplementation(() => true);
    const result = await withProgress({ quiet: true }, async (onProgress) => {
      onProgress(event(0));
      onProgress(event(0, { hint: "more text" }));
      return 7;
    });
    expect(result).toBe(7);
    expect(write).toHaveBeenCalledExactlyOnceWith("hint: more text\n");
    write.mockClear();
    await withProgress({}, async (onProgress) => onProgress(event(0)));
    expect(write).toHaveBeenCalledExactlyOnceWith("calibrate: 1,000 tokens\n");
    write.mockRestore();
  });

  test("takes the display away when the run fails or is interrupted", async () => {
    const failing = withProgress({ quiet: true }, () => Promise.reject(new Error("no")));
    await expect(failing).rejects.toThrow("no");
    await withProgress({ quiet: true }, async () => runCleanups());
  });
});
