import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type TinyModelOptions, tinySpec } from "../../test/tiny_model.ts";
import { FAMILY_NAMES } from "./families.ts";
import { readConfig } from "./hf_config.ts";
import { configText } from "./hf_config_writer.ts";
import { hfForm, writeConfig } from "./hf_form.ts";
import { hasUniformWidths, type ModelSpec, PROJECTIONS } from "./spec.ts";

/** The least config.json of a Llama. */
const LLAMA = {
  model_type: "llama",
  vocab_size: 100,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
};
const GEMMA = {
  ...LLAMA,
  model_type: "gemma3_text",
  num_hidden_layers: 7,
  head_dim: 8,
  sliding_window: 16,
  hidden_activation: "gelu_pytorch_tanh",
  query_pre_attn_scalar: 8,
};
const GEMMA1 = { ...LLAMA, model_type: "gemma", head_dim: 8, hidden_act: "gelu_pytorch_tanh" };
const GRANITE = {
  ...LLAMA,
  model_type: "granite",
  embedding_multiplier: 12,
  attention_multiplier: 0.015625,
  residual_multiplier: 0.22,
  logits_scaling: 6,
};
const SMOLLM3 = { ...LLAMA, model_type: "smollm3", num_hidden_layers: 5 };
const GEMMA2 = {
  ...GEMMA,
  model_type: "gemma2",
  num_hidden_layers: 3,
  attn_logit_softcapping: 50,
  final_logit_softcapping: 30,
};
const QWEN = { ...LLAMA, model_type: "qwen2", num_hidden_layers: 4, sliding_window: 16 };

function read(config: object): ModelSpec {
  return readConfig(JSON.parse(JSON.stringify(config)), "config.json");
}

/** Windows of the layers. */
function windowsOf(config: object): readonly (number | null)[] {
  return read(config).layers.map(({ window }) => window);
}

describe("readConfig", () => {
  it("fills in what the family assumes", () => {
    const spec = read(LLAMA);
    expect(spec).toMatchObject({
      family: "llama",
      headDim: 8,
      tiedEmbeddings: false,
      activation: "silu",
      normEps: 1e-6,
      attentionScale: 8 ** -0.5,
      maxPositions: 2048,
      extra: {},
    });
    expect(spec.layers).toHaveLength(2);
    expect(spec.layers[1]).toEqual({
      neurons: 48,
      kvGroups: 4,
      groupSize: 1,
      window: null,
      rope: { theta: 10_000, rotaryDim: 8, scaling: null },
      biases: [],
    });
  });

  it("assumes of a silent file what the class of its family does", () => {
    const { hidden_activation: _a, query_pre_attn_scalar: _q, sliding_window: _s, ...silent } = GEMMA;
    expect(read({ ...silent, head_dim: 16 })).toMatchObject({
      headDim: 16,
      activation: "gelu_tanh",
      attentionScale: 256 ** -0.5,
    });
    expect(read({ ...silent, head_dim: undefined }).headDim).toBe(256);
    expect(read({ ...LLAMA, model_type: "gemma" })).toMatchObject({
      headDim: 256,
      activation: "gelu_tanh",
      embeddingScale: Math.sqrt(32),
      attentionScale: 256 ** -0.5,
      normOffset: 1,
      tiedEmbeddings: true,
    });
    expect(windowsOf(silent).slice(4, 6)).toEqual([4096, null]);
    expect(windowsOf({ ...LLAMA, model_type: "mistral" })).toEqual([4096, 4096]);
    const qwen3 = { ...LLAMA, model_type: "qwen3", num_hidden_layers: 30, use_sliding_window: true };
    expect(windowsOf(qwen3).slice(26)).toEqual([null, null, 4096, 4096]);
    expect(read(qwen3).headDim).toBe(128);
    expect(read({ ...qwen3, head_dim: null }).headDim).toBe(8);
  });

  it("caps scores and logits as Gemma 2 does, logits as Gemma 3 does, and nothing in other families", () => {
    const { attn_logit_softcapping: _a, final_logit_softcapping: _f, ...silent } = GEMMA2;
    const caps = { attn_logit_softcapping: 7, final_logit_softcapping: 9 };
    const none = { attn_logit_softcapping: null, final_logit_softcapping: null };
    expect(read(silent)).toMatchObject({ scoreSoftcap: 50, logitSoftcap: 30 });
    expect(read({ ...silent, ...none })).toMatchObject({ scoreSoftcap: null, logitSoftcap: null });
    expect(read(GEMMA)).toMatchObject({ scoreSoftcap: null, logitSoftcap: null });
    expect(read({ ...GEMMA2, ...caps })).toMatchObject({ scoreSoftcap: 7, logitSoftcap: 9 });
    // transformers' Gemma 3 keeps the number and does nothing with it.
    expect(read({ ...GEMMA, ...caps })).toMatchObject({ scoreSoftcap: null, logitSoftcap: 9 });
    expect(read({ ...LLAMA, ...caps })).toMatchObject({ scoreSoftcap: null, logitSoftcap: null });
  });

  it("assumes of a silent Gemma 2 what its class does", () => {
    const silent = { ...LLAMA, model_type: "gemma2", num_hidden_layers: 3, hidden_act: "gelu" };
    expect(read(silent)).toMatchObject({
      headDim: 256,
      activation: "gelu_tanh",
      attentionScale: 256 ** -0.5,
      qkNorm: false,
      postNorms: true,
      normOffset: 1,
    });
    expect(windowsOf(silent)).toEqual([4096, null, 4096]);
    expect(read(silent).layers[0]!.rope).toEqual({ theta: 10_000, rotaryDim: 256, scaling: null });
  });

  it("reads the factors of Granite, 1 where they are absent, and those of no other family", () => {
    expect(read(GRANITE)).toMatchObject({
      embeddingScale: 12,
      attentionScale: 0.015625,
      residualScale: 0.22,
      logitDivisor: 6,
    });
    const ones = { embeddingScale: 1, residualScale: 1, logitDivisor: 1 };
    expect(read({ ...LLAMA, model_type: "granite" })).toMatchObject({ ...ones, attentionScale: 1 });
    expect(read({ ...GRANITE, model_type: "llama" })).toMatchObject({ ...ones, attentionScale: 8 ** -0.5 });
  });

  it("takes heads of any size and fewer key/value heads", () => {
    const spec = read({ ...LLAMA, head_dim: 24, num_key_value_heads: 2 });
    expect(spec.headDim).toBe(24);
    expect(spec.layers[0]).toMatchObject({ kvGroups: 2, groupSize: 2 });
  });

  it("reads widths of single layers", () => {
    const per_layer_config = { 1: { intermediate_size: 7, num_attention_heads: 2, num_key_value_heads: 1 } };
    const { layers } = read({ ...LLAMA, per_layer_config });
    expect(layers[0]).toMatchObject({ neurons: 48, kvGroups: 4, groupSize: 1 });
    expect(layers[1]).toMatchObject({ neurons: 7, kvGroups: 1, groupSize: 2 });
  });

  it("carries token ids and drops what names code, paths or anything unknown", () => {
    const spec = read({
      ...LLAMA,
      bos_token_id: 1,
      eos_token_id: [2, 3],
      auto_map: { AutoModelForCausalLM: "modeling.Evil" },
      custom_pipelines: { x: { impl: "evil.py" } },
      _name_or_path: "/etc/passwd",
      trust_remote_code: true,
      architectures: ["Evil"],
    });
    expect(spec.extra).toEqual({ bos_token_id: 1, eos_token_id: [2, 3] });
    const written = JSON.stringify(writeConfig(spec, "float32"));
    expect(written).not.toMatch(/evil|auto_map|passwd|trust|custom/i);
    expect(writeConfig(spec, "float32")).toMatchObject({
      architectures: ["LlamaForCausalLM"],
      dtype: "float32",
    });
  });

  it("lists the families it knows", () => {
    const known = FAMILY_NAMES.join(", ");
    expect(() => read({ ...LLAMA, model_type: "mamba" })).toThrow(
      expect.objectContaining({
        code: "UNSUPPORTED",
        message: `config.json: expected one of the model types ${known}, got "mamba"`,
      }),
    );
    expect(known).toContain("llama");
  });

  it.each([
    [null, "expected a JSON object"],
    [[], "expected a JSON object"],
    [{ vocab_size: 1 }, '"model_type"'],
    [{ ...LLAMA, hidden_size: undefined }, "hidden_size"],
    [{ ...LLAMA, vocab_size: 0 }, "vocab_size"],
    [{ ...LLAMA, intermediate_size: 1.5 }, "intermediate_size"],
    [{ ...LLAMA, num_hidden_layers: 1e9 }, "num_hidden_layers"],
    [{ ...LLAMA, hidden_size: "32" }, "hidden_size"],
    [{ ...LLAMA, num_attention_heads: 5 }, "head_dim, or hidden_size divisible by num_attention_heads"],
    [{ ...LLAMA, num_key_value_heads: 3 }, "num_attention_heads divisible by num_key_value_heads in layer 0"],
    [{ ...LLAMA, per_layer_config: { 1: { num_key_value_heads: 3 } } }, "num_key_value_heads in layer 1"],
    [{ ...LLAMA, per_layer_config: { constructor: {} } }, "per_layer_config"],
    [{ ...LLAMA, head_dim: 6, partial_rotary_factor: 0.5 }, "even number of rotated channels, got 3"],
    [{ ...LLAMA, rms_norm_eps: -1 }, "rms_norm_eps"],
    [{ ...LLAMA, rope_theta: 0 }, "rope_theta"],
    [{ ...GEMMA2, attn_logit_softcapping: -1 }, "attn_logit_softcapping"],
    [{ ...SMOLLM3, no_rope_layers: [1, 1, 1, 1] }, "no_rope_layers to have a number for every layer, got 4"],
    [{ ...SMOLLM3, no_rope_layer_interval: 0 }, "no_rope_layer_interval"],
    [{ ...GRANITE, residual_multiplier: 0 }, "residual_multiplier"],
    [{ ...GRANITE, logits_scaling: -8 }, "logits_scaling"],
    [{ ...QWEN, layer_types: ["full_attention", "linear_attention"] }, "layer_types"],
    [
      { ...LLAMA, quantization_config: { bits: 4 } },
      "quantised checkpoints are not read; use the original weights",
    ],
    [
      { ...GEMMA, use_bidirectional_attention: true },
      "only models whose tokens see what is before them are read",
    ],
    [{ ...LLAMA, bos_token_id: { auto_map: "evil" } }, "bos_token_id"],
    [{ ...LLAMA, eos_token_id: [1, "2"] }, "eos_token_id"],
    [{ ...LLAMA, initializer_range: "0.02; rm" }, "initializer_range"],
    [{ ...LLAMA, use_cache: [[[]]] }, "use_cache"],
  ])("refuses %j", (config, named) => {
    expect(() => readConfig(config, "config.json")).toThrow(
      expect.objectContaining({ code: "BAD_CONFIG", message: expect.stringContaining(named) }),
    );
  });

  it.each(["gelu", "relu", "constructor", "toString"])("refuses the activation %s", (hidden_act) => {
    expect(() => read({ ...LLAMA, hidden_act })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining(`got ${hidden_act}`) }),
    );
  });
});

describe("activations", () => {
  it("are the tangent's GELU where Gemma's configuration says GELU, and only there", () => {
    expect(read({ ...GEMMA1, hidden_act: "gelu" }).activation).toBe("gelu_tanh");
    // What the first versions of the file had besides.
    expect(read({ ...GEMMA1, hidden_act: "gelu", hidden_activation: null }).activation).toBe("gelu_tanh");
    expect(() => read({ ...GEMMA, hidden_activation: "gelu" })).toThrow("got gelu");
  });
});

describe("rotary parameters", () => {
  const factors = {
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  };
  const llama3 = {
    type: "llama3",
    factor: 8,
    lowFreqFactor: 1,
    highFreqFactor: 4,
    originalMaxPositions: 8192,
  };

  it.each([
    [{ rope_theta: 500 }, { theta: 500, scaling: null }],
    [
      { rope_theta: 500, rope_scaling: null },
      { theta: 500, scaling: null },
    ],
    [{ rope_parameters: { rope_theta: 500, rope_type: "default" } }, { theta: 500, scaling: null }],
    [
      { rope_scaling: { type: "linear", factor: 2 } },
      { theta: 10_000, scaling: { type: "linear", factor: 2 } },
    ],
    [
      { rope_theta: 500, rope_scaling: { rope_type: "llama3", ...factors } },
      { theta: 500, scaling: llama3 },
    ],
    [
      { rope_parameters: { rope_theta: 500, rope_type: "llama3", ...factors } },
      { theta: 500, scaling: llama3 },
    ],
    [
      { rope_theta: 1, rope_scaling: { type: "linear", factor: 2 }, rope_parameters: { rope_theta: 500 } },
      { theta: 500, scaling: null },
    ],
  ])("reads %j", (keys, expected) => {
    expect(read({ ...LLAMA, ...keys }).layers[0]!.rope).toEqual({ rotaryDim: 8, ...expected });
  });

  it.each([{ partial_rotary_factor: 0.5 }, { rope_parameters: { partial_rotary_factor: 0.5 } }])(
    "rotates a part of a head: %j",
    (keys) => {
      expect(read({ ...LLAMA, ...keys }).layers[0]!.rope?.rotaryDim).toBe(4);
    },
  );

  it.each([
    { rope_scaling: { type: "yarn", factor: 2 } },
    { rope_scaling: { type: "longrope", short_factor: [1], long_factor: [1] } },
    { rope_scaling: { type: "dynamic", factor: 2 } },
    { rope_scaling: { type: "linear" } },
    { rope_parameters: { rope_type: "llama3", factor: 8 } },
  ])("refuses %j", (keys) => {
    expect(() => read({ ...LLAMA, ...keys })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining("rope type") }),
    );
  });

  it("reads one set for windowed layers and one for the others, before and since transformers 5", () => {
    const layer_types = ["sliding_attention", "full_attention"];
    const scaled = { rope_type: "linear", factor: 8 };
    const config = { ...GEMMA, num_hidden_layers: 2, layer_types };
    const since = {
      full_attention: { ...scaled, rope_theta: 500_000 },
      sliding_attention: { rope_type: "default", rope_theta: 77 },
    };
    const before = { rope_theta: 500_000, rope_local_base_freq: 77, rope_scaling: scaled };
    for (const keys of [{ rope_parameters: since }, before]) {
      expect(read({ ...config, ...keys }).layers.map(({ rope }) => rope)).toEqual([
        { theta: 77, rotaryDim: 8, scaling: null },
        { theta: 500_000, rotaryDim: 8, scaling: { type: "linear", factor: 8 } },
      ]);
    }
    const written = JSON.parse(JSON.stringify(writeConfig(read({ ...config, ...before }), "float32")));
    expect(written).toMatchObject({ rope_scaling: scaled, rope_parameters: since });
    // What transformers before 5 sees of it.
    expect(read({ ...written, rope_parameters: undefined })).toEqual(read({ ...config, ...before }));
  });
});

describe("layers that are not rotated", () => {
  /** For every layer whether it is rotated. */
  const rotated = (config: object): readonly boolean[] =>
    read(config).layers.map(({ rope }) => rope !== null);

  it("are each 4th of a SmolLM3, or as its configuration says", () => {
    expect(rotated(SMOLLM3)).toEqual([true, true, true, false, true]);
    expect(rotated({ ...SMOLLM3, no_rope_layers: null })).toEqual([true, true, true, false, true]);
    expect(rotated({ ...SMOLLM3, no_rope_layer_interval: 2 })).toEqual([true, false, true, false, true]);
    const given = { ...SMOLLM3, no_rope_layers: [0, 1, 1, 1, 0, 0], no_rope_layer_interval: 2 };
    expect(rotated(given)).toEqual([false, true, true, true, false]);
    expect(rotated({ ...given, model_type: "llama" })).toEqual([true, true, true, true, true]);
    expect(read(SMOLLM3)).toMatchObject({ tiedEmbeddings: true });
    expect(read(SMOLLM3).layers[0]!.rope).toEqual({ theta: 2_000_000, rotaryDim: 8, scaling: null });
  });

  it("have the windows where layer_types does not say otherwise", () => {
    const config = { ...SMOLLM3, use_sliding_window: true, sliding_window: 16 };
    expect(windowsOf(config)).toEqual([null, null, null, 16, null]);
    expect(windowsOf({ ...config, use_sliding_window: undefined })).toEqual([null, null, null, null, null]);
    const layer_types = ["sliding", "full", "full", "full", "full"].map((type) => `${type}_attention`);
    expect(windowsOf({ ...config, layer_types })).toEqual([16, null, null, null, null]);
  });
});

describe("windows", () => {
  it("are those of all layers in Mistral, of none in Llama", () => {
    expect(windowsOf({ ...LLAMA, model_type: "mistral", sliding_window: 16 })).toEqual([16, 16]);
    expect(windowsOf({ ...LLAMA, model_type: "mistral", sliding_window: null })).toEqual([null, null]);
    expect(windowsOf({ ...LLAMA, sliding_window: 16 })).toEqual([null, null]);
  });

  it("are those that layer_types names, unless windows are switched off", () => {
    const types = ["full_attention", "sliding_attention", "full_attention", "sliding_attention"];
    const config = { ...QWEN, layer_types: types };
    expect(windowsOf({ ...config, use_sliding_window: true })).toEqual([null, 16, null, 16]);
    expect(windowsOf({ ...config, use_sliding_window: false })).toEqual([null, null, null, null]);
    expect(windowsOf({ ...config, sliding_window: null })).toEqual([null, null, null, null]);
  });

  it("are derived as transformers does where layer_types is missing", () => {
    const gemma = [16, 16, 16, 16, 16, null, 16];
    expect(windowsOf(GEMMA)).toEqual(gemma);
    expect(windowsOf({ ...GEMMA, sliding_window_pattern: 6 })).toEqual(gemma);
    expect(windowsOf({ ...GEMMA, sliding_window_pattern: 2 })).toEqual([16, null, 16, null, 16, null, 16]);
    expect(windowsOf({ ...QWEN, max_window_layers: 2 })).toEqual([null, null, null, null]);
    expect(windowsOf({ ...QWEN, max_window_layers: 2, use_sliding_window: true })).toEqual([
      null,
      null,
      16,
      16,
    ]);
  });
});

describe("writeConfig", () => {
  const widths = fc.record({
    neurons: fc.integer({ min: 1, max: 64 }),
    kvGroups: fc.integer({ min: 1, max: 6 }),
    groupSize: fc.integer({ min: 1, max: 4 }),
  });

  const layers = fc.array(widths, { minLength: 1, maxLength: 5 });
  const biases = fc.subarray([...PROJECTIONS]);

  it("writes what readConfig reads, for widths of every kind", () => {
    fc.assert(
      fc.property(layers, fc.boolean(), (widthsOfLayers, tiedEmbeddings) => {
        const spec = {
          ...tinySpec({ layers: widthsOfLayers }),
          tiedEmbeddings,
          extra: { eos_token_id: [1, 2] },
        };
        const config = writeConfig(spec, "float16");
        expect({ ...read(config), family: "llama" }).toEqual(spec);
        expect("per_layer_config" in config).toBe(!hasUniformWidths(spec));
      }),
    );
  });

  it("loses no bias, and adds one only where the class has a flag for several", () => {
    fc.assert(
      fc.property(layers, fc.array(biases, { minLength: 5, maxLength: 5 }), (widthsOfLayers, wanted) => {
        const spec = tinySpec({
          layers: widthsOfLayers.map((layer, i) => ({ ...layer, biases: wanted[i]! })),
        });
        const { remoteCode } = hfForm(spec);
        for (const [index, { biases: found }] of read(writeConfig(spec, "float16")).layers.entries()) {
          if (remoteCode) expect(found).toEqual(spec.layers[index]!.biases);
          else expect(found).toEqual(expect.arrayContaining([...spec.layers[index]!.biases]));
        }
      }),
    );
  });

  it("writes heads that are rotated in part so that the part comes back", () => {
    for (let headDim = 2; headDim <= 256; headDim += 2) {
      for (let rotaryDim = 2; rotaryDim <= headDim; rotaryDim += 2) {
        const spec = tinySpec({ headDim, layers: [{ rope: { theta: 10_000, rotaryDim, scaling: null } }] });
        expect(read(writeConfig(spec, "float32")).layers[0]!.rope?.rotaryDim, `${rotaryDim}/${headDim}`).toBe(
          rotaryDim,
        );
      }
    }
  });

  it.each([
    GEMMA1,
    { ...GEMMA1, attention_bias: true, tie_word_embeddings: false, rope_theta: 500 },
    GEMMA2,
    { ...GEMMA2, attn_logit_softcapping: null, final_logit_softcapping: null },
    { ...GEMMA2, query_pre_attn_scalar: 144, attention_bias: true, rope_theta: 500 },
    { ...GEMMA2, layer_types: Array(3).fill("full_attention") },
    SMOLLM3,
    { ...SMOLLM3, no_rope_layers: [0, 1, 1, 0, 0], attention_bias: true, mlp_bias: true, rope_theta: 5e6 },
    { ...SMOLLM3, no_rope_layers: [0, 0, 0, 0, 0] },
    { ...SMOLLM3, use_sliding_window: true, sliding_window: 16, head_dim: 6 },
    { ...SMOLLM3, rope_scaling: { type: "linear", factor: 2 }, no_rope_layers: [0, 1, 1, 1, 1] },
    GRANITE,
    { ...GRANITE, head_dim: 6, attention_bias: true, mlp_bias: true, rope_theta: 5000 },
    GEMMA,
    { ...GEMMA, final_logit_softcapping: 30, attention_bias: true },
    { ...GEMMA, num_hidden_layers: 5 },
    { ...QWEN, max_window_layers: 2, use_sliding_window: true },
    { ...LLAMA, model_type: "qwen3", head_dim: 16, attention_bias: true },
    { ...LLAMA, model_type: "phi3", sliding_window: 16, partial_rotary_factor: 0.5 },
    { ...LLAMA, model_type: "mistral", rope_scaling: { type: "linear", factor: 4 } },
    { ...LLAMA, mlp_bias: true },
  ])("round-trips %j", (config) => {
    const spec = read(config);
    expect(read(writeConfig(spec, "float32"))).toEqual(spec);
  });

  it("writes floats of Python with a decimal point, and nothing else", () => {
    const config = { ...GEMMA2, rope_theta: 10_000, rms_norm_eps: 1e-6 };
    const text = configText(writeConfig(read(config), "float32"));
    expect(text).toContain('"final_logit_softcapping": 30.0');
    expect(text).toContain('"attn_logit_softcapping": 50.0');
    expect(text).toContain('"query_pre_attn_scalar": 8,');
    expect(text).toContain('"rope_theta": 10000.0');
    expect(text).toContain('"rms_norm_eps": 0.000001,');
    expect(text).toContain('"head_dim": 8,');
    expect(JSON.parse(text)).toEqual(writeConfig(read(config), "float32"));
    expect(configText({ architectures: ['"factor": 8'], n: 1 })).not.toContain(".0");
  });

  it("names a window for a Gemma 3 without windows, whose class makes a mask for them", () => {
    const config = { ...GEMMA, num_hidden_layers: 1, layer_types: ["full_attention"] };
    const written = writeConfig(read(config), "float32");
    expect(written).toMatchObject({ sliding_window: 4096, layer_types: ["full_attention"] });
    expect(windowsOf(written)).toEqual([null]);
    expect(writeConfig(read({ ...QWEN, use_sliding_window: false }), "float32").sliding_window).toBeNull();
  });

  it("announces a bias that one layer has", () => {
    const biased = tinySpec({ layers: [{}, { biases: ["o_proj"] }] });
    const config = writeConfig(biased, "float32");
    expect(config).toMatchObject({ attention_bias: true, mlp_bias: false });
    expect(read(config).layers[0]!.biases).toEqual(["q_proj", "k_proj", "v_proj", "o_proj"]);
  });

  it("names our modelling file, and a model type that no stock class takes, for layers that differ", () => {
    const biases = ["o_proj"] as const;
    const config = writeConfig(tinySpec({ layers: [{}, { neurons: 5, biases }] }), "float32");
    expect(config).toMatchObject({
      model_type: "gprune_llama",
      architectures: ["GpruneLlamaForCausalLM"],
      auto_map: {
        AutoConfig: "modeling_gprune.GpruneLlamaConfig",
        AutoModelForCausalLM: "modeling_gprune.GpruneLlamaForCausalLM",
      },
      intermediate_size: 6,
      per_layer_config: { 0: { intermediate_size: 6 }, 1: { intermediate_size: 5 } },
      projection_biases: [[], biases],
    });
  });

  it("names the activation of Gemma 2 twice, since vLLM wants both", () => {
    const name = "gelu_pytorch_tanh";
    expect(writeConfig(read(GEMMA2), "float32")).toMatchObject({ hidden_act: name, hidden_activation: name });
  });

  it("refuses layers that are not rotated where the family has no key for them", () => {
    expect(() => writeConfig(tinySpec({ layers: [{}, { rope: null }] }), "float32")).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED" }),
    );
  });

  it("refuses layers that it has no keys for", () => {
    const layers = [{}, { rope: { theta: 7, rotaryDim: 4, scaling: null } }];
    expect(() => writeConfig(tinySpec({ layers }), "float32")).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED" }),
    );
  });
});

describe("hfForm", () => {
  const recovered = ["o_proj", "down_proj"] as const;
  const qkv = ["q_proj", "k_proj", "v_proj"] as const;
  const three = { kvGroups: 3, groupSize: 1 };
  const partial = { rope: { theta: 10_000, rotaryDim: 2, scaling: null } };
  const window = { window: 8 };
  const granite = { family: "granite", residualScale: 0.22, logitDivisor: 6 };

  it.each<[string, TinyModelOptions, string]>([
    ["its own class", { layers: [{ biases: recovered }, {}] }, "llama"],
    ["Mistral for heads that do not divide the hidden size", { layers: [three] }, "mistral"],
    [
      "no stock class for such heads with biases",
      { layers: [{ ...three, biases: recovered }] },
      "gprune_llama",
    ],
    ["Llama for a Mistral with biases", { family: "mistral", layers: [{ biases: recovered }] }, "llama"],
    [
      "no stock class with windows and biases",
      { family: "mistral", layers: [{ ...window, biases: recovered }] },
      "gprune_mistral",
    ],
    ["Qwen2's own class", { family: "qwen2", layers: [{ biases: qkv, kvGroups: 2, groupSize: 1 }] }, "qwen2"],
    [
      "Llama for a Qwen2 with biases",
      { family: "qwen2", layers: [{ biases: [...qkv, ...recovered] }] },
      "llama",
    ],
    ["Phi-3's own class for heads rotated in part", { family: "phi3", layers: [partial] }, "phi3"],
    [
      "no stock class for such heads with biases",
      { family: "phi3", layers: [{ ...partial, biases: recovered }] },
      "gprune_phi3",
    ],
    [
      "Llama for a Phi-3 with biases where projections are joined",
      { family: "phi3", layers: [{ biases: qkv }] },
      "llama",
    ],
    [
      "Granite's own class for any heads and biases",
      { ...granite, layers: [{ ...three, biases: recovered }] },
      "granite",
    ],
    [
      "SmolLM3's own class for any layers without rotation",
      { family: "smollm3", layers: [{}, { rope: null, ...window }] },
      "smollm3",
    ],
    ["Granite's own class though Llama's computes the same", { family: "granite" }, "granite"],
    ["Llama for other Phi-3 with biases", { family: "phi3", layers: [{ biases: recovered }] }, "llama"],
  ])("gives %s", (_, options, expected) => {
    expect(writeConfig(tinySpec(options), "float32").model_type).toBe(expected);
  });
});
