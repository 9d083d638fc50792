import { expect, test } from "vitest";
import { tinyModel } from "../../test/tiny_model.ts";
import { silent } from "../base/progress.ts";
import { NO_STAGES } from "../base/stages.ts";
import type { TokenSet } from "../calibrate/calibrate.ts";
import type { SlopeStats } from "../calibrate/slopes.ts";
import { spacesOf } from "../model/spaces.ts";
import { removeRanked } from "../prune/ranked.ts";
import type { RefitRequest, RunPasses } from "../recover/passes.ts";
import { randomStream } from "../tensor/random.ts";
import { reorderedNeurons } from "./neuron_order.ts";
import { type Refined, type RefineRequest, refineWidths } from "./refine.ts";
import { movedWidths, type SpaceAlternatives, type WidthRequest, widthAlternatives } from "./width_moves.ts";

const weights = new Map([
  ["a", 1],
  ["b", 3],
]);

/** Random slopes and neurons' squares of two sets of one and two windows; more parameters are better. */
function randomSlopes(choices: readonly SpaceAlternatives[]): ReadonlyMap<string, SlopeStats> {
  return new Map(
    [...weights.keys()].map((set, d) => {
      const random = randomStream(7, set);
      const draw = (length: number): Float64Array => Float64Array.from({ length }, random);
      const spaces = choices.map(({ space, alternatives }) => {
        const sums = alternatives.map(
          ({ unitsAdded }) => -1e-3 * unitsAdded * random() * space.unitParameters,
        );
        const squares = alternatives.map(() => 1e-2 * random() * space.unitParameters);
        return [space.id, { sums: Float64Array.from(sums), squares: Float64Array.from(squares) }] as const;
      });
      const neurons = choices.flatMap(({ space }) =>
        space.kind === "ffn" ? [[space.id, draw(space.units)] as const] : [],
      );
      return [set, { windows: d + 1, loss: 1, spaces: new Map(spaces), neurons: new Map(neurons) }];
    }),
  );
}

const SETS = [
  { name: "a", windows: [Int32Array.of(1)], fresh: [Int32Array.of(2)] },
  { name: "b", windows: [Int32Array.of(3)], fresh: [] },
];

/**
 * Refines with passes that return these slopes; also the request for the refit, if there is one, and the sets that
 * slopes were measured on.
 */
async function refine(
  model: RefineRequest["model"],
  widths: WidthRequest,
  measured: ReadonlyMap<string, SlopeStats>,
): Promise<{
  readonly refined: Refined;
  readonly refit: RefitRequest | undefined;
  readonly slopeSets: readonly TokenSet[];
}> {
  let refit: RefitRequest | undefined;
  let slopeSets: readonly TokenSet[] = [];
  const passes = {
    refit: async (request: RefitRequest) => {
      refit = request;
      return { layers: model.spec.layers, tensors: new Map() };
    },
    slopes: async (_: unknown, sets: readonly TokenSet[]) => {
      slopeSets = sets;
      return measured;
    },
  } as unknown as RunPasses;
  const refined = await refineWidths({
    model,
    passes,
    weights,
    widths,
    sets: SETS,
    centres: new Map(),
    seed: 0,
    moments: undefined as unknown as RefineRequest["moments"],
    turnOf: () => ({ start: 1, count: 1 }),
    onProgress: silent,
    stages: NO_STAGES,
  });
  return { refined, refit, slopeSets };
}

test("refines widths by the sets' mean slopes, measured with all neurons and the KV groups of every alternative", async () => {
  const layer = { neurons: 100, kvGroups: 4 };
  const experts = { count: 4, active: 2, normalised: true };
  const layers = Array.from({ length: 8 }, (_, index) => (index === 3 ? { ...layer, experts } : layer));
  const model = tinyModel({ layers });
  const { spec } = model;
  const ranked = spacesOf(spec).map((space) => {
    return { space, values: Float64Array.from({ length: space.units }, randomStream(1, space.id)) };
  });
  const order = new Map(
    ranked.map(({ space, values }) => {
      return [space.id, [...values.keys()].sort((a, b) => values[a]! - values[b]!)] as const;
    }),
  );
  const budget = { spec, sparsity: 0.4, roundTo: 1 };
  const widths = { ...budget, keep: removeRanked(ranked, budget), order };
  const choices = widthAlternatives(widths);
  const measured = randomSlopes(choices);
  const { refined, refit, slopeSets } = await refine(model, widths, measured);

  expect(slopeSets).toEqual([
    { name: "a", windows: SETS[0]!.fresh },
    { name: "b", windows: SETS[1]!.windows },
  ]);

  for (const { space, present, alternatives } of choices) {
    const lists = [present, ...alternatives.map(({ units }) => units)];
    expect(refit!.alternatives![space.id]).toEqual(lists);
    const kept = [...Array(space.units).keys()].filter((unit) => lists.some((list) => list.includes(unit)));
    expect(refit!.plan.keep[space.id]).toEqual(space.kind === "ffn" ? undefined : kept);
  }

  const [a, b] = [measured.get("a")!, measured.get("b")!];
  const slopes = new Map(
    choices.map(({ space: { id }, alternatives }) => {
      const mean = (key: "sums" | "squares", j: number): number =>
        (a.spaces.get(id)![key][j]! + (3 * b.spaces.get(id)![key][j]!) / 2) / 4;
      return [id, alternatives.map((_, j) => ({ first: mean("sums", j), square: mean("squares", j) }))];
    }),
  );
  const reordered = { ...widths, order: reorderedNeurons(widths, measured, weights) };
  const expected = movedWidths(reordered, choices, slopes);
  expect(refined.keep).toEqual(expected.keep);
  const ofExperts = [0, 1, 2, 3].map(
    (part) => refined.keep["layers.3.ffn"]!.filter((unit) => Math.floor(unit / 25) === part).length,
  );
  expect(new Set(ofExperts).size).toBe(1);
  expect(refined.moves).toEqual(
    expected.moves.map((move) => ({
      ...move,
      ...(move.worth !== undefined && { worth: expect.closeTo(move.worth, 6) }),
    })),
  );
});

test("measures nothing where no space has an alternative", async () => {
  const model = tinyModel({ layers: [{ neurons: 1, kvGroups: 1 }] });
  const order = new Map(spacesOf(model.spec).map(({ id }) => [id, [0]]));
  const widths = { spec: model.spec, keep: {}, order, sparsity: 0, roundTo: 1 };
  const { refined, refit } = await refine(model, widths, new Map());
  expect(refined).toEqual({ keep: {}, moves: [] });
  expect(refit).toBeUndefined();
});
