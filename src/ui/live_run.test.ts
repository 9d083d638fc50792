import { expect, it } from "vitest";
import { LiveRunRecorder } from "./live_run.ts";

it("keeps the steps of a long curve, its first and last among them", () => {
  const recorder = new LiveRunRecorder({ id: "a", base: "model", settings: {} }, () => {});
  const shown = () => recorder.snapshot().curves[0]!.points;
  for (let step = 1; step <= 1000; step++) {
    const values = [{ name: "loss", value: 1 / step }];
    recorder.onProgress({ stage: "distill", done: step, total: 1000, unit: "steps", values });
    expect(shown().at(-1)).toEqual([step, 1 / step]);
  }
  expect(shown()[0]).toEqual([1, 1]);
  expect(shown().length).toBeLessThanOrEqual(402);
  for (const [step, value] of shown()) expect(value).toBe(1 / step);
  const gaps = shown()
    .slice(1, -1)
    .map(([step], index) => step - shown()[index]![0]);
  expect(new Set(gaps)).toEqual(new Set([4]));
});
