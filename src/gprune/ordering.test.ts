import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { behaviourModules, type UnitModules } from "./modules.ts";
import { moduleOrders } from "./ordering.ts";
import { judgeModules, type ModuleVerdict, type Verdict } from "./reliability.ts";
import { unitSensitivity } from "./sensitivity.ts";

const module = { size: 3, meanSigma: 0, sigmaRange: [0, 0], meanRank: 0.5, rankRange: [0, 1] } as const;
const split: UnitModules = {
  spaceId: "layers.0.ffn",
  assignment: [0, 1, 0, 1, 1, 0],
  modules: [module, module],
  evidence: [],
  components: 0,
  explained: 1,
  reason: "",
};
const judged = (...verdicts: readonly Verdict[]): readonly ModuleVerdict[] =>
  verdicts.map((verdict, number) => {
    return { module: number, r: 1, perSet: [], splitHalf: 1, magnitude: 0.5, verdict, reason: "" };
  });

const scores = Float64Array.of(5, 4, 3, 2, 2, 0);
const fallback = Float64Array.of(0, 7, 1, 9, 8, 2);

describe("moduleOrders", () => {
  test("ranks each module by the scores its verdict names", () => {
    const orders = moduleOrders({
      modules: split,
      verdicts: judged("activation", "fallback"),
      scores,
      fallback,
    });
    expect(orders).toEqual([
      { spaceId: "layers.0.ffn", module: 0, verdict: "activation", units: [5, 2, 0] },
      { spaceId: "layers.0.ffn", module: 1, verdict: "fallback", units: [1, 4, 3] },
    ]);
  });

  test("breaks ties by index", () => {
    const orders = moduleOrders({
      modules: split,
      verdicts: judged("activation", "activation"),
      scores,
      fallback,
    });
    expect(orders.map(({ units }) => units)).toEqual([
      [5, 2, 0],
      [3, 4, 1],
    ]);
  });

  test("of one reliable module is the base metric's ranking of the space", () => {
    const values = fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(values, (base) => {
        const given = Float64Array.from(base);
        const sensitivity = unitSensitivity(new Map([["wiki", given]]));
        const modules = behaviourModules("layers.0.kv", sensitivity, { seed: 0, maxModules: 4 });
        const halves = [given, given] as const;
        const verdicts = judgeModules(modules, new Map([["wiki", { whole: given, halves }]]));
        const ranking = Array.from(base.keys()).sort((a, b) => base[a]! - base[b]! || a - b);
        expect(moduleOrders({ modules, verdicts, scores: given, fallback: given })).toEqual([
          { spaceId: "layers.0.kv", module: 0, verdict: "activation", units: ranking },
        ]);
      }),
    );
  });

  test.each([
    ["verdicts of other modules", { verdicts: judged("activation") }, "expected 2 verdicts, got 1"],
    ["scores of another length", { scores: Float64Array.of(1) }, "expected 6 units, got 1"],
  ])("refuses %s", (_, change, message) => {
    const request = {
      modules: split,
      verdicts: judged("activation", "activation"),
      scores,
      fallback,
      ...change,
    };
    expect(() => moduleOrders(request)).toThrow(message);
  });
});
