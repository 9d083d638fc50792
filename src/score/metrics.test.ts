/**
 * The contract of every metric, and each metric against a naive transcription of its formula, computed from raw
 * activations and plain nested arrays.
 */
import { describe, expect, test } from "vitest";
import { randomUnitGradients, statsOfUnitGradients } from "../../test/tiny_gates.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { type Activations, randomActivations, statsOfActivations } from "../../test/tiny_stats.ts";
import type { CalibrationStats } from "../calibrate/stats.ts";
import type { Projection } from "../model/projections.ts";
import { type Space, spacesOf, sumOverUnits } from "../model/spaces.ts";
import { projectionName } from "../model/weight_names.ts";
import { scoreModel } from "./importance.ts";
import { METRICS, metricByName } from "./registry.ts";

type Matrix = readonly (readonly number[])[];

const model = tinyModel({
  seed: 7,
  layers: [{ neurons: 5 }, { kvGroups: 3, groupSize: 1, biases: ["q_proj", "k_proj", "v_proj"] }],
});
const activations = randomActivations(model.spec, { seed: 7, sequences: 4, tokens: 6 });
const stats = statsOfActivations(activations);
const gradients = randomUnitGradients(model.spec, { seed: 7 });
const gates = statsOfUnitGradients(gradients);
const spaces = spacesOf(model.spec);

describe.each(METRICS)("metric $name", (metric) => {
  test("scores every channel of every space with a finite number >= 0, the same every time", async () => {
    const importance = await scoreModel({ model, metric, stats, gates, seed: 3 });
    expect([...importance.keys()]).toEqual(spaces.map(({ id }) => id));
    for (const { id, units, unitChannels } of spaces) {
      const scores = importance.get(id)!;
      expect(scores).toHaveLength(units * unitChannels);
      expect(scores.every((score) => Number.isFinite(score) && score >= 0)).toBe(true);
    }
    expect(await scoreModel({ model, metric, stats, gates, seed: 3 })).toEqual(importance);
  });

  test("gives no NaN on channels that are constant, zero, or of zero variance up to cancellation", async () => {
    const importance = await scoreModel({ model, metric, stats: degenerateStats(), gates, seed: 3 });
    for (const scores of importance.values()) {
      expect(scores.every((score) => Number.isFinite(score) && score >= 0)).toBe(true);
      if (metric.input === "activations") expect(scores[0]).toBe(0);
    }
  });
});

/** Naive score of one unit. */
const UNIT_FORMULAS: Readonly<Record<string, (space: Space) => Promise<number[]>>> = {
  magnitude: async (space) => {
    const unitNorms = async (projection: Projection): Promise<number[]> => {
      const rows = await unitRows(space, projection);
      return rows.map((unit) => Math.sqrt(sum(unit.flat().map((w) => w * w))));
    };
    const columnNorms = (await unitColumns(space)).map((unit) =>
      Math.sqrt(sum(unit.flat().map((w) => w * w))),
    );
    const inputs = await Promise.all(inputsOf(space).map(unitNorms));
    return columnNorms.map((norm, u) => inputs.reduce((result, norms) => result * norms[u]!, norm));
  },
  pon: async (space) => {
    const inputs = await Promise.all(inputsOf(space).map((projection) => unitRows(space, projection)));
    return range(space.units).map((u) =>
      inputs.map((rows) => sum(rows[u]!.flat().map(Math.abs))).reduce((a, b) => a * b),
    );
  },
  maw: async (space) => {
    const inputs = await Promise.all(inputsOf(space).map((projection) => unitRows(space, projection)));
    const ofRow = (row: readonly number[]): number => Math.max(...row) + Math.abs(Math.min(...row));
    return range(space.units).map((u) => sum(inputs.map((rows) => mean(rows[u]!.map(ofRow)))));
  },
  "flap-ifv": async (space) => perUnit(space, columnsOf(activations, space).map(variance)),
  "flap-wifv": async (space) => {
    const weight = await matrix(space, outputOf(space));
    const scores = columnsOf(activations, space).map(
      (xs, j) => variance(xs) * sum(weight.map((row) => row[j]! ** 2)),
    );
    return perUnit(space, scores);
  },
  "flap-wifn": (space) => wanda(space),
  "wanda-sp": (space) => wanda(space),
  fisher: async ({ id, units }) =>
    range(units).map((u) => mean(gradients.get(id)!.map((window) => window[u]! ** 2))),
  taylor: async ({ id, units }) =>
    range(units).map((u) => mean(gradients.get(id)!.map((window) => Math.abs(window[u]!)))),
  minitron: async (space) => {
    const sequences = activations.get(space.id)!;
    const squares = range(space.units * space.unitChannels).map((j) =>
      mean(sequences.map((rows) => mean(rows.map((row) => Math.abs(row[j]!))) ** 2)),
    );
    return perUnit(space, squares).map(Math.sqrt);
  },
};

describe("unit scores equal the naive formula", () => {
  test.each(Object.entries(UNIT_FORMULAS))("%s", async (name, formula) => {
    const importance = await scoreModel({ model, metric: metricByName(name), stats, gates, seed: 0 });
    for (const space of spaces) {
      const expected = await formula(space);
      const got = sumOverUnits(importance.get(space.id)!, space);
      for (const [u, value] of expected.entries()) expect(got[u]! / value).toBeCloseTo(1, 10);
    }
  });

  test("has a formula for every metric but random", () => {
    const names = METRICS.map(({ name }) => name).filter((name) => name !== "random");
    expect(Object.keys(UNIT_FORMULAS).sort()).toEqual(names.sort());
  });
});

describe("channel scores", () => {
  test("of wifv are per channel, not spread", async () => {
    const importance = await scoreModel({ model, metric: metricByName("wifv"), stats, seed: 0 });
    const [space] = spaces as [Space];
    const weight = await matrix(space, "o_proj");
    for (const [j, xs] of columnsOf(activations, space).entries()) {
      const expected = variance(xs) * sum(weight.map((row) => row[j]! ** 2));
      expect(importance.get(space.id)![j]! / expected).toBeCloseTo(1, 10);
    }
  });
});

describe("random", () => {
  const scoreWith = async (seed: number, of = model): Promise<ReadonlyMap<string, Float64Array>> =>
    scoreModel({ model: of, metric: metricByName("random"), seed });

  test("depends on the seed and the space", async () => {
    const scores = await scoreWith(1);
    expect(await scoreWith(2)).not.toEqual(scores);
    expect(scores.get("layers.0.ffn")![0]).not.toBe(scores.get("layers.1.ffn")![0]);
  });

  test("of a space does not depend on other layers", async () => {
    const wider = tinyModel({
      layers: [
        { neurons: 9, kvGroups: 4 },
        { kvGroups: 3, groupSize: 1 },
      ],
    });
    const scores = await scoreWith(1);
    expect((await scoreWith(1, wider)).get("layers.1.ffn")).toEqual(scores.get("layers.1.ffn"));
  });
});

async function wanda(space: Space): Promise<number[]> {
  const weight = await matrix(space, outputOf(space));
  const scores = columnsOf(activations, space).map((xs, j) => {
    const norm = Math.sqrt(mean(xs.map((x) => x * x)));
    return mean(weight.map((row) => Math.abs(row[j]!) * norm));
  });
  return perUnit(space, scores);
}

function degenerateStats(): CalibrationStats {
  const constant = new Map(
    spaces.map(({ id, units, unitChannels }) => {
      const channels = units * unitChannels;
      const fill = (value: (j: number) => number): Float64Array =>
        Float64Array.from({ length: channels }, (_, j) => value(j));
      // channel 0 never fires; the others are constant, their sum of squares rounded down below sum^2 / tokens
      const sums = {
        sum: fill((j) => (j === 0 ? 0 : 3)),
        sumSquares: fill((j) => (j === 0 ? 0 : 3 * (1 - 1e-15))),
        sumMeanAbsSquared: fill(() => 0),
      };
      return [id, sums] as const;
    }),
  );
  return { tokens: 3, sequences: 1, spaces: constant };
}

async function matrix({ layer }: Space, projection: Projection): Promise<Matrix> {
  const { shape, data } = await model.weights.read(projectionName(layer, projection));
  return range(shape[0]!).map((i) => Array.from(data.slice(i * shape[1]!, (i + 1) * shape[1]!)));
}

async function unitRows(space: Space, projection: Projection): Promise<readonly Matrix[]> {
  const rows = await matrix(space, projection);
  const count = rows.length / space.units;
  return range(space.units).map((u) => rows.slice(u * count, (u + 1) * count));
}

async function unitColumns(space: Space): Promise<readonly Matrix[]> {
  const rows = await matrix(space, outputOf(space));
  const { units, unitChannels } = space;
  return range(units).map((u) => rows.map((row) => row.slice(u * unitChannels, (u + 1) * unitChannels)));
}

function inputsOf({ kind }: Space): readonly Projection[] {
  return kind === "ffn" ? ["gate_proj", "up_proj"] : ["q_proj", "k_proj", "v_proj"];
}

function outputOf({ kind }: Space): Projection {
  return kind === "ffn" ? "down_proj" : "o_proj";
}

/** All values of every channel over all tokens. */
function columnsOf(from: Activations, { id, units, unitChannels }: Space): readonly number[][] {
  const rows = from.get(id)!.flat();
  return range(units * unitChannels).map((j) => rows.map((row) => row[j]!));
}

function perUnit({ units, unitChannels }: Space, channels: readonly number[]): number[] {
  return range(units).map((u) => sum(channels.slice(u * unitChannels, (u + 1) * unitChannels)));
}

function variance(values: readonly number[]): number {
  const centre = mean(values);
  return mean(values.map((x) => (x - centre) ** 2));
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const mean = (values: readonly number[]): number => sum(values) / values.length;
