import { expect, test } from "vitest";
import type { LiveStage } from "../src/ui/api.ts";
import { secondsLeft, speedOf, stageRows } from "./stages.ts";

function stage(name: string, changes: Partial<LiveStage> = {}): LiveStage {
  const plain = { begun: 0, done: 10, total: 10, unit: "tokens", detail: null, seconds: 2, ended: true };
  return { name, ...plain, ...changes };
}

test("rounds of one stage are one row, which has ended with the last", () => {
  const [calibration, learning, ...others] = stageRows([
    stage("calibrate"),
    stage("learn 1/4"),
    stage("learn 2/4", { done: 5, seconds: 1, ended: false }),
  ]);
  expect(others).toEqual([]);
  expect(calibration).toEqual({ ...stage("calibrate"), round: null });
  const row = { begun: 0, done: 15, total: 40, seconds: 3, ended: false, round: "2 of 4" };
  expect(learning).toEqual({ ...stage("learn"), ...row });
  expect(secondsLeft(learning!)).toBe(5);
  const whole = stageRows([1, 2].map((round) => stage(`learn ${round}/2`)));
  expect(whole).toEqual([{ ...stage("learn"), done: 20, total: 20, seconds: 4, round: "2 of 2" }]);
});

test("a stage that another one interrupted has a row for each part", () => {
  const rows = stageRows([stage("learn 1/2"), stage("own text"), stage("learn 2/2")]);
  expect(rows.map(({ name, begun, done }) => [name, begun, done])).toEqual([
    ["learn", 0, 10],
    ["own text", 0, 10],
    ["learn", 10, 20],
  ]);
});

test("a run that goes on is as fast as it is since then", () => {
  const distill = stage("distill", { begun: 201, done: 202, total: 300, seconds: 1, ended: false });
  expect(speedOf(distill)).toBe(1);
  expect(secondsLeft(distill)).toBe(98);
  const [row] = stageRows([
    stage("learn 3/4", { begun: 6, seconds: 4 }),
    stage("learn 4/4", { done: 1, seconds: 1, ended: false }),
  ]);
  expect(row).toMatchObject({ begun: 26, done: 31, total: 40 });
  expect(speedOf(row!)).toBe(1);
  expect(secondsLeft(row!)).toBe(9);
});

test("a first event says nothing of the speed", () => {
  const first = stage("calibrate", { begun: 4096, done: 4096, total: 8192, seconds: 0.001, ended: false });
  expect(speedOf(first)).toBe(null);
  expect(secondsLeft(first)).toBe(null);
  expect(speedOf({ ...first, seconds: 5 })).toBe(null);
  expect(speedOf({ ...first, done: 8192 })).toBe(null);
  expect(speedOf({ ...first, done: 8192, seconds: 0.01 })).toBe(409_600);
});
