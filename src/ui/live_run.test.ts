import { expect, test } from "vitest";
import { LiveRunRecorder } from "./live_run.ts";

test("keeps the steps of a long curve, its first and last among them", () => {
  const recorder = new LiveRunRecorder({ id: "a", base: "model", settings: {} }, { onChange: () => {} });
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

test("counts rounds as the run does, and goes on with the curves of a run that goes on", () => {
  const about = { id: "a", base: "model", settings: {} };
  const learn = (recorder: LiveRunRecorder, round: number, value: number): void => {
    const values = [{ name: "web", value }];
    recorder.onProgress({ stage: `learn ${round}/8`, done: 3, total: 3, unit: "tokens", values });
  };
  const first = new LiveRunRecorder(about, { onChange: () => {} });
  for (const round of [1, 2]) learn(first, round, round);
  const resumed = new LiveRunRecorder(about, { onChange: () => {}, before: first });
  for (const round of [2, 3]) learn(resumed, round, 10 * round);
  expect(resumed.snapshot().curves[0]!.points).toEqual([
    [1, 1],
    [2, 20],
    [3, 30],
  ]);
  // A restarted server does not have the earlier rounds.
  const later = new LiveRunRecorder(about, { onChange: () => {} });
  for (const round of [4, 5]) learn(later, round, round);
  expect(later.snapshot().curves[0]!.points.map(([round]) => round)).toEqual([4, 5]);
  const other = new LiveRunRecorder({ ...about, id: "\u202eb" }, { onChange: () => {}, before: first });
  expect(other.snapshot()).toMatchObject({ id: "\u202eb", name: "\\u202eb", curves: [] });
});

test("keeps what was done when a stage was first heard of", () => {
  const recorder = new LiveRunRecorder({ id: "a", base: "model", settings: {} }, { onChange: () => {} });
  const tell = (stage: string, done: number): void =>
    recorder.onProgress({ stage, done, total: 300, unit: "steps" });
  for (const done of [201, 202]) tell("distill", done);
  tell("own text", 1);
  tell("distill", 203);
  const shown = recorder.snapshot().stages.map(({ name, begun, done }) => [name, begun, done]);
  expect(shown).toEqual([
    ["distill", 201, 202],
    ["own text", 1, 1],
    ["distill", 203, 203],
  ]);
});
