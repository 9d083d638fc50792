import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { plansFor, tensorsOf, tinyOptions } from "../../test/plans.ts";
import { tinyModel, tinySpec } from "../../test/tiny_model.ts";
import { parameterCount } from "../model/parameter_counts.ts";
import { spacesOf } from "../model/spaces.ts";
import {
  achievedSparsity,
  composePlans,
  type Keep,
  keepAll,
  makePlan,
  type PlanBase,
  type PruningPlan,
  prunedSpec,
  removedParameters,
  removedUnits,
  validatePlan,
  widths,
} from "./plan.ts";
import { applyPlan } from "./surgery.ts";

const spec = tinySpec({
  layers: [
    { neurons: 6, kvGroups: 2 },
    { neurons: 4, kvGroups: 3, groupSize: 1 },
  ],
});
const plan = makePlan(spec, { "layers.0.ffn": [0, 2, 5], "layers.1.kv": [1] });

describe("validatePlan", () => {
  test("accepts a plan for its own model, and the plan that keeps all", () => {
    expect(validatePlan(plan, spec)).toEqual({ ok: true });
    expect(validatePlan(keepAll(spec), spec)).toEqual({ ok: true });
  });

  const keeping = (keep: Keep): PruningPlan => ({ ...plan, keep });
  const onBase = (change: Partial<PlanBase>): PruningPlan => ({ ...plan, base: { ...plan.base, ...change } });
  test.each<[string, PruningPlan, string]>([
    ["another family", onBase({ family: "qwen3" }), "base family: expected llama, got qwen3"],
    ["another hidden size", onBase({ hiddenSize: 16 }), "base hiddenSize: expected 8, got 16"],
    ["another head size", onBase({ headDim: 8 }), "base headDim: expected 4, got 8"],
    ["other widths", onBase({ neurons: [6, 5] }), "base neurons: expected [6, 4], got [6, 5]"],
    ["other group sizes", onBase({ groupSizes: [2, 2] }), "expected [2, 1], got 2 layers of 2"],
    ["more layers", onBase({ kvGroups: [2, 3, 3] }), "base kvGroups: expected [2, 3], got [2, 3, 3]"],
    ["an unknown space", keeping({ "layers.2.ffn": [0] }), 'with 2 layers, got "layers.2.ffn"'],
    ["a space named like a method", keeping({ toString: [0] }), 'got "toString"'],
    [
      "an empty list",
      keeping({ "layers.0.kv": [] }),
      "keep layers.0.kv: expected at least one unit, got none",
    ],
    [
      "a unit out of range",
      keeping({ "layers.0.kv": [0, 2] }),
      "keep layers.0.kv: expected units 0 to 1, got 2",
    ],
    ["a negative unit", keeping({ "layers.0.kv": [-1] }), "expected units 0 to 1, got -1"],
    ["half a unit", keeping({ "layers.0.kv": [0.5] }), "expected units 0 to 1, got 0.5"],
    ["descending units", keeping({ "layers.0.ffn": [3, 1] }), "expected ascending units, got 1 after 3"],
    ["a repeated unit", keeping({ "layers.0.ffn": [3, 3] }), "expected ascending units, got 3 after 3"],
  ])("refuses %s", (_, bad, problem) => {
    const check = validatePlan(bad, spec);
    expect(check).toMatchObject({ ok: false, problems: [expect.stringContaining(problem)] });
  });

  test("refuses to remove groups that layers share", () => {
    const shared = tinySpec({
      layers: [{ kvSharing: { role: "source" } }, { kvSharing: { role: "reader", source: 0 } }],
    });
    expect(validatePlan(makePlan(shared, { "layers.0.kv": [0], "layers.1.ffn": [0] }), shared)).toEqual({
      ok: false,
      problems: ["keep layers.0.kv: expected no entry, since layers share these keys and values, got one"],
    });
  });

  test("refuses to leave experts unequal", () => {
    const experts = { count: 2, active: 1, normalised: true };
    const mixture = tinySpec({ layers: [{ neurons: 6, experts }] });
    expect(validatePlan(makePlan(mixture, { "layers.0.ffn": [0, 5] }), mixture)).toEqual({ ok: true });
    const unequal = makePlan(mixture, { "layers.0.ffn": [0, 1, 5] });
    const problem = "keep layers.0.ffn: expected equal numbers of neurons of 2 experts, got 1 to 2";
    expect(validatePlan(unequal, mixture)).toEqual({ ok: false, problems: [problem] });
    const wider = tinySpec({ layers: [{ neurons: 8, experts }] });
    expect(validatePlan(unequal, wider)).toEqual({
      ok: false,
      problems: ["base neurons: expected 1 layers of 8, got 1 layers of 6"],
    });
  });

  test("lists every problem", () => {
    const bad = { ...onBase({ headDim: 8 }), keep: { "layers.0.kv": [], "layers.9.kv": [0] } };
    expect(validatePlan(bad, spec)).toMatchObject({ ok: false, problems: { length: 3 } });
  });
});

describe("the size of what a plan does", () => {
  test("names widths, removed units and removed parameters", () => {
    expect(widths(plan, spec)).toEqual({ ffn: [3, 4], kv: [2, 1] });
    const [, neurons, groups] = spacesOf(spec);
    expect(removedUnits(plan, neurons!)).toEqual([1, 3, 4]);
    expect(removedUnits(plan, groups!)).toEqual([0, 2]);
    // 3 neurons of 3 C and 2 groups of (2 g + 2) H C, with C = 8, H = 4, g = 1
    expect(removedParameters(plan, spec)).toBe(3 * 24 + 2 * 128);
  });

  test("agrees with the parameter count of the pruned spec", () => {
    fc.assert(
      fc.property(
        tinyOptions.map(tinySpec).chain((of) => plansFor(of).map((made) => ({ of, made }))),
        ({ of, made }) => {
          const removed = parameterCount(of) - parameterCount(prunedSpec(of, made));
          expect(removedParameters(made, of)).toBe(removed);
          expect(achievedSparsity(made, of)).toBeLessThan(1);
        },
      ),
    );
  });
});

describe("composePlans", () => {
  test("does what the two plans do one after the other", async () => {
    const cases = tinyOptions.chain((options) =>
      plansFor(tinySpec(options)).chain((first) => {
        const middle = prunedSpec(tinySpec(options), first);
        return plansFor(middle).map((second) => ({ options, first, second }));
      }),
    );
    await fc.assert(
      fc.asyncProperty(cases, async ({ options, first, second }) => {
        const model = tinyModel(options);
        const stepwise = applyPlan(applyPlan(model, first), second);
        const atOnce = applyPlan(model, composePlans(first, second));
        expect(atOnce.spec).toEqual(stepwise.spec);
        expect(await tensorsOf(atOnce)).toEqual(await tensorsOf(stepwise));
      }),
      { numRuns: 50 },
    );
  });

  test("has keepAll as neutral element", () => {
    expect(composePlans(plan, keepAll(prunedSpec(spec, plan))).keep).toEqual(plan.keep);
    expect(composePlans(keepAll(spec), plan).keep).toEqual(plan.keep);
  });

  test("keeps both provenances", () => {
    const second = makePlan(prunedSpec(spec, plan), {}, { metric: "ifv" });
    const first = { ...plan, provenance: { metric: "wifv" } };
    expect(composePlans(first, second).provenance).toEqual({
      rounds: [{ metric: "wifv" }, { metric: "ifv" }],
    });
  });

  test("refuses a second plan that is not for the model after the first", () => {
    expect(() => composePlans(plan, plan)).toThrow(/base neurons: expected \[3, 4\], got \[6, 4\]/);
    expect(() => composePlans(plan, plan)).toThrow(expect.objectContaining({ code: "BAD_PLAN" }));
  });
});
