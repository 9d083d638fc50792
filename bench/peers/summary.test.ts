import { expect, test } from "vitest";
import type { Answer, Job } from "./jobs.ts";
import { type Round, rowsOf, type Side, targetsOf, verdict } from "./summary.ts";
import { rowTable, targetTable } from "./table.ts";

function answer(seconds: number, peakBytes: number): Answer {
  return {
    seconds,
    peakBytes,
    startBytes: peakBytes / 2,
    values: { gates: { one: [1, -1] }, loss: { all: [2] } },
  };
}

/** A round in which gprune takes one second and a gigabyte for every job. @param torch - seconds of PyTorch */
function round(torch: number, casting?: number): Round {
  const sides: Partial<Record<Side, Answer>> = {
    gprune: answer(1, 1e9),
    "PyTorch float32": answer(torch, 4e9),
    ...(casting !== undefined && { "PyTorch bfloat16 autocast": answer(casting, 2e9) }),
  };
  return {
    answers: { calibrate: sides, gradients: sides, evaluate: sides },
    bare: { calibrate: 0.9, gradients: 0.6 },
  };
}

const TOKENS: Readonly<Record<Job, number>> = { calibrate: 100, gradients: 100, evaluate: 200 };
const ROUNDS = [round(1.2, 3), round(1.4), round(2)];

test("every side has a row for every job, held against gprune in the rounds that it took part in", () => {
  const rows = rowsOf(ROUNDS, TOKENS);
  expect(rows.map(({ job, side }) => `${job} ${side}`).slice(0, 4)).toEqual([
    "calibrate gprune",
    "calibrate PyTorch float32",
    "calibrate PyTorch bfloat16 autocast",
    "gradients gprune",
  ]);
  expect(rows[0]!.timesSlower).toBeUndefined();
  expect(rows[1]).toMatchObject({
    timesSlower: { median: 1.4, min: 1.2, max: 2 },
    ownMemory: { median: 0.25 },
    differences: { gates: { ofTypical: 0 }, loss: { ofItself: 0 } },
  });
  expect(rows[2]!.timesSlower).toEqual({ median: 3, min: 3, max: 3 });
  expect(rowTable(rows).split("\n")).toHaveLength(2 + 9);
});

test("a target that is missed says by how much", () => {
  const targets = targetsOf(ROUNDS, rowsOf(ROUNDS, TOKENS));
  const said = Object.fromEntries(targets.map((target) => [target.what, verdict(target)]));
  expect(said).toEqual({
    "calibration: share of bare speed": "reached",
    "calibration: speed over PyTorch's": "7 % too little",
    "calibration: peak memory over PyTorch's": "reached",
    "forward and backward: share of bare speed": "20 % too little",
    "forward and backward: speed over PyTorch's": "reached",
    "forward and backward: peak memory over PyTorch's": "reached",
    "evaluation: speed over PyTorch's": "reached",
    "evaluation: peak memory over PyTorch's": "reached",
  });
  expect(verdict({ what: "memory", got: { median: 0.6, min: 0.6, max: 0.6 }, wanted: 0.5, at: "most" })).toBe(
    "20 % too much",
  );
  expect(targetTable(targets)).toContain(
    "| calibration: speed over PyTorch's | at least 1.5 | 1.40 (1.20 to 2.00) |",
  );
});
