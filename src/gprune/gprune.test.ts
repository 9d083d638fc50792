import { afterAll, expect, test } from "vitest";
import { randomWindows } from "../../test/random_windows.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { randomActivations, statsOfActivations } from "../../test/tiny_stats.ts";
import type { ProgressEvent } from "../base/progress.ts";
import type { TokenSet } from "../calibrate/calibrate.ts";
import type { GateStats } from "../calibrate/gate_stats.ts";
import type { MadeModel } from "../calibrate/passes.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { spacesOf } from "../model/spaces.ts";
import { makePlan, widths } from "../prune/plan.ts";
import { type RunPasses, runPasses } from "../recover/passes.ts";
import { metricByName } from "../score/registry.ts";
import { decideGprune, type GpruneDecision, type GpruneRequest } from "./gprune.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

const model = tinyModel({ layers: [{ neurons: 12 }, { neurons: 12 }] });
const many = { name: "many", weight: 1, windows: randomWindows([6, 6, 6, 6, 6]) };
const one = { name: "one", weight: 1, windows: randomWindows([6], { seed: 1 }) };
const sets = [many, one];
const stats = sets.map((_, seed) => statsOfActivations(randomActivations(model.spec, { seed })));

interface Observed {
  readonly decision: GpruneDecision;
  /** Sets that every round's gradients were measured on. */
  readonly rounds: readonly (readonly TokenSet[])[];
  /** Windows that losses were measured on, and the model. */
  readonly losses: readonly { readonly made: MadeModel; readonly windows: readonly Int32Array[] }[];
  readonly events: readonly ProgressEvent[];
}

/** Learns with passes that give every unit the same gradient, a mean loss of 3, and dense losses of 2 and 1. */
async function decide(change: Partial<GpruneRequest>): Promise<Observed> {
  const rounds: (readonly TokenSet[])[] = [];
  const losses: Observed["losses"][number][] = [];
  const events: ProgressEvent[] = [];
  const passes: RunPasses = {
    ...runPasses(model, runtime),
    gateStatistics: async ({ model: { spec } }, chosen) => {
      rounds.push(chosen);
      const squares = spacesOf(spec).map(({ id, units }) => [id, new Float64Array(units).fill(1)] as const);
      const spaces = new Map(squares.map(([id, values]) => [id, { absolute: values, squares: values }]));
      return new Map(
        chosen.map(({ name, windows: { length } }): [string, GateStats] => {
          return [name, { windows: length, loss: 3 * length, spaces }];
        }),
      );
    },
    losses: async (requests) => {
      losses.push(...requests);
      return requests.map((_, d) => ({ nll: 10, predictions: d === 0 ? 5 : 10 }));
    },
  };
  const decision = await decideGprune({
    model,
    runtime,
    passes,
    sets,
    allocation: "learned",
    refine: false,
    evidence: new Map(sets.map(({ name }, d) => [name, { whole: { stats: stats[d]! }, halves: null }])),
    moments: new Map(),
    metric: metricByName("wifv"),
    fallback: metricByName("magnitude"),
    sparsity: 0.3,
    rounds: 3,
    gradientWindows: 2,
    maxModules: 2,
    seed: 4,
    onProgress: (event) => events.push(event),
    ...change,
  });
  return { decision, rounds, losses, events };
}

test("rounds take every window of a set before any comes again, in an order that the seed gives", async () => {
  const { rounds } = await decide({});
  const [ofMany, ofOne] = sets.map((_, d) => rounds.map((chosen) => chosen[d]!.windows));
  expect(rounds.map((chosen) => chosen.map(({ name }) => name))).toEqual(Array(3).fill(["many", "one"]));
  expect(ofMany!.map((windows) => new Set(windows).size)).toEqual([2, 2, 2]);
  const firstFive = new Set(ofMany!.flat().slice(0, 5));
  expect(many.windows.filter((window) => firstFive.has(window))).toHaveLength(5);
  expect(ofOne).toEqual(Array(3).fill(one.windows));
  expect((await decide({})).rounds).toEqual(rounds);
  expect((await decide({ seed: 5 })).rounds).not.toEqual(rounds);
});

test("every round measures the loss of every set, and that of the dense model only where weights are robust", async () => {
  const { decision, losses, events } = await decide({});
  expect(decision.rounds.map((round) => round.losses)).toEqual(Array(3).fill({ many: 3, one: 3 }));
  expect(losses).toEqual([]);
  const scored = events.filter(({ stage }) => stage === "score");
  expect(scored.map(({ done, total }) => [done, total])).toEqual([
    [1, 4],
    [2, 4],
    [3, 4],
    [4, 4],
  ]);
});

test("robust weights grow with the losses beyond those of the dense model on the same windows", async () => {
  const { decision, rounds, losses } = await decide({ robust: true, rounds: 1 });
  expect(losses.map(({ windows }) => windows)).toEqual(rounds[0]!.map(({ windows }) => windows));
  for (const { made } of losses) expect(made.model).toBe(model);
  const { weights } = decision.rounds[0]!;
  expect(weights.one! / weights.many!).toBeCloseTo(Math.E, 12);
});

test("refinement leaves the equal widths of shape uniform as they are", async () => {
  const { decision } = await decide({ shape: "uniform", refine: true });
  const { ffn, kv } = widths(makePlan(model.spec, decision.keep), model.spec);
  for (const [first, second] of [ffn, kv]) expect(first).toBe(second);
  expect(decision.moves).toBeUndefined();
});

test("evidence must be that of the sets", async () => {
  const evidence = new Map([
    ["many", { whole: { stats: stats[0]! }, halves: null }],
    ["other", { whole: { stats: stats[1]! }, halves: null }],
  ]);
  await expect(decide({ evidence })).rejects.toThrow(
    "evidence: expected those of many, one, got those of many, other",
  );
});
