/** Keys of Mistral 4's class, read and written. */
import { describe, expect, test } from "vitest";
import type { JsonObject } from "../../io/files/json.ts";
import type { ModelSpec } from "../spec.ts";
import { readConfig } from "./config.ts";
import { findHfForm, writeConfig } from "./form.ts";

const ROTATION = {
  ...{ rope_type: "yarn", rope_theta: 10_000, factor: 4, original_max_position_embeddings: 32 },
  ...{ mscale: 1, mscale_all_dim: 1, llama_4_scaling_beta: 0.5 },
};
const CONFIG = {
  ...{ model_type: "mistral4", hidden_size: 24, intermediate_size: 12, num_hidden_layers: 3, vocab_size: 16 },
  ...{ n_routed_experts: 8, num_experts_per_tok: 2, moe_intermediate_size: 4, num_attention_heads: 3 },
  ...{ q_lora_rank: 5, kv_lora_rank: 6, qk_rope_head_dim: 4, qk_nope_head_dim: 4, v_head_dim: 2 },
  ...{ head_dim: 8, rope_parameters: { ...ROTATION, partial_rotary_factor: 0.5 } },
};

const read = (config: JsonObject): ModelSpec => readConfig(config, "config.json");

describe("the configuration of Mistral 4", () => {
  test("has heads of whole keys, of which a part turns, and experts picked by a softmax", () => {
    const { headDim, latent, layers, attentionScale } = read(CONFIG);
    expect({ headDim, rotated: latent?.rotated }).toEqual({ headDim: 8, rotated: 4 });
    expect(attentionScale).toBeCloseTo(8 ** -0.5 * (1 + 0.1 * Math.log(4)) ** 2, 12);
    expect(layers).toHaveLength(3);
    for (const { rope, experts } of layers) {
      expect(rope).toMatchObject({
        rotaryDim: 4,
        scaling: { attentionFactor: 1, allDim: 1, queryGrowth: 0.5 },
      });
      expect(experts).toEqual({
        ...{ count: 8, active: 2, normalised: true, divisor: { plus: 1e-20 } },
        ...{ shared: 4, sharedUngated: true },
      });
    }
  });

  test("may leave the part out, and all of the rotation", () => {
    const { head_dim: _, rope_parameters: __, ...silent } = CONFIG;
    expect(read({ ...silent, rope_parameters: ROTATION })).toEqual(read(CONFIG));
    // What turns is all that the class asks of the head size.
    expect(read({ ...CONFIG, head_dim: 9 })).toEqual(read(CONFIG));
    const { rope } = read({ ...silent, partial_rotary_factor: 1 }).layers[0]!;
    const usual = {
      factor: 128,
      originalMaxPositions: 8192,
      attentionFactor: 1,
      allDim: 1,
      queryGrowth: 0.1,
    };
    expect(rope).toMatchObject({ theta: 10_000, rotaryDim: 4, scaling: usual });
  });

  test.each([
    [{ head_dim: 4 }, "of which 4 channels turn, as qk_rope_head_dim says, got 4 and 0.5"],
    [{ rope_parameters: { ...ROTATION, partial_rotary_factor: 1 } }, "says, got 8 and 1"],
    // The class takes the older key as it is, after it has completed the other.
    [{ rope_scaling: ROTATION }, "says, got 8 and 1"],
    [{ rope_parameters: { rope_type: "default" } }, "rope type yarn with llama_4_scaling_beta"],
  ])("that says %j is refused", (change, message) => {
    expect(() => read({ ...CONFIG, ...change })).toThrow(
      expect.objectContaining({ code: "BAD_CONFIG", message: expect.stringContaining(message) }),
    );
  });

  test.each<JsonObject>([
    {},
    {
      first_k_dense_replace: 1,
      n_group: 4,
      topk_group: 2,
      norm_topk_prob: false,
      routed_scaling_factor: 1.5,
    },
    {
      attention_bias: true,
      q_lora_rank: null,
      qk_nope_head_dim: 3,
      head_dim: null,
      rope_parameters: ROTATION,
    },
  ])("is written for our modelling file where it says %j, as AutoModelForCausalLM has no class", (change) => {
    const spec = read({ ...CONFIG, ...change });
    const written = writeConfig(spec, "float32");
    expect(read(written)).toEqual(spec);
    expect(written).toMatchObject({ head_dim: spec.headDim, rope_parameters: { llama_4_scaling_beta: 0.5 } });
    expect(findHfForm(spec)).toMatchObject({ remoteCode: true, family: { modelType: "mistral4" } });
  });
});
