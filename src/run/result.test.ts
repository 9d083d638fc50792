import { expect, test } from "vitest";
import { randomWindows } from "../../test/random_windows.ts";
import type { SampledSet } from "../calibrate/windows.ts";
import { Stopwatch, usesOf } from "./result.ts";

test("a run's sets are those with windows, and least squares may use further ones, but none held out", () => {
  const [windows, heldOut, unused] = [[8, 8, 8], [8, 8], [8]].map((lengths) => randomWindows(lengths));
  const sets: readonly SampledSet[] = [
    { name: "web", windows: windows!, heldOut: heldOut!, unused: unused! },
    { name: "checked", windows: [], heldOut: heldOut!, unused: [] },
  ];
  expect(usesOf(sets, { recover: "bias", refitSamples: 48 })).toEqual({ web: { windows: 3, tokens: 24 } });
  for (const recover of ["lstsq", "distill"] as const) {
    const web = { windows: 3, tokens: 24, refit_windows: 4 };
    expect(usesOf(sets, { recover, refitSamples: 48 })).toEqual({ web });
  }
});

test("a stage's seconds are those of this run and of the interrupted ones before it", async () => {
  const stages = { restoredSeconds: 3 };
  const clock = new Stopwatch(stages);
  const start = performance.now();
  const result = await clock.time("calibrate", async () => {
    stages.restoredSeconds = 10;
    expect(clock.secondsSoFar().calibrate).toBeGreaterThanOrEqual(7);
    return "done";
  });
  expect(result).toBe("done");
  await clock.time("learn", async () => {
    expect(Object.keys(clock.secondsSoFar())).toEqual(["calibrate", "learn"]);
  });
  const elapsed = (performance.now() - start) / 1000;
  const { calibrate, learn } = clock.seconds;
  expect(calibrate).toBeGreaterThanOrEqual(7);
  expect(calibrate! + learn!).toBeLessThanOrEqual(7 + elapsed + 0.001);
  // Milliseconds.
  for (const seconds of [calibrate!, learn!])
    expect(1000 * seconds).toBeCloseTo(Math.round(1000 * seconds), 6);
  expect(clock.secondsSoFar()).toEqual(clock.seconds);
});
