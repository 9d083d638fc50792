import { describe, expect, test } from "vitest";
import { GEMMA, GRANITE, LLAMA, QWEN, read } from "../../../test/family_configs.ts";
import { FAMILIES } from "../families/families.ts";
import { readConfig } from "./config.ts";
import { isOtherClass, plainConfig } from "./plain_config.ts";

/** The spec of the plain configuration of a config.json. */
const readPlain = (config: unknown) => readConfig(plainConfig(config), "config.json");

describe("plainConfig", () => {
  test("takes a Granite 4 without experts and state-space layers for a Granite", () => {
    const dense = {
      ...GRANITE,
      model_type: "granitemoehybrid",
      intermediate_size: 7,
      shared_intermediate_size: GRANITE.intermediate_size,
      num_local_experts: 0,
      position_embedding_type: "rope",
      layer_types: ["attention", "full_attention"],
    };
    expect(readPlain(dense)).toEqual(read(GRANITE));
    expect(isOtherClass(dense)).toBe(true);
    expect(readPlain({ model_type: "a model of tomorrow", text_config: dense })).toEqual(
      read({ ...GRANITE, tie_word_embeddings: true }),
    );
    for (const own of [{ position_embedding_type: "nope" }, { position_embedding_type: null }]) {
      const { family, layers } = readPlain({ ...dense, ...own });
      expect(family).toBe("granitemoehybrid");
      expect(layers.map(({ rope, kvGroups }) => [rope, kvGroups])).toEqual([
        [null, 4],
        [null, 4],
      ]);
    }
    expect(readPlain({ ...dense, num_local_experts: 8 }).family).toBe("granitemoehybrid");
  });

  test("gives a text model the sizes of its class under the class's own keys", () => {
    const { intermediate_size: _, ...sizes } = LLAMA;
    const text_config = { ...sizes, model_type: "llama4_text", moe_layers: [], head_dim: 8 };
    expect(readPlain({ model_type: "llama4", text_config }).layers[0]!.neurons).toBe(16_384);
    // That of experts has the usual key.
    const ofExperts = { ...text_config, intermediate_size: 4096 };
    expect(readPlain({ model_type: "llama4", text_config: ofExperts }).layers[0]!.neurons).toBe(16_384);
  });

  test("gives the text model of a Qwen 3.5 the sizes of its class, and the embedding as output matrix", () => {
    const text_config = { model_type: "qwen3_5_text", hidden_size: 1024, tie_word_embeddings: false };
    const spec = readPlain({
      model_type: "qwen3_5",
      tie_word_embeddings: true,
      vision_config: {},
      text_config,
    });
    expect(spec).toMatchObject({ family: "qwen3_5_text", tiedEmbeddings: true, vocabSize: 248_320 });
    expect(spec.layers.filter(({ mixer }) => mixer === undefined)).toHaveLength(8);
  });

  test("takes an EXAONE 3 for a Llama, with its published keys and with those of transformers", () => {
    const { num_hidden_layers: num_layers, ...sizes } = LLAMA;
    const usual = { ...LLAMA, rms_norm_eps: 1e-4, rope_theta: 1e6, hidden_act: "silu" };
    const published = { ...sizes, num_layers, layer_norm_epsilon: 1e-4, activation_function: "silu" };
    expect(readPlain({ ...published, model_type: "exaone", rope_theta: 1e6 })).toEqual(read(usual));
    expect(readPlain({ ...usual, model_type: "exaone" })).toEqual(read(usual));
    expect(readPlain({ ...LLAMA, model_type: "exaone" })).toEqual(
      read({ ...LLAMA, rms_norm_eps: 1e-5, rope_theta: 500_000 }),
    );
  });

  test("takes an InternLM 3 for a Llama, with its published keys and with those of transformers", () => {
    const internlm = { ...LLAMA, model_type: "internlm3", num_key_value_heads: 1, head_dim: 8 };
    for (const bias of [false, true]) {
      const biases = { attention_bias: bias, mlp_bias: bias };
      const llama = read({ ...LLAMA, ...biases, rms_norm_eps: 1e-5, num_key_value_heads: 1, head_dim: 8 });
      expect(readPlain({ ...internlm, ...biases })).toEqual(llama);
      expect(readPlain({ ...internlm, qkv_bias: bias, bias })).toEqual(llama);
    }
    expect(() => readPlain({ ...internlm, qkv_bias: true, bias: false })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED" }),
    );
  });

  test("takes a Sarvam 30B or Param 2 for a GLM-4.5, with the values of its class", () => {
    const own = { num_experts: 8, num_shared_experts: 2, use_qkv_bias: true, num_hidden_layers: 2 };
    const usual = { n_routed_experts: 8, n_shared_experts: 2, attention_bias: true, num_hidden_layers: 2 };
    for (const model_type of ["sarvam_moe", "param2moe"])
      expect(readPlain({ ...own, model_type })).toEqual(readPlain({ ...usual, model_type }));
    const { layers, ...sarvam } = readPlain({ model_type: "sarvam_moe" });
    expect(sarvam).toMatchObject({
      ...{ family: "glm4_moe", vocabSize: 262_144, hiddenSize: 4096, headDim: 64, qkNorm: "head" },
      ...{ normEps: 1e-6, maxPositions: 131_072, tiedEmbeddings: false },
    });
    expect(layers).toHaveLength(19);
    const whole = { kvGroups: 4, groupSize: 16, rope: { theta: 8e6, rotaryDim: 64, scaling: null } };
    expect(layers[0]).toMatchObject({ ...whole, neurons: 8192 });
    const experts = { count: 128, active: 6, scale: 2.5, normalised: true, corrected: true };
    expect(layers[1]).toMatchObject({ ...whole, neurons: 128 * 1024, experts: { ...experts, shared: 1024 } });
    const param = readPlain({ model_type: "param2moe" });
    expect(param).toMatchObject({ family: "glm4_moe", maxPositions: 32_768, tiedEmbeddings: true });
    expect(param.layers[20]).toMatchObject({
      ...{ kvGroups: 8, groupSize: 4, neurons: 64 * 2048, rope: { theta: 500_000, rotaryDim: 64 } },
      experts: { count: 64, active: 6, shared: 4096 },
    });
  });

  test("takes a Hy3 for a GLM-4.5 that rotates whole heads, with one layer without experts unless a list says more", () => {
    const hy3 = { model_type: "hy_v3", num_hidden_layers: 4 };
    const { layers, ...spec } = readPlain(hy3);
    expect(spec).toMatchObject({
      ...{ family: "glm4_moe", vocabSize: 120_832, hiddenSize: 4096, headDim: 128, qkNorm: "head" },
      ...{ normEps: 1e-5, maxPositions: 131_072, tiedEmbeddings: false },
    });
    const whole = { kvGroups: 8, groupSize: 8, rope: { theta: 11_158_840, rotaryDim: 128, scaling: null } };
    expect(layers[0]).toMatchObject({ ...whole, neurons: 13_312 });
    const experts = { count: 192, active: 8, scale: 2.826, normalised: true, corrected: true, shared: 1536 };
    expect(layers[1]).toMatchObject({ ...whole, neurons: 192 * 1536, experts });
    // The class reads none of these.
    const unread = { first_k_dense_replace: 3, norm_topk_prob: false, n_group: 4, use_qk_norm: false };
    expect(readPlain({ ...hy3, ...unread })).toEqual({ ...spec, layers });
    const types = ["dense", "dense", "sparse", "sparse"];
    const listed = readPlain({ ...hy3, mlp_layer_types: types, num_local_experts: 16 });
    expect(listed.layers.map(({ experts: own }) => own?.count)).toEqual([undefined, undefined, 16, 16]);
    for (const other of [
      { mlp_layer_types: ["dense", "sparse", "dense", "sparse"] },
      { attention_bias: true },
      { mlp_bias: true },
    ]) {
      expect(() => readPlain({ ...hy3, ...other })).toThrow(expect.objectContaining({ code: "UNSUPPORTED" }));
    }
  });

  test("takes a text model of Qwen3-VL with experts for a Qwen3 MoE whose routing weights add up to 1", () => {
    const text = { model_type: "qwen3_vl_moe_text", num_hidden_layers: 2 };
    const { layers, ...spec } = readPlain({ ...text, norm_topk_prob: false });
    expect(spec).toMatchObject({
      ...{ family: "qwen3_moe", vocabSize: 151_936, hiddenSize: 2048, headDim: 128, qkNorm: "head" },
      ...{ maxPositions: 128_000, tiedEmbeddings: true },
    });
    expect(layers[1]).toMatchObject({
      ...{ kvGroups: 16, groupSize: 1, neurons: 60 * 1408, rope: { theta: 500_000 } },
      experts: { count: 60, active: 4, normalised: true },
    });
    const saved = readPlain({ ...text, num_local_experts: 8 });
    expect(saved.layers.map(({ experts }) => experts?.count)).toEqual([8, 8]);
    // As published: rotations of text in pictures have sections, which text alone does not use.
    const sections = { mrope_interleaved: true, mrope_section: [24, 20, 20], rope_type: "default" };
    expect(readPlain({ ...text, rope_scaling: sections })).toEqual({ ...spec, layers });
  });

  test("takes a Sarvam 105B for a DeepSeek V3, with its own name of YaRN", () => {
    const own = { model_type: "sarvam_mla", num_hidden_layers: 2 };
    const { latent, layers, family } = readPlain(own);
    expect({ latent, family }).toMatchObject({
      latent: { queryRank: null, rank: 512 },
      family: "deepseek_v3",
    });
    expect(layers.map(({ experts }) => experts?.count)).toEqual([undefined, 128]);
    // Published files have the size of a latent and the rotated channels, for vLLM.
    const sizes = { head_dim: 576, q_head_dim: 192, num_experts: 128, num_shared_experts: 1 };
    expect(readPlain({ ...own, ...sizes })).toEqual(readPlain(own));
    const scaling = { factor: 40, original_max_position_embeddings: 4096, mscale: 1, mscale_all_dim: 1 };
    const scaled = readPlain({ ...own, rope_scaling: { ...scaling, type: "deepseek_yarn" } });
    expect(scaled).toEqual(readPlain({ ...own, rope_scaling: { ...scaling, rope_type: "yarn" } }));
    expect(scaled.layers[0]!.rope!.scaling).toMatchObject({ type: "yarn", factor: 40 });
  });

  test("takes an IQuest-Coder for a Llama, unless it clips or has windows", () => {
    const coder = { ...LLAMA, model_type: "iquestcoder", num_key_value_heads: 2, head_dim: 16 };
    const plain = { clip_qkv: null, use_sliding_window: false };
    expect(readPlain({ ...coder, ...plain })).toEqual(
      read({ ...LLAMA, rms_norm_eps: 1e-5, num_key_value_heads: 2, head_dim: 16 }),
    );
    for (const other of [{ clip_qkv: 8 }, { use_sliding_window: true }]) {
      expect(() => readPlain({ ...coder, ...other })).toThrow(
        expect.objectContaining({ code: "UNSUPPORTED" }),
      );
    }
  });

  test("takes a MiniCPM for a Granite with its factors", () => {
    const factors = { scale_emb: 12, scale_depth: 1.4, dim_model_base: 8 };
    const spec = readPlain({ ...LLAMA, model_type: "minicpm", ...factors });
    expect(spec).toMatchObject({
      family: "granite",
      embeddingScale: 12,
      logitDivisor: 4,
      tiedEmbeddings: true,
    });
    expect(spec.residualScale).toBeCloseTo(1.4 / Math.sqrt(2), 12);
    expect(spec.attentionScale).toBeCloseTo(8 ** -0.5, 12);
    const wide = readPlain({ ...LLAMA, model_type: "minicpm", head_dim: 16, tie_word_embeddings: false });
    expect(wide).toMatchObject({
      attentionScale: 0.25,
      residualScale: 1 / Math.sqrt(2),
      tiedEmbeddings: false,
    });
    for (const other of [{ num_experts: 8 }, { scale_depth: "1.4" }, { hidden_size: undefined }]) {
      expect(() => readPlain({ ...LLAMA, model_type: "minicpm", ...factors, ...other })).toThrow(
        expect.objectContaining({ code: "UNSUPPORTED" }),
      );
    }
  });

  test("takes the text model of a Gemma 4 12B for a Gemma 4 without experts and inputs of layers", () => {
    const text_config = { model_type: "gemma4_unified_text", hidden_size: 64, num_hidden_layers: 6 };
    const whole = { model_type: "gemma4_unified", vision_config: {}, audio_config: {}, text_config };
    const spec = readPlain(whole);
    expect(spec).toMatchObject({
      ...{ family: "gemma4_text", hiddenSize: 64, perLayerInputs: null, maxPositions: 262_144 },
      tiedEmbeddings: true,
    });
    expect(spec.layers.map(({ window, experts }) => [window, experts])).toEqual([
      ...Array.from({ length: 5 }, () => [1024, undefined]),
      [null, undefined],
    ]);
    expect(isOtherClass(text_config)).toBe(true);
    const windowed = { ...text_config, sliding_window: 16 };
    expect(readPlain({ ...whole, text_config: windowed }).layers[0]!.window).toBe(16);
  });

  test("takes a Youtu-LLM for a DeepSeek V3 without experts", () => {
    const spec = readPlain({ model_type: "youtu", num_hidden_layers: 3 });
    expect(spec).toMatchObject({
      ...{ family: "deepseek_v3", vocabSize: 128_256, hiddenSize: 2048, headDim: 192, tiedEmbeddings: true },
      latent: { queryRank: 1536, rank: 512, rotated: 64, valueDim: 128 },
    });
    expect(spec.layers.map(({ neurons, experts, kvGroups }) => [neurons, experts, kvGroups])).toEqual(
      Array.from({ length: 3 }, () => [6144, undefined, 16]),
    );
    expect(() => readPlain({ model_type: "youtu", rope_interleave: false })).toThrow("rope_interleave");
  });

  test("takes a Kimi K2 for a DeepSeek V3", () => {
    const kimi = {
      ...{
        model_type: "kimi_k2",
        vocab_size: 16,
        hidden_size: 24,
        intermediate_size: 12,
        num_hidden_layers: 3,
      },
      ...{ num_attention_heads: 3, n_routed_experts: 8, num_experts_per_tok: 2, n_group: 4, topk_group: 2 },
    };
    expect(readPlain(kimi)).toEqual(readPlain({ ...kimi, model_type: "deepseek_v3" }));
    expect(isOtherClass(kimi)).toBe(true);
  });

  test("takes a CodeGen for a GPT-J", () => {
    const codegen = {
      model_type: "codegen",
      vocab_size: 16,
      n_embd: 32,
      n_head: 4,
      n_layer: 2,
      rotary_dim: 4,
    };
    expect(readPlain(codegen)).toEqual(readPlain({ ...codegen, model_type: "gptj" }));
    expect(isOtherClass(codegen)).toBe(true);
  });

  test("takes a Mistral whose layers have types for a Ministral", () => {
    const mistral = { ...LLAMA, model_type: "mistral", sliding_window: 16 };
    const types = { layer_types: ["full_attention", "sliding_attention"] };
    expect(readPlain({ ...mistral, ...types })).toEqual(
      read({ ...mistral, ...types, model_type: "ministral" }),
    );
    expect(readPlain({ ...mistral, layer_types: null })).toEqual(read(mistral));
  });

  test("is a configuration without text_config itself", () => {
    for (const config of [LLAMA, null, [], "x", { ...LLAMA, text_config: null }]) {
      expect(plainConfig(config)).toEqual(config);
    }
  });

  test("has the sizes of the class where a configuration of a class has none", () => {
    const refused = ["ministral3", "granitemoehybrid", "llama4_text", "glm4_moe"];
    for (const { modelType, defaults } of FAMILIES.filter((family) => !refused.includes(family.modelType))) {
      const { layers, vocabSize, hiddenSize } = readPlain({ model_type: modelType });
      const { layers: length, vocab, hidden } = defaults.sizes;
      expect([modelType, layers.length, vocabSize, hiddenSize]).toEqual([modelType, length, vocab, hidden]);
    }
    const sparse = (model_type: string): readonly number[] =>
      readPlain({ model_type }).layers.flatMap(({ experts }, layer) => (experts ? [layer] : []));
    expect(sparse("glm4_moe_lite")).toEqual(Array.from({ length: 46 }, (_, index) => index + 1));
    expect(sparse("exaone_moe")).toEqual(Array.from({ length: 31 }, (_, index) => index + 1));
  });

  test("derives the neurons of a class from its hidden size, and leaves other names of keys alone", () => {
    expect(readPlain({ model_type: "gpt2", n_embd: 48 }).layers[0]!.neurons).toBe(192);
    expect(plainConfig({ model_type: "gpt2", num_hidden_layers: 3 })).not.toHaveProperty("n_layer");
    expect(plainConfig({ model_type: "exaone" })).not.toHaveProperty("hidden_size");
  });

  test.each([
    ["gemma3", GEMMA],
    ["llava", LLAMA],
    ["a model of tomorrow", QWEN],
  ])("gives the text model of %s", (whole, text) => {
    const spec = readPlain({ model_type: whole, vision_config: {}, text_config: text });
    expect(spec).toEqual(read({ ...text, tie_word_embeddings: true }));
  });

  test("completes what Gemma 3 4B leaves to the class, with the tokens of the whole model", () => {
    const text = {
      model_type: "gemma3_text",
      hidden_size: 2560,
      num_hidden_layers: 34,
      sliding_window: 1024,
    };
    const spec = readPlain({ model_type: "gemma3", eos_token_id: [1, 106], text_config: text });
    expect(spec).toMatchObject({ vocabSize: 262_208, hiddenSize: 2560, headDim: 256 });
    expect(spec.layers).toHaveLength(34);
    expect(spec.layers[0]).toMatchObject({ neurons: 9216, kvGroups: 4, groupSize: 2, window: 1024 });
    expect(spec.extra).toMatchObject({ eos_token_id: [1, 106] });
  });

  test("takes the positions of Qwen2-VL and Qwen3-VL for those of text alone", () => {
    const mrope = { type: "mrope", mrope_section: [1, 1, 2] };
    const text = {
      ...QWEN,
      num_key_value_heads: 2,
      rope_theta: 5e6,
      rms_norm_eps: 1e-6,
      max_position_embeddings: 512,
    };
    const expected = read({ ...text, tie_word_embeddings: true });
    const nested = { ...text, model_type: "qwen2_5_vl_text", rope_scaling: mrope };
    expect(readPlain({ model_type: "qwen2_5_vl", text_config: nested })).toEqual(expected);
    const flat = { ...text, model_type: "qwen2_5_vl", rope_scaling: mrope, vision_config: {} };
    expect(readPlain({ ...flat, tie_word_embeddings: true })).toEqual(expected);
    const interleaved = { rope_type: "default", mrope_interleaved: true, mrope_section: [1, 1, 2] };
    const qwen3 = { ...text, model_type: "qwen3_vl_text", rope_scaling: interleaved };
    expect(readPlain({ model_type: "qwen3_vl", text_config: qwen3 })).toEqual(
      read({ ...text, model_type: "qwen3", tie_word_embeddings: true }),
    );
  });

  test("completes a Qwen2-VL and a Qwen3-VL with the defaults of their own classes", () => {
    for (const type of ["qwen2_vl", "qwen2_5_vl"]) {
      const spec = readPlain({ model_type: type, text_config: { model_type: `${type}_text` } });
      expect(spec).toMatchObject({ vocabSize: 152_064, hiddenSize: 8192, headDim: 128, normEps: 1e-5 });
      expect(spec.layers).toHaveLength(80);
      expect(spec.layers[79]).toMatchObject({
        neurons: 29_568,
        kvGroups: 8,
        groupSize: 8,
        window: null,
        rope: { theta: 1e6 },
      });
    }
    const spec = readPlain({ model_type: "qwen3_vl", text_config: { model_type: "qwen3_vl_text" } });
    expect(spec).toMatchObject({ hiddenSize: 4096, headDim: 128, normEps: 1e-6, maxPositions: 128_000 });
    expect(spec.layers[0]).toMatchObject({ kvGroups: 32, groupSize: 1, rope: { theta: 500_000 } });
  });

  test.each([
    [{ model_type: "paligemma", text_config: { ...LLAMA, model_type: "gemma" } }, "UNSUPPORTED"],
    [{ model_type: "mllama", text_config: { ...LLAMA, model_type: "mllama_text_model" } }, "UNSUPPORTED"],
    [{ model_type: "llava", text_config: { ...LLAMA, model_type: 7 } }, "UNSUPPORTED"],
  ])("leaves %j to be refused", (config, code) => {
    expect(() => readPlain(config)).toThrow(expect.objectContaining({ code }));
  });
});

test("isOtherClass knows the classes that are written", () => {
  for (const type of [
    "mistral3",
    "qwen2_5_vl",
    "exaone",
    "internlm3",
    "sarvam_moe",
    "sarvam_mla",
    "hy_v3",
    "qwen3_vl_moe_text",
    "minicpm",
  ]) {
    expect(isOtherClass({ model_type: type })).toBe(true);
  }
  for (const type of [
    "llama",
    "granitemoehybrid",
    "gprune_llama",
    "ministral",
    "ministral3",
    "gemma3_text",
    7,
  ]) {
    expect(isOtherClass({ model_type: type })).toBe(false);
  }
});
