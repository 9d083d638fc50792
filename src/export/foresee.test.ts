import { describe, expect, test } from "vitest";
import { tinyDelta, tinySpec } from "../../test/tiny_model.ts";
import { prunableParameters } from "../model/spaces.ts";
import { makePlan } from "../prune/plan.ts";
import { biasesCostPrograms, type ForeseenRun, foreseeSupport } from "./foresee.ts";

const ALIKE = tinySpec({
  layers: [
    { neurons: 40, kvGroups: 4, groupSize: 1 },
    { neurons: 40, kvGroups: 4, groupSize: 1 },
  ],
});
const run = (changes: Partial<ForeseenRun> = {}): ForeseenRun => {
  return { spec: ALIKE, sparsity: 0.4, plan: null, addsBiases: false, ...changes };
};
const transformers = (changes: Partial<ForeseenRun>): string => foreseeSupport(run(changes)).transformers;

describe("foreseeSupport", () => {
  test("expects layers to differ, unless nothing goes or they are to be alike", () => {
    expect(transformers({})).toBe("with trust_remote_code (layers differ in width)");
    expect(transformers({ sparsity: 0 })).toBe("yes (LlamaForCausalLM)");
    // A neuron has 3 C parameters, C the hidden size.
    const neuron = 24 / prunableParameters(ALIKE);
    expect(transformers({ sparsity: 0.9 * neuron })).toBe("yes (LlamaForCausalLM)");
    expect(transformers({ sparsity: 1.1 * neuron })).toContain("differ in width");
    expect(transformers({ sparsity: 1.1 * neuron, roundTo: 8 })).toBe("yes (LlamaForCausalLM)");
  });

  test("knows the widths of allocation uniform, which are sometimes equal and sometimes not", () => {
    const uniformly = { allocation: "uniform" } as const;
    const all = prunableParameters(ALIKE);
    // C is 8: two neurons have 48 parameters.
    expect(transformers({ ...uniformly, sparsity: 48 / all })).toBe("yes (LlamaForCausalLM)");
    expect(transformers({ ...uniformly, sparsity: 72 / all })).toContain("differ in width");
  });

  test("joins the answers that a run may end with", () => {
    // C is 8: one, two and four heads divide it, three do not.
    const stock = "yes (LlamaForCausalLM) or yes (MistralForCausalLM)";
    expect(transformers({ shape: "uniform" }).split(" or ").sort().join(" or ")).toBe(stock);
    expect(transformers({ shape: "uniform", addsBiases: true })).toContain("with trust_remote_code");
  });

  test("expects biases of attention only where there is attention", () => {
    const switches = {
      family: "qwen3_5_text",
      qkNorm: "head",
      normOffset: 1,
      gatedAttention: "q_proj",
    } as const;
    const spec = tinySpec({ ...switches, layers: [tinyDelta({}, 40), { neurons: 40, kvGroups: 4 }] });
    expect(transformers({ spec, addsBiases: true })).toBe(
      "with trust_remote_code (layers differ in width; version 5.2 or later)",
    );
  });

  test("expects experts to stay equal in a layer, without biases", () => {
    const layer = {
      neurons: 40,
      kvGroups: 4,
      groupSize: 1,
      experts: { count: 4, active: 2, normalised: true },
    };
    const spec = tinySpec({ family: "mixtral", layers: [layer, layer] });
    expect(transformers({ spec, addsBiases: true })).toBe("with trust_remote_code (layers differ in width)");
    const shape = {
      plan: makePlan(spec, { "layers.0.ffn": [0, 10, 20, 30], "layers.1.ffn": [1, 11, 21, 31] }),
    };
    expect(transformers({ spec, ...shape })).toBe("yes (MixtralForCausalLM)");
    expect(biasesCostPrograms(run({ spec, ...shape }))).toBe(true);
  });

  test("expects layers with experts to differ after a single one without, as in GLM-4.5", () => {
    const heads = { kvGroups: 4, groupSize: 1 };
    const sparse = { ...heads, neurons: 40, experts: { count: 4, active: 2, normalised: true } };
    const spec = tinySpec({
      family: "qwen3_moe",
      qkNorm: "head",
      layers: [{ ...heads, neurons: 40 }, sparse, sparse],
    });
    expect(transformers({ spec })).toBe("with trust_remote_code (layers differ in width)");
    const lone = { ...spec, layers: spec.layers.slice(0, 2) };
    expect(transformers({ spec: lone })).toBe("yes (Qwen3MoeForCausalLM)");
  });

  test("knows what a plan leaves, and refuses one that does not fit the shape", () => {
    const neurons = Array.from({ length: 30 }, (_, unit) => unit);
    const uneven = makePlan(ALIKE, { "layers.0.ffn": neurons });
    const even = makePlan(ALIKE, { "layers.0.ffn": neurons, "layers.1.ffn": neurons });
    expect(transformers({ plan: uneven })).toBe("with trust_remote_code (layers differ in width)");
    expect(transformers({ plan: even, shape: "uniform" })).toBe("yes (LlamaForCausalLM)");
    expect(() => foreseeSupport(run({ plan: uneven, shape: "uniform" }))).toThrow(
      expect.objectContaining({
        message: expect.stringContaining("the same widths in every layer"),
        hint: "Apply the plan with widths per layer (without --shape), or make a uniform plan (--shape uniform).",
      }),
    );
  });

  test("refuses more than can go", () => {
    for (const shape of ["per-layer", "uniform"] as const) {
      expect(() => foreseeSupport(run({ sparsity: 0.99, shape }))).toThrow("sparsity: expected at most");
    }
  });

  test("says that every expert keeps a neuron when it refuses more than can go", () => {
    const experts = { count: 4, active: 2, normalised: true };
    const spec = tinySpec({ family: "mixtral", layers: [{ neurons: 8, experts }] });
    const hintOf = (of: typeof spec): unknown => {
      try {
        return foreseeSupport(run({ spec: of, sparsity: 0.99 }));
      } catch (error) {
        return (error as { readonly hint?: string }).hint;
      }
    };
    expect(hintOf(spec)).toContain("one neuron of every expert");
    expect(hintOf(ALIKE)).toContain("one neuron, or");
  });

  test("refuses what no configuration describes", () => {
    const layers = [{}, { rope: { theta: 7, rotaryDim: 4, scaling: null } }];
    expect(() => foreseeSupport(run({ spec: tinySpec({ layers }) }))).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED" }),
    );
  });
});

describe("biasesCostPrograms", () => {
  const qwen3 = tinySpec({ family: "qwen3", qkNorm: "head", layers: ALIKE.layers });

  test("is true where a stock class, or llama.cpp, has everything but the biases", () => {
    expect(biasesCostPrograms(run({ spec: qwen3, shape: "uniform" }))).toBe(true);
    // No stock class has layers of different widths, but llama.cpp does.
    expect(biasesCostPrograms(run({ spec: qwen3 }))).toBe(true);
    expect(biasesCostPrograms(run())).toBe(false);
  });

  test("is false where the stock class has biases", () => {
    const heads = { neurons: 40, kvGroups: 4, groupSize: 1 };
    const spec = tinySpec({ layers: [heads, heads], hiddenSize: 12 });
    const plan = makePlan(spec, { "layers.0.ffn": [0, 1], "layers.1.ffn": [0, 1] });
    expect(biasesCostPrograms(run({ spec, plan, shape: "uniform" }))).toBe(false);
  });
});
