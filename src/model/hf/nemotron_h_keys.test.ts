import { describe, expect, test } from "vitest";
import { LLAMA, read, rewritten } from "../../../test/family_configs.ts";
import type { ModelSpec } from "../spec.ts";

/** Keys as in published files, which have the pattern. */
const DENSE = {
  ...LLAMA,
  model_type: "nemotron_h",
  num_hidden_layers: 5,
  hybrid_override_pattern: "M-M*-",
  head_dim: 8,
  mlp_hidden_act: "relu2",
  layer_norm_epsilon: 1e-5,
  time_step_limit: [0, { __float__: "Infinity" }],
};
const EXPERTS = {
  ...DENSE,
  num_hidden_layers: 3,
  hybrid_override_pattern: "ME*",
  n_routed_experts: 4,
  num_experts_per_tok: 2,
  moe_intermediate_size: 6,
  moe_shared_expert_intermediate_size: 10,
  routed_scaling_factor: 2.5,
};

/** M, *, - or E of each layer. */
function patternOf({ layers }: ModelSpec): string {
  const letters = layers.map(({ mixer, neurons, experts, kvGroups }) => {
    if (neurons > 0) return `${experts ? "E" : "-"}${mixer?.type === "none" ? "" : "?"}`;
    return kvGroups > 0 ? "*" : mixer?.type === "mamba2" ? "M" : "?";
  });
  return letters.join("");
}

describe("Nemotron-H", () => {
  test("has one block in each layer, as the pattern or a list of any version says", () => {
    expect(patternOf(read(DENSE))).toBe("M-M*-");
    expect(patternOf(read({ ...DENSE, hybrid_override_pattern: undefined, num_hidden_layers: 4 }))).toBe(
      "ME*-",
    );
    for (const types of [
      ["mamba", "mlp", "attention"],
      ["linear_attention", "mlp", "full_attention"],
    ]) {
      for (const key of ["layers_block_type", "layer_types"])
        expect(patternOf(read({ ...DENSE, [key]: types }))).toBe("M-*");
    }
  });

  test("rotates nothing, and has the sizes of Mamba 2 that the configuration gives, or those of the class", () => {
    const usual = {
      ...{ type: "mamba2", length: 4, keyHeads: 8, valueHeads: 128, keyDim: 128, valueDim: 64 },
      ...{ biases: false, filterBiases: true },
    };
    const { layers } = read(DENSE);
    expect(layers[0]!.mixer).toEqual(usual);
    expect(layers.map(({ rope }) => rope)).toEqual(layers.map(() => null));
    const sizes = { mamba_num_heads: 6, mamba_head_dim: 5, ssm_state_size: 7, use_bias: true };
    expect(read({ ...DENSE, ...sizes, n_groups: 3, conv_kernel: 2, use_conv_bias: false })).toMatchObject({
      layers: {
        0: {
          mixer: {
            ...{ length: 2, keyHeads: 3, valueHeads: 6, keyDim: 7, valueDim: 5 },
            ...{ biases: true, filterBiases: false },
          },
        },
      },
    });
    expect(read({ ...DENSE, mamba_n_groups: 4, n_groups: 2 }).layers[0]!.mixer).toMatchObject({
      keyHeads: 4,
    });
  });

  test("has experts beside a shared one of its own width", () => {
    const { layers } = read(EXPERTS);
    expect(layers[1]).toMatchObject({
      neurons: 24,
      experts: {
        ...{ count: 4, active: 2, normalised: true, sigmoid: true, corrected: true, scale: 2.5 },
        ...{ shared: 10, sharedUngated: true, divisor: { plus: 1e-20 } },
      },
    });
  });

  test.each([DENSE, EXPERTS])("is written with what other programs read", (config) => {
    const written = rewritten(config);
    const { hybrid_override_pattern, num_hidden_layers, layer_norm_epsilon } = config;
    expect(written).toMatchObject({ hybrid_override_pattern, num_hidden_layers, layer_norm_epsilon });
    // Names of transformers.js, and steps of Mamba 2 that transformers leaves as they are.
    expect(written).toMatchObject({ rms_norm_eps: layer_norm_epsilon, mlp_hidden_act: "relu2" });
    expect(written.layers_block_type).toContain("mamba");
    expect(written.time_step_min).toBeLessThan(1e-6);
    expect(read(written)).toEqual(read(config));
    expect(Object.hasOwn(written, "n_routed_experts")).toBe(config === EXPERTS);
  });

  test.each([
    [{ hybrid_override_pattern: "M-M" }, "expected a layer with attention, got other layers alone"],
    [{ hybrid_override_pattern: "M*M" }, "expected a layer with an FFN, got M*M"],
    [{ hybrid_override_pattern: "M-+*" }, "hybrid_override_pattern"],
    [{ layers_block_type: ["conv"] }, "layers_block_type"],
    [{ n_groups: 3 }, "expected mamba_num_heads divisible by n_groups, 3, got 128"],
    [{ time_step_limit: [0.001, 0.1] }, "expected time_step_limit [0, Infinity]"],
    [{ attention_bias: true }, "expected attention_bias false"],
    [{ mlp_hidden_act: "silu" }, "expected mlp_hidden_act relu2"],
    [{ ...EXPERTS, moe_latent_size: 16 }, "expected moe_latent_size null in a model with experts, got 16"],
    [{ ...EXPERTS, mlp_bias: true }, "expected mlp_bias false in a model with experts, got true"],
  ])("refuses %j", (keys, message) => {
    expect(() => read({ ...DENSE, ...keys })).toThrow(message);
  });
});
