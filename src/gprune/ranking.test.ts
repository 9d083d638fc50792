import { describe, expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { spacesOf } from "../model/spaces.ts";
import type { Keep } from "../prune/plan.ts";
import { randomStream } from "../tensor/random.ts";
import { removeByMarginals } from "./ranking.ts";
import { analyseUnits } from "./units.ts";

const layer = { neurons: 60, kvGroups: 4 };
const spec = tinySpec({ layers: [layer, layer, layer] });
const spaces = spacesOf(spec);
const scores = new Map(
  spaces.map(({ id, units, unitChannels }) => {
    return [id, Float64Array.from({ length: units * unitChannels }, randomStream(1, id))] as const;
  }),
);
const sets = new Map([["a", { whole: scores, halves: [scores, scores] as const }]]);
const analyses = analyseUnits({ spaces, sets, pooled: scores, fallback: scores, seed: 0, maxModules: 1 });

/** Kept units of the model without every third neuron. */
function removed(seed: number, { shape, scale }: { shape: "uniform" | "per-layer"; scale: number }): Keep {
  const neurons = Array.from({ length: 60 }, (_, unit) => unit).filter((unit) => unit % 3 > 0);
  const ffn = spaces.filter(({ kind }) => kind === "ffn");
  const keep = Object.fromEntries(ffn.map(({ id }) => [id, neurons]));
  const marginals = new Map(
    spaces.map(({ id, units }) => {
      const random = randomStream(seed, id);
      return [id, Float64Array.from({ length: units }, () => scale * random() ** 4)] as const;
    }),
  );
  return removeByMarginals(marginals, { spec, analyses, keep, sparsity: 0.5, roundTo: 1, shape });
}

describe("removeByMarginals", () => {
  test.each(["uniform", "per-layer"] as const)("knows no scale of marginals, shape %s", (shape) => {
    for (let seed = 0; seed < 20; seed++) {
      expect(removed(seed, { shape, scale: 2 ** -80 })).toEqual(removed(seed, { shape, scale: 1 }));
    }
  });

  test("gives nothing back that is gone", () => {
    for (const kept of Object.values(removed(0, { shape: "per-layer", scale: 1 }))) {
      if (kept.length > 4) expect(kept.every((unit) => unit % 3 > 0)).toBe(true);
    }
  });
});
