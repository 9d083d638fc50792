/** Keys of Phi-3.5-MoE's class, read and written. */
import { describe, expect, test } from "vitest";
import type { JsonObject } from "../../io/files/json.ts";
import type { ModelSpec } from "../spec.ts";
import { readConfig } from "./config.ts";
import { configText } from "./config_writer.ts";
import { writeConfig } from "./form.ts";

const CONFIG = {
  ...{ model_type: "phimoe", hidden_size: 16, intermediate_size: 6, num_hidden_layers: 2, vocab_size: 16 },
  ...{ num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 128 },
  num_local_experts: 4,
};
const SCALING = {
  ...{ type: "longrope", short_factor: [1, 2], long_factor: [3, 4], original_max_position_embeddings: 32 },
  ...{ short_mscale: 1.25, long_mscale: 1.25 },
};
const read = (config: JsonObject): ModelSpec => readConfig(config, "config.json");
const without = (key: keyof typeof SCALING): JsonObject =>
  Object.fromEntries(Object.entries(SCALING).filter(([name]) => name !== key));

describe("a Phi-3.5-MoE", () => {
  test("has the values of the class where the file has none", () => {
    const { layers, normType, normParameters, headBias, normEps } = read(CONFIG);
    expect({ normType, normParameters, headBias, normEps }).toEqual({
      ...{ normType: "layer", normParameters: "weight_and_bias", headBias: false, normEps: 1e-5 },
    });
    const experts = { count: 4, active: 2, normalised: false, sparseMixer: 0.02 };
    const layer = { neurons: 24, biases: [], window: null, experts };
    expect(layers).toMatchObject([layer, layer]);
    expect(layers[0]!.rope).toEqual({ theta: 1_000_000, rotaryDim: 4, scaling: null });
  });

  test("has biases where the file says so, and near experts as it says", () => {
    const spec = read({ ...CONFIG, attention_bias: true, lm_head_bias: true, router_jitter_noise: 0.25 });
    expect(spec.headBias).toBe(true);
    expect(spec.layers[1]).toMatchObject({
      biases: ["q_proj", "k_proj", "v_proj", "o_proj"],
      experts: { sparseMixer: 0.5 },
    });
  });

  test.each<[string, JsonObject]>([
    ["usual values", {}],
    ["biases", { attention_bias: true, lm_head_bias: true }],
    ["jitter and windows", { router_jitter_noise: 0.3, sliding_window: 64 }],
    ["no jitter", { router_jitter_noise: 0 }],
    ["LongRoPE", { rope_scaling: SCALING }],
    ["LongRoPE in version 5", { rope_parameters: { ...SCALING, rope_theta: 500 } }],
  ])("comes back as it is written, with %s", (_, changes) => {
    const spec = read({ ...CONFIG, ...changes });
    const written = writeConfig(spec, "float32");
    expect(written.model_type).toBe("phimoe");
    expect(read(written)).toEqual(spec);
  });

  test("is written with floats and with both factors of LongRoPE, for which the class asks", () => {
    const spec = read({ ...CONFIG, router_jitter_noise: 0, rope_scaling: SCALING });
    expect(spec.layers[0]!.rope!.scaling).toMatchObject({ attentionFactor: 1.25, originalMaxPositions: 32 });
    const written = writeConfig(spec, "float32");
    const { type: _, ...parameters } = SCALING;
    expect(written.rope_scaling).toEqual({ rope_type: "longrope", ...parameters });
    expect(written.rope_parameters).toEqual({ rope_type: "longrope", rope_theta: 1_000_000, ...parameters });
    expect(configText(written)).toContain('"router_jitter_noise": 0.0,');
  });

  test.each([{ num_experts_per_tok: 1 }, { num_experts_per_tok: 3 }])(
    "is refused with %o, as its class picks two experts",
    (other) => {
      expect(() => read({ ...CONFIG, ...other })).toThrow(
        expect.objectContaining({
          code: "UNSUPPORTED",
          message: expect.stringContaining("expected 2 experts of each token"),
        }),
      );
    },
  );

  test.each<[string, JsonObject, string]>([
    ["two factors", { ...SCALING, long_mscale: 1.5 }, "got 1.25 and 1.5"],
    ["a factor missing", without("short_mscale"), "got undefined and 1.25"],
    ["factors of another number of channels", { ...SCALING, short_factor: [1] }, "of 2 numbers"],
  ])("is refused with a LongRoPE of %s", (_, rope_scaling, says) => {
    expect(() => read({ ...CONFIG, rope_scaling })).toThrow(
      expect.objectContaining({ code: "BAD_CONFIG", message: expect.stringContaining(says) }),
    );
  });

  test("is refused with another scaling, which its class would multiply by those factors", () => {
    expect(() => read({ ...CONFIG, rope_scaling: { type: "linear", factor: 2 } })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED" }),
    );
  });
});
