/** A config.json of LFM3, read and written. */
import { describe, expect, test } from "vitest";
import type { JsonObject } from "../../io/files/json.ts";
import type { ModelSpec } from "../spec.ts";
import { readConfig } from "./config.ts";
import { writeConfig } from "./form.ts";

const CONFIG = {
  ...{ model_type: "lfm3", hidden_size: 16, intermediate_size: 10, num_hidden_layers: 6, vocab_size: 16 },
  ...{ num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8 },
};
const read = (config: JsonObject): ModelSpec => readConfig(config, "config.json");
const typesOf = ({ layers }: ModelSpec): unknown[] =>
  layers.map(({ mixer, window }) => mixer?.type ?? window);
const rotation = (rope_theta: number, other: JsonObject = {}): JsonObject => ({
  ...{ rope_type: "default", rope_theta },
  ...other,
});

describe("an LFM3", () => {
  test("has the layers, rotations and switches of its class where the file is silent", () => {
    const spec = read(CONFIG);
    expect(spec).toMatchObject({ gatedAttention: "head_gates", norms: "around", qkNorm: "head" });
    expect(spec).toMatchObject({ tiedEmbeddings: true, normEps: 1e-5 });
    const conv = "convolution";
    expect(typesOf(spec)).toEqual([conv, conv, null, conv, 256, conv]);
    expect(spec.layers[0]).toMatchObject({ mixer: { type: conv, length: 7, biases: false }, kvGroups: 0 });
    const pairs = { type: "proportional", pairs: 2, factor: 1 };
    expect(spec.layers[2]?.rope).toEqual({ theta: 1_000_000, rotaryDim: 8, scaling: pairs });
    expect(spec.layers[4]?.rope).toEqual({ theta: 10_000, rotaryDim: 8, scaling: null });
    expect(read({ ...CONFIG, hidden_act: "gelu", use_sliding_window: false })).toEqual(spec);
  });

  test("has the layers and rotations that the file names", () => {
    const layer_types = ["sliding_attention", "conv", "conv", "conv", "conv", "sliding_attention"];
    const rope_parameters = { sliding_attention: rotation(70, { rope_type: "linear", factor: 3 }) };
    const spec = read({ ...CONFIG, layer_types, sliding_window: 5, rope_parameters, conv_L_cache: 3 });
    expect(typesOf(spec)).toEqual([5, ...Array<string>(4).fill("convolution"), 5]);
    expect(spec.layers[0]?.rope).toEqual({
      ...{ theta: 70, rotaryDim: 8, scaling: { type: "linear", factor: 3 } },
    });
    expect(spec.layers[1]?.mixer).toEqual({ type: "convolution", length: 3, biases: false });
  });

  test("has the epsilon of its norms under either name, of which the usual one counts", () => {
    const epsOf = (keys: JsonObject): number => read({ ...CONFIG, ...keys }).normEps;
    expect(epsOf({ norm_eps: 0.25 })).toBe(0.25);
    expect(epsOf({ rms_norm_eps: 0.5 })).toBe(0.5);
    expect(epsOf({ norm_eps: 0.25, rms_norm_eps: 0.5 })).toBe(0.5);
    const written = writeConfig(read({ ...CONFIG, rms_norm_eps: 0.5 }), "float32");
    expect(written).toMatchObject({ norm_eps: 0.5 });
    expect(written).not.toHaveProperty("rms_norm_eps");
  });

  test.each<[string, JsonObject, string]>([
    ["no gates", { use_attention_gate: false }, "expected use_attention_gate true, got false"],
    ["no norms after blocks", { use_sandwich_norm: false }, "expected use_sandwich_norm true, got false"],
    ["fewer types than layers", { layer_types: ["conv"] }, "layer_types with an entry for every layer"],
    ["no length of windows", { sliding_window: null }, "sliding_window"],
    ["another type", { layer_types: Array(6).fill("mamba") }, "layer_types"],
    ["convolutions alone", { layer_types: Array(6).fill("conv") }, "attention"],
    [
      "no rotation for a type",
      { rope_parameters: { full_attention: rotation(9) } },
      "of sliding_attention, got none",
    ],
    ["rope_scaling", { rope_scaling: { rope_type: "linear", factor: 2 } }, "expected rope_parameters alone"],
  ])("is refused with %s", (_, changes, message) => {
    expect(() => read({ ...CONFIG, ...changes })).toThrow(message);
  });

  test.each<[string, JsonObject]>([
    ["usual values", {}],
    ["biases", { attention_bias: true, conv_bias: true, conv_L_cache: 4, tie_word_embeddings: false }],
    [
      "rotations of its own",
      {
        rope_parameters: {
          full_attention: rotation(9, { rope_type: "proportional", partial_rotary_factor: 0.25, factor: 2 }),
          sliding_attention: rotation(7, { rope_type: "linear", factor: 3 }),
        },
      },
    ],
    [
      "no layer that sees everything",
      { layer_types: ["conv", "conv", "conv", "conv", "conv", "sliding_attention"], sliding_window: 4 },
    ],
  ])("comes back as it is written, with %s", (_, changes) => {
    const spec = read({ ...CONFIG, ...changes });
    const written = writeConfig(spec, "float32");
    expect(written.model_type).toBe("lfm3");
    expect(read(written)).toEqual(spec);
  });
});
