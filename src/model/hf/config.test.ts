import { describe, expect, test } from "vitest";
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
  windowsOf,
} from "../../../test/family_configs.ts";
import { FAMILY_NAMES } from "../families/families.ts";
import { readConfig } from "./config.ts";
import { configText } from "./config_writer.ts";
import { writeConfig } from "./form.ts";

describe("readConfig", () => {
  test("fills in what the family assumes", () => {
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

  test("assumes of a silent file what the class of its family does", () => {
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

  test.each(["bloom", "mpt", "falcon", "stablelm", "llama"])(
    "refuses a %s of more heads than any model",
    (name) => {
      const heads = 2 ** 24;
      const sizes = {
        model_type: name,
        hidden_size: 8 * heads,
        d_model: 8 * heads,
        num_hidden_layers: 1,
        n_layers: 1,
      };
      const counts = { num_attention_heads: heads, n_heads: heads, qk_layernorm: true, alibi: true };
      expect(() => read({ ...LLAMA, ...sizes, ...counts })).toThrow(
        expect.objectContaining({
          code: "BAD_CONFIG",
          message: expect.stringMatching(/expected at most 262144 query heads in all layers, got 16777216$/),
        }),
      );
    },
  );

  test("takes a norm's epsilon of 0", () => {
    expect(read({ ...LLAMA, rms_norm_eps: 0 }).normEps).toBe(0);
  });

  test("caps scores and logits as Gemma 2 does, logits as Gemma 3 does, and nothing in other families", () => {
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

  test("assumes of a silent Gemma 2 what its class does", () => {
    const silent = { ...LLAMA, model_type: "gemma2", num_hidden_layers: 3, hidden_act: "gelu" };
    expect(read(silent)).toMatchObject({
      headDim: 256,
      activation: "gelu_tanh",
      attentionScale: 256 ** -0.5,
      qkNorm: null,
      norms: "around",
      normOffset: 1,
    });
    expect(windowsOf(silent)).toEqual([4096, null, 4096]);
    expect(read(silent).layers[0]!.rope).toEqual({ theta: 10_000, rotaryDim: 256, scaling: null });
  });

  test("reads the factors of Granite, 1 where they are absent, and those of no other family", () => {
    expect(read(GRANITE)).toMatchObject({
      embeddingScale: 12,
      attentionScale: 0.015625,
      residualScale: 0.22,
      logitDivisor: 6,
    });
    const ones = { embeddingScale: 1, residualScale: 1, logitDivisor: 1 };
    expect(read({ ...LLAMA, model_type: "granite" })).toMatchObject({ ...ones, attentionScale: 1 });
    expect(read({ ...GRANITE, model_type: "llama" })).toMatchObject({ ...ones, attentionScale: 8 ** -0.5 });
    // PyTorch's attention takes no scale for the usual one.
    expect(read({ ...GRANITE, attention_multiplier: null }).attentionScale).toBe(8 ** -0.5);
  });

  test.each([
    [LLAMA, 16, 2048],
    [{ ...LLAMA, model_type: "mistral" }, 8, 131_072],
    [QWEN, 16, 32_768],
    [GEMMA1, 16, 8192],
    [GEMMA2, 4, 8192],
    [GEMMA, 4, 131_072],
    [PHI3, 16, 4096],
    [GRANITE, 16, 2048],
    [SMOLLM3, 4, 32_768],
  ])("assumes what the class does where config.json is silent: %j", (config, kvGroups, positions) => {
    const heads = { hidden_size: 128, num_attention_heads: 16, head_dim: 8 };
    const spec = read({ ...config, ...heads });
    expect([spec.layers[0]!.kvGroups, spec.maxPositions]).toEqual([kvGroups, positions]);
    expect(read({ ...config, ...heads, num_key_value_heads: null }).layers[0]!.kvGroups).toBe(16);
  });

  test("takes heads of any size and fewer key/value heads", () => {
    const spec = read({ ...LLAMA, head_dim: 24, num_key_value_heads: 2 });
    expect(spec.headDim).toBe(24);
    expect(spec.layers[0]).toMatchObject({ kvGroups: 2, groupSize: 2 });
  });

  test.each(["1", "01"])("reads widths of single layers, under %s", (key) => {
    const widths = { intermediate_size: 7, num_attention_heads: 2, num_key_value_heads: 1 };
    const { layers } = read({ ...LLAMA, per_layer_config: { [key]: widths } });
    expect(layers[0]).toMatchObject({ neurons: 48, kvGroups: 4, groupSize: 1 });
    expect(layers[1]).toMatchObject({ neurons: 7, kvGroups: 1, groupSize: 2 });
  });

  test("carries token ids and drops what names code, paths or anything unknown", () => {
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

  test.each([
    ["gpt2", { n_embd: 32, n_head: 4, n_layer: 2 }, { attn_pdrop: 0, embd_pdrop: 0.2, resid_pdrop: 0 }],
    ["opt", { ffn_dim: 48 }, { dropout: 0, activation_dropout: 0.1, attention_dropout: 0, layerdrop: 0.2 }],
  ])("carries the dropout that a %s has under names of its own", (model_type, sizes, rates) => {
    const written = writeConfig(read({ ...LLAMA, ...sizes, model_type, ...rates }), "float32");
    expect(written).toMatchObject(rates);
    for (const [key, rate] of Object.entries(rates))
      expect(configText(written)).toContain(`"${key}": ${rate === 0 ? "0.0" : rate}`);
  });

  test("carries the dropout that further training is to use", () => {
    const rates = { attention_dropout: 0.1, embd_pdrop: 0, resid_pdrop: 0.2, residual_dropout: 0.3 };
    const spec = read({ ...PHI3, ...rates });
    expect(spec.extra).toEqual(rates);
    expect(writeConfig(spec, "float32")).toMatchObject(rates);
    expect(() => read({ ...PHI3, attention_dropout: 1.1 })).toThrow("attention_dropout");
  });

  test("reads how queries of a Ministral 3 grow, and wants to know it", () => {
    const yarn = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 512 };
    const growing = { ...yarn, mscale: 1, mscale_all_dim: 1, llama_4_scaling_beta: 0.1 };
    const ministral3 = { ...LLAMA, model_type: "ministral3", head_dim: 8, num_key_value_heads: 4 };
    const spec = read({ ...ministral3, rope_parameters: growing });
    expect(spec.layers[0]!.rope!.scaling).toMatchObject({ attentionFactor: 1, queryGrowth: 0.1 });
    expect(writeConfig(spec, "float32")).toMatchObject({
      model_type: "ministral3",
      rope_parameters: { llama_4_scaling_beta: 0.1, attention_factor: 1 },
    });
    for (const parameters of [undefined, yarn, { rope_type: "default", llama_4_scaling_beta: 0.1 }]) {
      expect(() => read({ ...ministral3, rope_parameters: parameters })).toThrow(
        expect.objectContaining({
          code: "BAD_CONFIG",
          message: expect.stringContaining("llama_4_scaling_beta"),
        }),
      );
    }
    const llama = read({ ...LLAMA, rope_parameters: growing }).layers[0]!.rope!.scaling;
    expect(llama).not.toHaveProperty("queryGrowth");
  });

  test("lists the families it knows", () => {
    const known = FAMILY_NAMES.join(", ");
    expect(() => read({ ...LLAMA, model_type: "mamba" })).toThrow(
      expect.objectContaining({
        code: "UNSUPPORTED",
        message: 'config.json: expected the model_type of a supported family, got "mamba"',
        hint: `Supported families are ${known}, and models stored as one of them.`,
      }),
    );
    expect(known).toContain("llama");
  });

  test.each([
    [{ model_type: "ctrl", n_embd: 768 }, /^Supported families are llama, mistral, .* as one of them\.$/],
    [
      { model_type: "longcat_flash", n_routed_experts: 128 },
      /^Of mixtures of experts, mixtral, .* are supported\. Supported families are llama/,
    ],
    [{ model_type: "jetmoe", num_local_experts: 8 }, /^Of mixtures of experts, mixtral, /],
    [{ model_type: "deepseek_v32", n_routed_experts: 256 }, /^Of mixtures of experts, mixtral, /],
    [
      { model_type: "kosmos-2", text_config: { model_type: "kosmos_2_text_model" } },
      /the text model is pruned if its family is supported/,
    ],
    [
      { model_type: "paligemma", text_config: { model_type: "gemma" }, vision_config: {} },
      /^PaliGemma attends to its prompts in both directions; .* Supported families are/,
    ],
    [{ model_type: "blip-2", vision_config: {} }, /the text model is pruned if its family is supported/],
    [{ model_type: "x", text_config: { num_local_experts: 16 } }, /^Of mixtures of experts, mixtral, /],
    [{ model_type: "x", text_config: null, num_experts: "8" }, /^Supported families are/],
  ])("says what somebody with %j can do", (config, hint) => {
    expect(() => read(config)).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED", hint: expect.stringMatching(hint) }),
    );
  });

  test.each([
    [null, "expected a JSON object"],
    [[], "expected a JSON object"],
    [
      { model_type: 3 },
      'expected a JSON object with a "model_type": Invalid input: expected string, received number',
    ],
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
      "layer_types with an entry for every layer, got 2",
    ],
    [{ ...SMOLLM3, no_rope_layers: [1, 1, 1, 1] }, "no_rope_layers with an entry for every layer, got 4"],
    [{ ...SMOLLM3, no_rope_layer_interval: 0 }, "no_rope_layer_interval"],
    [{ ...GRANITE, residual_multiplier: 0 }, "residual_multiplier"],
    [{ ...GRANITE, logits_scaling: -8 }, "logits_scaling"],
    [{ ...QWEN, layer_types: ["full_attention", "linear_attention"] }, "layer_types"],
    [
      { ...GEMMA, use_bidirectional_attention: true },
      "expected causal attention; bidirectional attention is not supported",
    ],
    [{ ...LLAMA, is_causal: false }, "expected causal attention; bidirectional attention is not supported"],
    [{ ...LLAMA, is_causal: null }, "expected causal attention; bidirectional attention is not supported"],
    [{ ...LLAMA, bos_token_id: { auto_map: "evil" } }, "bos_token_id"],
    [{ ...LLAMA, eos_token_id: [1, "2"] }, "eos_token_id"],
    [{ ...LLAMA, model_type: "cohere", logit_scale: 1e-320 }, "logit_scale"],
    [{ ...LLAMA, model_type: "cohere", logit_scale: 0 }, "logit_scale"],
    [{ ...LLAMA, initializer_range: "0.02; rm" }, "initializer_range"],
    [{ ...LLAMA, use_cache: [[[]]] }, "use_cache"],
  ])("refuses %j", (config, named) => {
    expect(() => readConfig(config, "config.json")).toThrow(
      expect.objectContaining({ code: "BAD_CONFIG", message: expect.stringContaining(named) }),
    );
  });

  test("refuses Llama 3's scaling whose bands are the wrong way round, of which programs make different things", () => {
    const bands = { low_freq_factor: 4, high_freq_factor: 1 };
    const rope_scaling = { rope_type: "llama3", factor: 8, original_max_position_embeddings: 64, ...bands };
    expect(() => read({ ...LLAMA, rope_scaling })).toThrow("a larger high_freq_factor");
  });

  test.each(["quick_gelu", "mish", "constructor", "toString"])("refuses the activation %s", (hidden_act) => {
    expect(() => read({ ...LLAMA, hidden_act })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining(`got ${hidden_act}`) }),
    );
  });
});

describe("activations", () => {
  test("are the tangent's GELU where Gemma's configuration says GELU, and only there", () => {
    expect(read({ ...GEMMA1, hidden_act: "gelu" }).activation).toBe("gelu_tanh");
    // The key that the first versions of the file had as well.
    expect(read({ ...GEMMA1, hidden_act: "gelu", hidden_activation: null }).activation).toBe("gelu_tanh");
    expect(read({ ...GEMMA, hidden_activation: "gelu" }).activation).toBe("gelu");
  });
});
