import { describe, expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import type { GateStats } from "../calibrate/gate_stats.ts";
import { prunableParameters, type Space, spacesOf, sumOverUnits } from "../model/spaces.ts";
import { achievedSparsity, type Keep, keptUnits, makePlan } from "../prune/plan.ts";
import { randomStream } from "../tensor/random.ts";
import { analyseUnits, type SpaceAnalysis } from "./analysis.ts";
import { type LearnedRequest, learnAllocation, type RoundMeasurement } from "./learned.ts";

const spec = tinySpec({ layers: [{ neurons: 40 }, { neurons: 30, kvGroups: 4 }, { neurons: 50 }] });
const spaces = spacesOf(spec);
const even = tinySpec({ layers: [0, 1, 2].map(() => ({ neurons: 48, kvGroups: 4 })) });
const evenSpaces = spacesOf(even);

/** Analyses of a metric that gives every unit a random score, the same on every set. */
function analyses(of = spaces): readonly SpaceAnalysis[] {
  const importance = new Map(
    of.map(({ id, units, unitChannels }) => {
      const random = randomStream(1, id);
      return [id, Float64Array.from({ length: units * unitChannels }, random)] as const;
    }),
  );
  const split = { whole: importance, halves: [importance, importance] as const };
  const sets = new Map([
    ["a", split],
    ["b", split],
  ]);
  return analyseUnits({ spaces: of, sets, pooled: importance, fallback: importance, seed: 0, maxModules: 4 });
}

/** Units' scores of one space, [units]. */
function scoresOf(id: string): Float64Array {
  const { space, importance } = analyses().find((own) => own.space.id === id)!;
  return sumOverUnits(importance, space);
}

/** Gate statistics that `value` gives each dense unit, for the units that are kept. */
function statsOf(keep: Keep, value: (space: Space, unit: number) => number, of = spaces): GateStats {
  const entries = of.map((space) => {
    const kept = keep[space.id] ?? Array.from({ length: space.units }, (_, unit) => unit);
    const squares = Float64Array.from(kept, (unit) => value(space, unit));
    return [space.id, { absolute: squares, squares }] as const;
  });
  return { windows: 2, loss: 3, spaces: new Map(entries) };
}

const ascending = (units: readonly number[]): readonly number[] => [...units].sort((a, b) => a - b);

const request = (changes: Partial<LearnedRequest> = {}): LearnedRequest => ({
  spec,
  analyses: analyses(),
  sparsity: 0.4,
  roundTo: 1,
  shape: "per-layer",
  rounds: 3,
  weights: new Map(["a", "b", "c"].map((name) => [name, 1])),
  robust: false,
  measure: async (keep) => new Map([["a", { gates: statsOf(keep, ({ layer }) => layer + 1) }]]),
  ...changes,
});

describe("learnAllocation", () => {
  test("meets the budget to within one neuron and keeps a unit of every space", async () => {
    for (const sparsity of [0, 0.1, 0.35, 0.6, 0.8]) {
      const { keep, rounds } = await learnAllocation(request({ sparsity }));
      const achieved = achievedSparsity(makePlan(spec, keep), spec);
      const neuron = spaces.find(({ kind }) => kind === "ffn")!.unitParameters / prunableParameters(spec);
      expect(achieved).toBeLessThanOrEqual(sparsity + 1e-9);
      expect(achieved).toBeGreaterThan(sparsity - neuron - 1e-9);
      for (const kept of Object.values(keep)) expect(kept.length).toBeGreaterThan(0);
      expect(rounds.map((round) => round.sparsity)).toEqual([1, 2, 3].map((r) => (sparsity * r) / 3));
      expect(rounds[0]!.losses).toEqual({ a: 1.5 });
    }
  });

  test("tells in which order all units went and would go", async () => {
    const { keep, order } = await learnAllocation(request({ sparsity: 0.4 }));
    for (const space of spaces) {
      const own = order.get(space.id)!;
      expect(ascending(own)).toEqual(keptUnits({}, space));
      const kept = keptUnits(keep, space);
      expect(ascending(own.slice(space.units - kept.length))).toEqual(kept);
      // Every set gives all units of a layer the same marginal, so the metric's order decides.
      const scores = scoresOf(space.id);
      if (space.kind === "ffn") expect([...own].sort((a, b) => scores[a]! - scores[b]!)).toEqual(own);
    }
  });

  test.each([
    { shape: "per-layer", roundTo: 16 },
    { shape: "uniform", roundTo: 1 },
  ] as const)("lists every unit once, also where some come back: %j", async ({ shape, roundTo }) => {
    const of = analyses(evenSpaces);
    let returns = 0;
    for (let seed = 0; seed < 24; seed++) {
      const random = randomStream(seed, "noise");
      let before: Keep = {};
      const measure = async (keep: Keep): Promise<ReadonlyMap<string, RoundMeasurement>> => {
        for (const space of evenSpaces) {
          const was = new Set(keptUnits(before, space));
          returns += keptUnits(keep, space).filter((unit) => !was.has(unit)).length;
        }
        before = keep;
        const scales = new Map(evenSpaces.map(({ id }) => [id, Math.exp(6 * random())]));
        const value = ({ id }: Space): number => scales.get(id)! * random();
        return new Map(["a", "b"].map((set) => [set, { gates: statsOf(keep, value, evenSpaces) }]));
      };
      const sparsity = 0.2 + 0.02 * seed;
      const settings = { spec: even, analyses: of, rounds: 8, sparsity, shape, roundTo, measure };
      const { keep, order } = await learnAllocation(request(settings));
      for (const space of evenSpaces) {
        const own = order.get(space.id)!;
        expect(ascending(own)).toEqual(keptUnits({}, space));
        const kept = keptUnits(keep, space);
        expect(ascending(own.slice(space.units - kept.length))).toEqual(kept);
      }
    }
    expect(returns > 0).toBe(shape === "uniform");
  });

  test.each([
    { shape: "uniform", roundTo: 1 },
    { shape: "uniform", roundTo: 16 },
    { shape: "per-layer", roundTo: 1 },
    { shape: "per-layer", roundTo: 16 },
  ] as const)("comes to the same widths in several rounds as in one: %j", async ({ shape, roundTo }) => {
    for (const kvWorth of [0.1, 1, 10, 100]) {
      const value = ({ kind, unitParameters }: Space, unit: number): number =>
        unitParameters * (kind === "kv" ? kvWorth : 1 + unit / 1000);
      const measure: LearnedRequest["measure"] = async (keep) =>
        new Map([["a", { gates: statsOf(keep, value, evenSpaces) }]]);
      const widths = async (rounds: number): Promise<readonly number[]> => {
        const settings = { spec: even, analyses: analyses(evenSpaces), sparsity: 0.45 };
        const { keep } = await learnAllocation(request({ ...settings, rounds, shape, roundTo, measure }));
        return evenSpaces.map((space) => keptUnits(keep, space).length);
      };
      expect(await widths(6), `KV groups worth ${kvWorth}`).toEqual(await widths(1));
    }
  });

  test("fills no rest that a block of neurons does not fit with KV groups, whatever they are worth", async () => {
    const spec = tinySpec({ layers: [0, 1, 2].map(() => ({ neurons: 256, kvGroups: 8 })) });
    const of = spacesOf(spec);
    const value = ({ kind, unitParameters }: Space): number => unitParameters * (kind === "kv" ? 100 : 1);
    const measure: LearnedRequest["measure"] = async (keep) =>
      new Map([["a", { gates: statsOf(keep, value, of) }]]);
    for (const sparsity of [0.05, 0.1, 0.2, 0.3, 0.4]) {
      const settings = { spec, analyses: analyses(of), sparsity, roundTo: 64, measure };
      const { keep } = await learnAllocation(request(settings));
      expect(Object.keys(keep).filter((id) => id.endsWith(".kv"))).toEqual([]);
    }
  });

  test("takes from the spaces that lose least, in the order of the metric's scores", async () => {
    const { keep } = await learnAllocation(request({ sparsity: 0.2 }));
    const removed = (id: string): number =>
      spaces.find((space) => space.id === id)!.units - (keep[id]?.length ?? Infinity);
    expect(removed("layers.0.ffn")).toBeGreaterThan(0);
    expect(keep["layers.2.ffn"]).toBeUndefined();
    const scores = scoresOf("layers.0.ffn");
    const kept = new Set(keep["layers.0.ffn"]);
    const goneScores = scores.filter((_, unit) => !kept.has(unit));
    const keptScores = scores.filter((_, unit) => kept.has(unit));
    expect(Math.max(...goneScores)).toBeLessThan(Math.min(...keptScores));
  });

  test("corrects the order where the sets agree that it is wrong, and keeps it where they do not", async () => {
    const scores = scoresOf("layers.2.ffn");
    const keptScores = async (cost: (unit: number, set: string) => number): Promise<readonly number[]> => {
      const value = (set: string) => (space: Space, unit: number) =>
        space.id === "layers.2.ffn" ? cost(unit, set) : 1e6;
      const measure = async (keep: Keep): Promise<ReadonlyMap<string, RoundMeasurement>> =>
        new Map(["a", "b", "c"].map((set) => [set, { gates: statsOf(keep, value(set)) }]));
      const { keep } = await learnAllocation(request({ sparsity: 0.1, measure }));
      return keep["layers.2.ffn"]!.map((unit) => scores[unit]!).sort((a, b) => a - b);
    };
    const all = [...scores].sort((a, b) => a - b);
    const wrong = await keptScores((unit) => Math.exp(-5 * scores[unit]!));
    expect(wrong).toEqual(all.slice(0, wrong.length));
    const noise = new Map(["a", "b", "c"].map((set) => [set, randomStream(4, set)]));
    const right = await keptScores((_, set) => Math.exp(5 * noise.get(set)!()));
    expect(right).toEqual(all.slice(-right.length));
  });

  test("lets units go first that nothing depends on, whatever the sets agree on elsewhere", async () => {
    const scores = new Map(spaces.map(({ id }) => [id, scoresOf(id)]));
    const value = ({ id }: Space, unit: number): number =>
      id === "layers.1.kv" ? 0 : Math.exp(-scores.get(id)![unit]!);
    const measure = async (keep: Keep): Promise<ReadonlyMap<string, RoundMeasurement>> =>
      new Map(["a", "b"].map((set) => [set, { gates: statsOf(keep, value) }]));
    const { units, unitParameters } = spaces.find(({ id }) => id === "layers.1.kv")!;
    const sparsity = ((units - 1) * unitParameters) / prunableParameters(spec);
    const { keep, consensus } = await learnAllocation(request({ sparsity, rounds: 1, measure }));
    expect(consensus.get("layers.1.kv")![0]).toBeGreaterThan(0);
    expect(Object.keys(keep)).toEqual(["layers.1.kv"]);
  });

  test("never brings a unit back", async () => {
    const keeps: Keep[] = [];
    const random = randomStream(3, "noise");
    const { keep } = await learnAllocation(
      request({
        rounds: 4,
        measure: async (current) => {
          keeps.push(current);
          return new Map([["a", { gates: statsOf(current, () => random()) }]]);
        },
      }),
    );
    for (const [index, later] of [...keeps.slice(1), keep].entries()) {
      for (const [id, before] of Object.entries(keeps[index]!)) {
        for (const unit of later[id]!) expect(before).toContain(unit);
      }
    }
  });

  /** Kept neurons of layers 0 and 2 after eight rounds: layer 0 seems to be cheap until `turn`, then layer 2. */
  const keptWhere = async (turn: number, sparsity: number): Promise<readonly number[]> => {
    const measure = async (keep: Keep, round: number): Promise<ReadonlyMap<string, RoundMeasurement>> => {
      const cheap = round <= turn ? 0 : 2;
      const value = ({ kind, layer }: Space): number => (kind === "kv" ? 1e6 : layer === cheap ? 1 : 3);
      return new Map([["a", { gates: statsOf(keep, value) }]]);
    };
    const { keep } = await learnAllocation(request({ sparsity, rounds: 8, measure }));
    return [0, 2].map((layer) => (keep[`layers.${layer}.ffn`] ?? neuronsOf(layer)).length);
  };
  const neuronsOf = (layer: number): readonly number[] => {
    const { units } = spaces.find(({ id }) => id === `layers.${layer}.ffn`)!;
    return Array.from({ length: units }, (_, unit) => unit);
  };

  test("remembers earlier rounds the longer the less was removed in between", async () => {
    // A round counts 0.92 of the next at 1/16, and half of it at 1/2.
    const [, slow] = await keptWhere(6, 1 / 16);
    const [, fast] = await keptWhere(6, 1 / 2);
    expect(slow).toBe(neuronsOf(2).length);
    expect(fast).toBeLessThan(neuronsOf(2).length);
  });

  test("counts the first round as one of many", async () => {
    const [first, later] = await keptWhere(1, 1 / 16);
    const removed = [neuronsOf(0).length - first!, neuronsOf(2).length - later!];
    expect(removed[1]!).toBeGreaterThan(5 * removed[0]!);
  });

  test("counts a round half as much as the next when a sixteenth is removed in between", async () => {
    for (const [last, isCheaper] of [
      [1.9, true],
      [2.1, false],
    ] as const) {
      // Means of layer 0: (1 / 2 + 3) / 1.5, of layer 2: (3 / 2 + last) / 1.5.
      const costs = [
        [1, 3],
        [3, last],
      ];
      const measure = async (keep: Keep, round: number): Promise<ReadonlyMap<string, RoundMeasurement>> => {
        const [first, third] = costs[round - 1]!;
        const value = ({ kind, layer }: Space): number =>
          kind === "kv" || layer === 1 ? 1e6 : layer === 0 ? first! : third!;
        return new Map([["a", { gates: statsOf(keep, value) }]]);
      };
      const { keep } = await learnAllocation(request({ sparsity: 1 / 8, rounds: 2, measure }));
      expect("layers.2.ffn" in keep).toBe(isCheaper);
    }
  });

  test.each(["per-layer", "uniform"] as const)("accepts gradients that are all zero: %s", async (shape) => {
    const measure = async (keep: Keep): Promise<ReadonlyMap<string, RoundMeasurement>> =>
      new Map([["a", { gates: statsOf(keep, () => 0, evenSpaces) }]]);
    const settings = { spec: even, analyses: analyses(evenSpaces), shape, measure };
    const { keep, order } = await learnAllocation(request(settings));
    expect(achievedSparsity(makePlan(even, keep), even)).toBeGreaterThan(0.35);
    for (const space of evenSpaces) {
      const scores = sumOverUnits(analyses(evenSpaces).find((own) => own.space === space)!.importance, space);
      const own = order.get(space.id)!;
      expect([...own].sort((a, b) => scores[a]! - scores[b]!)).toEqual(own);
    }
  });

  test("weighs sets, whatever the size of their gradients", async () => {
    const measure =
      (scale: number) =>
      async (keep: Keep): Promise<ReadonlyMap<string, RoundMeasurement>> =>
        new Map([
          ["a", { gates: statsOf(keep, ({ layer }) => layer + 1) }],
          ["b", { gates: statsOf(keep, ({ layer }) => scale * (3 - layer)) }],
        ]);
    const weights = new Map([
      ["a", 1],
      ["b", 2],
    ]);
    const plain = await learnAllocation(request({ weights, measure: measure(1) }));
    const scaled = await learnAllocation(request({ weights, measure: measure(1e6) }));
    expect(scaled.keep).toEqual(plain.keep);
  });

  test("lets the sets that suffer more count more when it is to be robust, and their weights sum to what they did", async () => {
    const cheapIn =
      (cheap: number) =>
      ({ kind, layer }: Space): number =>
        kind === "kv" ? 1000 : layer === cheap ? 1 : 10;
    const measure = async (keep: Keep): Promise<ReadonlyMap<string, RoundMeasurement>> =>
      new Map([
        ["a", { gates: statsOf(keep, cheapIn(0)), denseLoss: 1.5 }],
        ["b", { gates: statsOf(keep, cheapIn(2)), denseLoss: 0.5 }],
      ]);
    const weights = new Map([
      ["a", 2],
      ["b", 2],
    ]);
    const settings = { weights, measure, rounds: 2, sparsity: 0.3 };
    const { rounds, keep, weights: last } = await learnAllocation(request({ ...settings, robust: true }));
    expect(Object.fromEntries(last)).toEqual(rounds[1]!.weights);
    for (const [index, { weights: used }] of rounds.entries()) {
      expect(used.b! / used.a!).toBeCloseTo(Math.exp(index + 1), 9);
      expect(used.a! + used.b!).toBeCloseTo(4, 9);
    }
    const plain = await learnAllocation(request(settings));
    expect(plain.rounds[1]!.weights).toEqual({ a: 2, b: 2 });
    expect(plain.weights).toBe(weights);
    expect(keep["layers.2.ffn"]!.length).toBeLessThan(plain.keep["layers.2.ffn"]!.length);
  });

  test("keeps robust weights above 0 and their sum, however much the losses change", async () => {
    for (const change of [-5000, 5000]) {
      const measure = async (keep: Keep): Promise<ReadonlyMap<string, RoundMeasurement>> => {
        const gates = statsOf(keep, ({ layer }) => layer + 1);
        const losses = { a: change, b: change - 1, c: change - 3000 };
        return new Map(
          Object.entries(losses).map(([name, loss]) => [name, { gates, denseLoss: 1.5 - loss }] as const),
        );
      };
      const { rounds } = await learnAllocation(request({ robust: true, rounds: 1, measure }));
      const { a, b, c } = rounds[0]!.weights;
      expect(a! + b!).toBeCloseTo(3, 12);
      expect(a! / b!).toBeCloseTo(Math.E, 12);
      expect(c).toBe(3e-100);
    }
  });
});
