/** Configurations of families whose classes assume or name something unlike Llama's. */
import { describe, expect, test } from "vitest";
import { LLAMA, read, rewritten, windowsOf } from "../../../test/family_configs.ts";
import { PROJECTIONS, type Projection } from "../projections.ts";
import type { RopeSpec } from "../rope_spec.ts";
import type { LayerSpec, ModelSpec } from "../spec.ts";
import { configText } from "./config_writer.ts";
import { writeConfig } from "./form.ts";

const QKV = ["q_proj", "k_proj", "v_proj"];

function biasesOf(config: object): readonly Projection[] {
  return read({ ...LLAMA, ...config }).layers[0]!.biases;
}

function ropesIn(config: object): readonly (RopeSpec | null)[] {
  return read({ ...LLAMA, ...config }).layers.map(({ rope }) => rope);
}

describe("biases", () => {
  test("are on queries, keys and values of Seed-OSS and GLM unless the configuration says no", () => {
    for (const model_type of ["seed_oss", "glm", "glm4"]) {
      expect(biasesOf({ model_type }), model_type).toEqual(QKV);
      expect(biasesOf({ model_type, attention_bias: false }), model_type).toEqual([]);
    }
    expect(biasesOf({ model_type: "llama" })).toEqual([]);
  });

  test("have flags for the outputs of attention and the FFN in Seed-OSS", () => {
    expect(biasesOf({ model_type: "seed_oss", attention_out_bias: true })).toEqual([...QKV, "o_proj"]);
    expect(biasesOf({ model_type: "seed_oss", mlp_bias: true })).not.toContain("o_proj");
    expect(biasesOf({ model_type: "llama", attention_out_bias: true })).toEqual([]);
  });

  test("have one flag for all in ERNIE 4.5, whose class in vLLM ignores them, so that it is written as a Llama", () => {
    expect(biasesOf({ model_type: "ernie4_5", use_bias: true })).toEqual(PROJECTIONS);
    const spec = read({ ...LLAMA, model_type: "ernie4_5", use_bias: true });
    expect(writeConfig(spec, "float32").model_type).toBe("llama");
  });
});

describe("a part of each head", () => {
  test("is half in GLM where its configuration does not say, and written wherever it is not", () => {
    const whole = { partial_rotary_factor: 1 };
    for (const model_type of ["glm", "glm4"]) {
      expect(ropesIn({ model_type, head_dim: 8 })[0]!.rotaryDim).toBe(4);
      expect(ropesIn({ model_type, head_dim: 8, ...whole })[0]!.rotaryDim).toBe(8);
      expect(rewritten({ model_type, head_dim: 8, ...whole })).toMatchObject({
        ...whole,
        rope_parameters: whole,
      });
      expect(rewritten({ model_type, head_dim: 8 }).partial_rotary_factor).toBe(0.5);
    }
  });
});

describe("EXAONE 4", () => {
  const EXAONE4 = { ...LLAMA, model_type: "exaone4", num_hidden_layers: 5 };
  const windows = [4096, 4096, 4096, null, 4096];

  test("does not rotate layers without a window if there is a length for windows", () => {
    expect(windowsOf(EXAONE4)).toEqual(windows);
    expect(ropesIn(EXAONE4).map((rope) => rope !== null)).toEqual([true, true, true, false, true]);
    expect(windowsOf({ ...EXAONE4, sliding_window: null })).toEqual([null, null, null, null, null]);
    expect(ropesIn({ ...EXAONE4, sliding_window: null })).not.toContain(null);
  });

  test("is written with a length for windows if and only if its layers without one are not rotated", () => {
    const types = (type: string): object => ({ layer_types: new Array(5).fill(type) });
    expect(rewritten(EXAONE4).sliding_window).toBe(4096);
    expect(rewritten({ ...EXAONE4, sliding_window: null }).sliding_window).toBeNull();
    const unrotated = { ...EXAONE4, ...types("full_attention"), sliding_window: 4096 };
    expect(ropesIn(unrotated)).toEqual([null, null, null, null, null]);
    expect(rewritten(unrotated).sliding_window).toBe(4096);
  });

  test("takes patterns as transformers does: a number, and anything beside layer_types", () => {
    expect(windowsOf({ ...EXAONE4, sliding_window_pattern: 2 })).toEqual([4096, null, 4096, null, 4096]);
    const types = windows.map((window) => (window === null ? "full_attention" : "sliding_attention"));
    for (const sliding_window_pattern of ["LLLG", 0]) {
      expect(windowsOf({ ...EXAONE4, sliding_window_pattern, layer_types: types })).toEqual(windows);
    }
    expect(() => read({ ...EXAONE4, sliding_window_pattern: "LLLG" })).toThrow(
      "expected layer_types, got the pattern LLLG alone",
    );
    expect(() => read({ ...EXAONE4, sliding_window_pattern: 0 })).toThrow("expected layer_types");
    const hostile = `\u001b[2J${"L".repeat(1000)}`;
    expect(() => read({ ...EXAONE4, sliding_window_pattern: hostile })).toThrow(
      /pattern \\x1b.{100,110} alone$/,
    );
  });
});

describe("Cohere 2", () => {
  const COHERE2 = { ...LLAMA, model_type: "cohere2", num_hidden_layers: 4 };
  const full = { layer_types: Array(4).fill("full_attention") };

  test("rotates layers with a window alone, also where there are none", () => {
    expect(windowsOf(COHERE2)).toEqual([4096, 4096, 4096, null]);
    expect(ropesIn(COHERE2).map((rope) => rope !== null)).toEqual([true, true, true, false]);
    expect(ropesIn({ ...COHERE2, ...full })).toEqual([null, null, null, null]);
    expect(rewritten({ ...COHERE2, ...full }).sliding_window).toBe(4096);
    expect(rewritten({ ...COHERE2, sliding_window: 8, sliding_window_pattern: 2 }).sliding_window).toBe(8);
  });

  test("has no configuration for rotated layers without a window, nor a length of null", () => {
    const { layers, ...spec } = read(COHERE2);
    const open = { ...spec, layers: layers.map((layer) => ({ ...layer, window: null })) };
    expect(() => writeConfig(open, "float32")).toThrow("config.json can describe");
    expect(() => read({ ...COHERE2, sliding_window: null })).toThrow(
      "expected a length as sliding_window, got null",
    );
  });

  test("takes sequences of the length that other programs ask for", () => {
    const lengths = { max_position_embeddings: 8192, model_max_length: 131_072 };
    expect(read({ ...COHERE2, ...lengths }).maxPositions).toBe(131_072);
    expect(rewritten({ ...COHERE2, ...lengths }).max_position_embeddings).toBe(131_072);
    expect(read({ ...COHERE2, ...lengths, model_max_length: null }).maxPositions).toBe(8192);
    expect(read({ ...LLAMA, ...lengths, model_max_length: 1e30 }).maxPositions).toBe(8192);
  });

  test("has a decimal point in a factor on the logits that is a whole number", () => {
    const config = rewritten({ ...COHERE2, logit_scale: 1 });
    expect(configText(config)).toContain('"logit_scale": 1.0');
  });
});

describe("OLMo", () => {
  const OLMO = { ...LLAMA, model_type: "olmo" };

  test("clips queries, keys and values where the class does, at a number with a decimal point", () => {
    expect(read({ ...OLMO, clip_qkv: 8 }).projectionClip).toBe(8);
    expect(configText(rewritten({ ...OLMO, clip_qkv: 8 }))).toContain('"clip_qkv": 8.0');
    expect(rewritten({ ...OLMO, clip_qkv: null }).clip_qkv).toBeNull();
    expect(read({ ...LLAMA, clip_qkv: 8 }).projectionClip).toBeNull();
    expect(() => read({ ...OLMO, clip_qkv: -8 })).toThrow("clip_qkv");
  });
});

describe("GPT-NeoX", () => {
  const NEOX = { model_type: "gpt_neox" };
  const spec = read({ ...LLAMA, ...NEOX });
  const layersOf = (change: Partial<LayerSpec>): ModelSpec => ({
    ...spec,
    layers: spec.layers.map((layer) => ({ ...layer, ...change })),
  });

  test("has the keys of rotation that transformers 4, version 5 and llama.cpp look for", () => {
    const config = { ...NEOX, rotary_emb_base: 500, rotary_pct: 0.5 };
    expect(ropesIn(config)).toEqual(Array(2).fill({ theta: 500, rotaryDim: 4, scaling: null }));
    expect(rewritten(config)).toMatchObject({
      rotary_emb_base: 500,
      rotary_pct: 0.5,
      rope_parameters: { rope_theta: 500, partial_rotary_factor: 0.5 },
    });
  });

  test("has our modelling file for fewer heads, with as many as fill the hidden state where its own class looks", () => {
    expect(writeConfig(spec, "float32").model_type).toBe("gpt_neox");
    const written = writeConfig(layersOf({ kvGroups: 3 }), "float32");
    expect(written).toMatchObject({
      model_type: "gprune_gpt_neox",
      num_attention_heads: 4,
      per_layer_config: { 0: { num_attention_heads: 3, num_key_value_heads: 3 } },
    });
    expect(read(written).layers).toEqual(layersOf({ kvGroups: 3 }).layers);
  });

  test("cannot have heads that share keys and values", () => {
    expect(() => writeConfig(layersOf({ kvGroups: 2, groupSize: 2 }), "float32")).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED" }),
    );
  });
});

describe("norms on queries and keys with weights for each head", () => {
  test.each([
    { model_type: "stablelm", key: "qk_layernorm" },
    { model_type: "cohere", key: "use_qk_norm" },
  ])("exist as a flag of $model_type says", ({ model_type, key }) => {
    for (const flag of [true, false]) {
      const written = rewritten({ model_type, head_dim: 8, [key]: flag });
      expect(written[key]).toBe(flag);
    }
    expect(rewritten({ model_type, head_dim: 8 })[key]).toBe(false);
  });
});

describe("StableLM", () => {
  test("has our modelling file for heads that do not fill the hidden state", () => {
    const spec = read({ ...LLAMA, model_type: "stablelm", num_key_value_heads: 2 });
    const layers = spec.layers.map((layer) => ({ ...layer, kvGroups: 1 }));
    expect(writeConfig(spec, "float32").model_type).toBe("stablelm");
    expect(writeConfig({ ...spec, layers }, "float32")).toMatchObject({
      model_type: "gprune_stablelm",
      num_attention_heads: 4,
      num_key_value_heads: 1,
    });
  });
});

describe("OLMo 2", () => {
  test.each(["linear", "dynamic"])("names %s scaling as its class in transformers 4 wants it", (type) => {
    const scaling = { rope_scaling: { rope_type: type, factor: 4 } };
    expect(rewritten({ model_type: "olmo2", ...scaling }).rope_scaling).toEqual({ type, factor: 4 });
    expect(rewritten({ model_type: "seed_oss", head_dim: 8, ...scaling })).toMatchObject(scaling);
  });
});

describe("OLMo 3", () => {
  test("stretches layers without a window only, and has a base of its own in the others", () => {
    const rope_scaling = { rope_type: "linear", factor: 4 };
    const rope_parameters = { full_attention: { rope_theta: 7 } };
    const config = { model_type: "olmo3", num_hidden_layers: 4, rope_parameters, rope_scaling };
    const local = { theta: 500_000, rotaryDim: 8, scaling: null };
    const full = { theta: 7, rotaryDim: 8, scaling: { type: "linear", factor: 4 } };
    expect(ropesIn(config)).toEqual([local, local, local, full]);
    expect(windowsOf({ ...LLAMA, ...config })).toEqual([4096, 4096, 4096, null]);
    rewritten(config);
  });

  test("has its class's base in all layers where only rope_theta says so, and no other one", () => {
    const config = { model_type: "olmo3", num_hidden_layers: 4 };
    expect(ropesIn({ ...config, rope_theta: 500_000 })).toEqual(ropesIn(config));
    expect(() => ropesIn({ ...config, rope_theta: 7 })).toThrow(
      expect.objectContaining({
        code: "UNSUPPORTED",
        message: expect.stringMatching(
          /: expected rope_parameters of olmo3, or rope_theta 500000, got rope_theta 7 alone$/,
        ),
      }),
    );
    const layer_types = ["full_attention", "full_attention"];
    const full = { ...config, num_hidden_layers: 2, layer_types, rope_theta: 7 };
    expect(ropesIn(full).map((rope) => rope?.theta)).toEqual([7, 7]);
  });

  test.each(["olmo3", "gemma3_text"])(
    "refuses a scaling of %s that transformers would ignore",
    (model_type) => {
      const config = { model_type, head_dim: 8 };
      expect(() => ropesIn({ ...config, rope_scaling: { type: "linear", factor: 4 } })).toThrow(
        'expected rope_scaling with rope_type, got type "linear" alone',
      );
      const both = { type: "linear", rope_type: "linear", factor: 4 };
      for (const rope_scaling of [both, { type: "default" }]) ropesIn({ ...config, rope_scaling });
    },
  );

  test("has a length for windows even where no layer has one, since its class makes the mask", () => {
    const layer_types = ["full_attention", "full_attention"];
    expect(rewritten({ model_type: "olmo3", layer_types }).sliding_window).toBe(4096);
  });
});

describe("Apertus", () => {
  const llama3 = { type: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4 };

  test("has Llama 3's scaling where config.json says nothing of any", () => {
    const usual = { theta: 12e6, rotaryDim: 8, scaling: { ...llama3, originalMaxPositions: 8192 } };
    expect(ropesIn({ model_type: "apertus" })[0]).toEqual(usual);
    const parameters = { rope_type: "default", rope_theta: 5000 };
    const plain = { theta: 5000, rotaryDim: 8, scaling: null };
    expect(ropesIn({ model_type: "apertus", rope_parameters: parameters })[0]).toEqual(plain);
    expect(ropesIn({ model_type: "apertus", rope_theta: 12e6 })[0]).toEqual(usual);
  });

  test.each([
    { rope_scaling: null },
    { rope_scaling: {} },
    { rope_scaling: null, rope_theta: 5000 },
    { rope_theta: 5000 },
  ])("is refused where versions of transformers disagree: %j", (keys) => {
    expect(() => ropesIn({ model_type: "apertus", ...keys })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining("rope_parameters") }),
    );
  });

  test("is written without scaling in a form that transformers 4 does not scale", () => {
    const rope_parameters = { rope_type: "default", rope_theta: 5000 };
    expect(rewritten({ model_type: "apertus", rope_parameters })).toMatchObject({
      rope_scaling: null,
      rope_parameters,
    });
  });
});

test("HyperCLOVA X scales scores by the head size where nothing is said, and multiplies logits", () => {
  const clova = { model_type: "hyperclovax", head_dim: 16, logits_scaling: 0.25 };
  for (const attention_multiplier of [null, undefined]) {
    expect(rewritten({ ...clova, attention_multiplier })).toMatchObject({
      attention_multiplier: 0.25,
      logits_scaling: 0.25,
    });
  }
  expect(() => rewritten({ ...clova, use_post_norm: false })).toThrow("expected use_post_norm true");
});

describe("CWM", () => {
  const types = (config: object): unknown => rewritten({ model_type: "cwm", ...config }).layer_types;

  test("has no window in the first of every four layers where config.json names none", () => {
    expect(types({ num_hidden_layers: 5 })).toEqual([
      "full_attention",
      ...Array<string>(3).fill("sliding_attention"),
      "full_attention",
    ]);
  });

  test("has a length for windows even where no layer has one, since its class makes the mask", () => {
    const layer_types = ["full_attention", "full_attention"];
    expect(rewritten({ model_type: "cwm", num_hidden_layers: 2, layer_types }).sliding_window).toBe(8192);
  });
});

describe("GPT-J", () => {
  const config = { model_type: "gptj", n_embd: 64, n_layer: 2, n_head: 4, rotary_dim: 8 };
  const plain = { theta: 10_000, rotaryDim: 8, scaling: null };

  test("has one key for its rotation, a number of channels, and ignores the usual ones", () => {
    expect(ropesIn({ ...config, rope_theta: 5, rope_scaling: { type: "linear", factor: 2 } })[0]).toEqual(
      plain,
    );
    const written = rewritten(config);
    expect(written).toMatchObject({ rotary_dim: 8 });
    for (const key of ["rope_theta", "rope_parameters", "rope_scaling"])
      expect(written).not.toHaveProperty(key);
  });

  test.each([7, 10, null])("refuses to rotate %s channels of heads of 8", (rotary_dim) => {
    expect(() => ropesIn({ ...config, rotary_dim })).toThrow(
      `rotary_dim an even number of at most 8, got ${rotary_dim}`,
    );
  });
});

test("nanochat caps logits at 15 unless its configuration has another cap or null", () => {
  const cap = (config: object): unknown =>
    rewritten({ model_type: "nanochat", ...config }).final_logit_softcapping;
  expect(cap({})).toBe(15);
  expect(cap({ final_logit_softcapping: 4.5 })).toBe(4.5);
  expect(cap({ final_logit_softcapping: null })).toBeNull();
});

describe("HunYuan", () => {
  const rope = (parameters: object): RopeSpec | null =>
    ropesIn({ model_type: "hunyuan_v1_dense", rope_theta: 10_000, rope_scaling: parameters })[0]!;

  test("raises the base of dynamic scaling by alpha, for texts of any length", () => {
    const scaled = rope({ type: "dynamic", alpha: 1000, factor: 1, beta_fast: 32 });
    expect(scaled).toEqual({ theta: 10_000 * 1000 ** (8 / 6), rotaryDim: 8, scaling: null });
    const dynamic = { type: "dynamic", factor: 2, originalMaxPositions: 2048 };
    expect(rope({ type: "dynamic", alpha: 0, factor: 2 })).toEqual({
      theta: 10_000,
      rotaryDim: 8,
      scaling: dynamic,
    });
  });

  test("is written with the raised base", () => {
    const rope_scaling = { type: "dynamic", alpha: 1000, factor: 1 };
    const written = rewritten({ model_type: "hunyuan_v1_dense", rope_scaling });
    expect(written).toMatchObject({ rope_parameters: { rope_type: "default" } });
    expect(written).not.toHaveProperty("rope_scaling");
  });

  test.each([1e308, 1e-308])("refuses an alpha of %s, which leaves no base", (alpha) => {
    expect(() => rope({ type: "dynamic", alpha, factor: 1 })).toThrow(
      /expected an alpha with a finite, positive base of the rotation, got 1e[+-]308, base (Infinity|0)$/,
    );
  });

  test("is the only family that reads alpha", () => {
    expect(ropesIn({ rope_scaling: { type: "dynamic", alpha: 1000, factor: 2 } })[0]!.theta).toBe(10_000);
  });
});
