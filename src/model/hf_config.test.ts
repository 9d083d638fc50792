import { describe, expect, it } from "vitest";
import {
  GEMMA,
  GEMMA1,
  GEMMA2,
  GRANITE,
  LLAMA,
  PHI3,
  QWEN,
  read,
  SMOLLM3,
} from "../../test/family_configs.ts";
import { FAMILY_NAMES } from "./families.ts";
import { readConfig } from "./hf_config.ts";
import { writeConfig } from "./hf_form.ts";

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

  it("carries the dropout that further training is to use", () => {
    const rates = { attention_dropout: 0.1, embd_pdrop: 0, resid_pdrop: 0.2 };
    const spec = read({ ...PHI3, ...rates });
    expect(spec.extra).toEqual(rates);
    expect(writeConfig(spec, "float32")).toMatchObject(rates);
    expect(() => read({ ...PHI3, attention_dropout: 1.1 })).toThrow("attention_dropout");
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
    [{ ...LLAMA, per_layer_config: { 1: { sliding_window: 3 } } }, '"sliding_window"'],
    [{ ...LLAMA, per_layer_config: { 0: { skip: ["mlp"] } } }, '"skip"'],
    [{ ...PHI3, head_dim: 6, partial_rotary_factor: 0.5 }, "even number of rotated channels, got 3"],
    [{ ...LLAMA, rms_norm_eps: -1 }, "rms_norm_eps"],
    [{ ...LLAMA, rope_theta: 0 }, "rope_theta"],
    [{ ...GEMMA2, attn_logit_softcapping: -1 }, "attn_logit_softcapping"],
    [{ ...PHI3, partial_rotary_factor: 0.1 }, "even number of rotated channels, got 0"],
    [
      { ...GEMMA, layer_types: ["full_attention", "sliding_attention"] },
      "layer_types to name every layer's, got 2",
    ],
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
      { theta: 1, scaling: { type: "linear", factor: 2 } },
    ],
    [
      { rope_theta: 1, rope_scaling: {}, rope_parameters: { rope_theta: 500 } },
      { theta: 500, scaling: null },
    ],
  ])("reads %j", (keys, expected) => {
    expect(read({ ...LLAMA, ...keys }).layers[0]!.rope).toEqual({ rotaryDim: 8, ...expected });
  });

  it("start from the longest sequence where Llama 3's scaling says no other", () => {
    const { original_max_position_embeddings: _, ...silent } = factors;
    const keys = { rope_scaling: { rope_type: "llama3", ...silent }, max_position_embeddings: 64 };
    expect(read({ ...LLAMA, ...keys }).layers[0]!.rope?.scaling).toEqual({
      ...llama3,
      originalMaxPositions: 64,
    });
  });

  describe.each([{ partial_rotary_factor: 0.5 }, { rope_parameters: { partial_rotary_factor: 0.5 } }])(
    "for a part of a head: %j",
    (keys) => {
      it("rotate that part in a Phi-3", () => {
        expect(read({ ...PHI3, ...keys }).layers[0]!.rope?.rotaryDim).toBe(4);
      });

      it.each([LLAMA, GEMMA2, QWEN, GRANITE, SMOLLM3])(
        "are refused in other families: $model_type",
        (config) => {
          expect(() => read({ ...config, ...keys })).toThrow(
            expect.objectContaining({
              code: "UNSUPPORTED",
              message: expect.stringContaining("partial_rotary_factor 1, as a"),
            }),
          );
        },
      );
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

  it("leaves out flat ones where layers of either type have their own, as configuration_gemma3.py does", () => {
    const flat = { rope_parameters: { rope_type: "linear", factor: 2, rope_theta: 500 } };
    expect(read({ ...GEMMA, ...flat })).toEqual(read(GEMMA));
    expect(read({ ...GEMMA, ...flat, rope_theta: 70 })).toEqual(read({ ...GEMMA, rope_theta: 70 }));
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
    const stretched = { rope_scaling: { rope_type: "linear", factor: 2 }, rope_parameters: since };
    expect(read({ ...config, ...stretched }).layers.map(({ rope }) => rope)).toEqual([
      { theta: 77, rotaryDim: 8, scaling: null },
      { theta: 500_000, rotaryDim: 8, scaling: { type: "linear", factor: 2 } },
    ]);
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
    // As Ministral, which transformers takes such a configuration for.
    const layer_types = ["full_attention", "sliding_attention"];
    expect(windowsOf({ ...LLAMA, model_type: "mistral", sliding_window: 16, layer_types })).toEqual([
      null,
      16,
    ]);
    expect(windowsOf({ ...LLAMA, model_type: "phi3", sliding_window: 16, layer_types })).toEqual([16, 16]);
    expect(windowsOf({ ...LLAMA, sliding_window: 16 })).toEqual([null, null]);
  });

  it("are those that layer_types names", () => {
    const types = ["full_attention", "sliding_attention", "full_attention", "sliding_attention"];
    const config = { ...QWEN, layer_types: types };
    expect(windowsOf({ ...config, use_sliding_window: true })).toEqual([null, 16, null, 16]);
    expect(windowsOf({ ...config, sliding_window: null })).toEqual([null, null, null, null]);
    const off = { use_sliding_window: false };
    expect(windowsOf({ ...config, ...off, sliding_window: null })).toEqual([null, null, null, null]);
    expect(windowsOf({ ...config, ...off, layer_types: Array(4).fill(types[0]) })).toEqual([
      null,
      null,
      null,
      null,
    ]);
  });

  it("are refused where layer_types names some and use_sliding_window switches them off", () => {
    const layer_types = ["full_attention", "full_attention", "full_attention", "sliding_attention"];
    for (const config of [QWEN, { ...SMOLLM3, num_hidden_layers: 4, sliding_window: 16 }]) {
      expect(() => read({ ...config, layer_types, use_sliding_window: false })).toThrow(
        expect.objectContaining({
          code: "BAD_CONFIG",
          message: expect.stringContaining("use_sliding_window true, as layer_types gives layer 3 a window"),
        }),
      );
    }
  });

  it("are not switched off in families whose classes know no switch", () => {
    const off = { use_sliding_window: false };
    expect(windowsOf({ ...GEMMA, ...off })).toEqual(windowsOf(GEMMA));
    const layer_types = ["full_attention", "sliding_attention"];
    const mistral = { ...LLAMA, model_type: "mistral", sliding_window: 16, layer_types };
    expect(windowsOf({ ...mistral, ...off })).toEqual([null, 16]);
    expect(windowsOf({ ...GEMMA, ...off, num_hidden_layers: 2, layer_types })).toEqual([null, 16]);
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
