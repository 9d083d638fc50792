/** Mixtures of experts in GGUF files: which llama.cpp can hold, and the types of their tensors. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { YARN } from "../../test/scaled_ropes.ts";
import { TINY_FAMILIES } from "../../test/tiny_families.ts";
import { type TinyModelOptions, tinyBlocks, tinyDelta, tinyModel, tinySpec } from "../../test/tiny_model.ts";
import { openGguf } from "../io/formats/gguf.ts";
import type { ExpertsSpec } from "../model/experts_spec.ts";
import type { LayerSpec } from "../model/spec.ts";
import { exportGguf } from "./gguf.ts";
import { findGgufTarget, requireGgufTarget } from "./gguf_target.ts";

/** A layer with experts of four neurons each. */
const ofExperts = (change: Partial<ExpertsSpec> = {}): Partial<LayerSpec> => {
  const experts = { count: 3, active: 2, normalised: true, ...change };
  return { neurons: 4 * experts.count, experts };
};
/** A layer of a Qwen2 MoE. */
const beside = (change: Partial<ExpertsSpec> = {}): Partial<LayerSpec> => {
  return { ...ofExperts({ normalised: false, shared: 5, ...change }), groupSize: 1 };
};
const { lfm2_moe: LFM2, glm4_moe: GLM, ernie4_5_moe: ERNIE, gpt_oss: GPT_OSS } = TINY_FAMILIES;
const GEMMA4 = TINY_FAMILIES["gemma4 with experts"];
/** A model with a change of the experts of its last layer, or of those of all layers. */
const withLast = (options: TinyModelOptions, change: Partial<ExpertsSpec>): TinyModelOptions => {
  return { ...options, layers: options.layers!.with(-1, changed(options.layers!.at(-1)!, change)) };
};
const withAll = (options: TinyModelOptions, change: Partial<ExpertsSpec>): TinyModelOptions => {
  return { ...options, layers: options.layers!.map((layer) => changed(layer, change)) };
};
function changed(layer: Partial<LayerSpec>, change: Partial<ExpertsSpec>): Partial<LayerSpec> {
  return layer.experts === undefined ? layer : { ...layer, experts: { ...layer.experts, ...change } };
}
/** The same without some properties of the experts. */
function without(options: TinyModelOptions, ...keys: readonly (keyof ExpertsSpec)[]): TinyModelOptions {
  const layers = options.layers!.map((layer) => {
    if (layer.experts === undefined) return layer;
    const entries = Object.entries(layer.experts).filter(
      ([key]) => !(keys as readonly string[]).includes(key),
    );
    return { ...layer, experts: Object.fromEntries(entries) as unknown as ExpertsSpec };
  });
  return { ...options, layers };
}
const QWEN3_MOE = { family: "qwen3_moe", qkNorm: "head" } as const;

describe("the architecture", () => {
  test.each<[string, TinyModelOptions]>([
    ["llama", TINY_FAMILIES.mixtral],
    ["qwen3moe", { ...QWEN3_MOE, layers: [ofExperts({ count: 1024 })] }],
    ["minimax-m2", TINY_FAMILIES.minimax_m2],
    ["hunyuan-moe", TINY_FAMILIES.hunyuan_v1_moe],
    ["granitemoe", TINY_FAMILIES.granitemoe],
    ["granitemoe", TINY_FAMILIES.granitemoeshared],
    ["granitemoe", without(TINY_FAMILIES.granitemoeshared, "shared", "sharedUngated")],
    ["olmoe", TINY_FAMILIES.olmoe],
    ["qwen2moe", TINY_FAMILIES.qwen2_moe],
    ["qwen35moe", TINY_FAMILIES.qwen3_5_moe],
    ["qwen3next", TINY_FAMILIES.qwen3_next],
    ["gemma4", GEMMA4],
    ["lfm2moe", LFM2],
    ["glm4moe", GLM],
    ["glm4moe", { ...withAll(GLM, { normalised: false, shared: 8 }), qkNorm: null }],
    ["gpt-oss", GPT_OSS],
    ["glm4moe", TINY_FAMILIES.solar_open],
    ["dots1", TINY_FAMILIES.dots1],
    ["afmoe", TINY_FAMILIES.afmoe],
    ["cohere2moe", TINY_FAMILIES.cohere2_moe],
    [
      "cohere2moe",
      {
        ...without(TINY_FAMILIES.cohere2_moe, "shared", "sharedUngated", "averaged", "sigmoid"),
        normType: "layer",
      },
    ],
    ["laguna", TINY_FAMILIES.laguna],
    ["laguna", { ...TINY_FAMILIES.laguna, gatedAttention: "gate_proj" }],
    ["exaone-moe", TINY_FAMILIES.exaone_moe],
    ["ernie4_5-moe", ERNIE],
    ["ernie4_5-moe", without(ERNIE, "shared", "sharedUngated")],
    ["granitehybrid", TINY_FAMILIES["granitemoehybrid with experts"]],
    ["nemotron_h_moe", TINY_FAMILIES["nemotron_h with experts"]],
    ["granitemoe", TINY_FAMILIES["granitemoehybrid of attention with experts"]],
    [
      "granitemoe",
      without(TINY_FAMILIES["granitemoehybrid of attention with experts"], "shared", "sharedUngated"),
    ],
  ])("is %s", (name, options) => {
    const target = requireGgufTarget(tinySpec(options), "tiny");
    expect(target).toMatchObject({ name, zeros: 0, spec: tinySpec(options) });
  });

  test("has zeros in every expert of narrower layers", () => {
    const layers = [ofExperts(), { ...ofExperts(), neurons: 9 }];
    const target = requireGgufTarget(tinySpec({ family: "mixtral", layers }), "tiny");
    expect(target.spec.layers.map(({ neurons }) => neurons)).toEqual([12, 12]);
    // One neuron of 3 C in each of three experts.
    expect(target.zeros).toBe(3 * 3 * 8);
  });

  test("has zeros in narrower experts alone where the rest may be of any width", () => {
    const [first, ...others] = GEMMA4.layers!;
    const narrow = { ...first, neurons: 9, kvGroups: 1, experts: { ...first!.experts!, shared: 3 } };
    const options = { ...GEMMA4, layers: [narrow, ...others] };
    const { name, spec, zeros } = requireGgufTarget(tinySpec(options), "tiny");
    expect(name).toBe("gemma4");
    expect(spec).toEqual(tinySpec({ ...options, layers: [{ ...narrow, neurons: 12 }, ...others] }));
    expect(zeros).toBe(3 * 3 * 8);
  });

  test("names the experts alone as padded where the rest may be of any width", async () => {
    const [first, ...others] = GEMMA4.layers!;
    const model = tinyModel({ ...GEMMA4, layers: [{ ...first, neurons: 9 }, ...others] });
    const { warnings } = await exportGguf(model, join(await temporaryDirectory(), "model.gguf"));
    expect(warnings[0]).toContain(
      "gemma4 builds the experts of all layers with the same width: they were padded with zeros to 4 neurons each",
    );
  });

  test("has zeros in layers of a kind, and in a shared expert that must be so many others wide", () => {
    const [dense, sparse] = GLM.layers as readonly [Partial<LayerSpec>, Partial<LayerSpec>];
    const layers = [{ ...dense, neurons: 3 }, { ...dense, neurons: 7 }, sparse, { ...sparse, neurons: 18 }];
    const { spec, zeros } = requireGgufTarget(
      tinySpec({ ...withAll({ ...GLM, layers }, { shared: 7 }) }),
      "tiny",
    );
    const sizes = spec.layers.map(({ neurons, experts }) => [neurons, experts?.shared]);
    expect(sizes).toEqual([
      [7, undefined],
      [7, undefined],
      [18, 12],
      [18, 12],
    ]);
    // Of 3 C each: four neurons, two in each of three experts, and five in each of two shared ones.
    expect(zeros).toBe((4 + 2 * 3 + 5 * 2) * 3 * 8);
  });

  test.each<[string, TinyModelOptions, string]>([
    ["experts of a Llama", { layers: [ofExperts()] }, "llama does not support experts; deci does not"],
    [
      "norms of experts of a Mixtral",
      withAll(TINY_FAMILIES.mixtral, { ownNorms: true, shared: 4, sharedUngated: true }),
      "llama does not support experts with a shared one",
    ],
    [
      "factors of experts of a Mixtral",
      withAll(TINY_FAMILIES.mixtral, { ownScales: true }),
      "llama does not support norms or factors of experts",
    ],
    [
      "experts of a Gemma 4 without factors",
      without(GEMMA4, "ownScales"),
      "gemma4 does not support norms or factors of experts other than both",
    ],
    ["a Mixtral without", { family: "mixtral" }, "llama does not support layers without experts"],
    [
      "experts in some layers",
      { ...QWEN3_MOE, layers: [ofExperts(), {}] },
      "qwen3moe does not support layers without experts",
    ],
    [
      "more experts in some layers",
      { ...QWEN3_MOE, layers: [ofExperts(), ofExperts({ count: 4 })] },
      "qwen3moe does not support other numbers of experts in some layers",
    ],
    [
      "more experts of a token in some layers",
      { ...QWEN3_MOE, layers: [ofExperts(), ofExperts({ active: 1 })] },
      "qwen3moe does not support other numbers of experts in some layers",
    ],
    [
      "too many experts",
      { ...QWEN3_MOE, layers: [ofExperts({ count: 1025 })] },
      "qwen3moe does not support more than 1024 experts",
    ],
    [
      "experts of a Qwen3 MoE whose numbers stay as they are",
      { ...QWEN3_MOE, layers: [ofExperts({ normalised: false })] },
      "qwen3moe does not support experts of a token whose numbers do not add up to 1",
    ],
    [
      "experts of an OLMoE whose numbers become shares",
      { ...TINY_FAMILIES.olmoe, layers: [{ ...ofExperts(), groupSize: 1 }] },
      "olmoe does not support experts of a token whose numbers add up to 1",
    ],
    [
      "heads of an OLMoE that share keys",
      { ...TINY_FAMILIES.olmoe, layers: [{ ...ofExperts({ normalised: false }), kvGroups: 1 }] },
      "olmoe does not support key heads whose total width differs from the hidden size 8",
    ],
    [
      "heads of a dots.llm1 that share keys",
      {
        ...TINY_FAMILIES.dots1,
        layers: TINY_FAMILIES.dots1.layers!.map((layer) => ({ ...layer, groupSize: 2 })),
      },
      "dots1 does not support query heads that share a key head",
    ],
    [
      "clipped queries of an OLMoE",
      { ...TINY_FAMILIES.olmoe, projectionClip: 8 },
      "olmoe does not support clipped queries, keys and values",
    ],
    [
      "experts of a Qwen2 MoE whose numbers become shares",
      { ...TINY_FAMILIES.qwen2_moe, layers: [beside({ normalised: true })] },
      "qwen2moe does not support experts of a token whose numbers add up to 1",
    ],
    [
      "experts of a Qwen 3.5 MoE whose numbers stay as they are",
      {
        ...TINY_FAMILIES.qwen3_5_moe,
        layers: [tinyDelta({ valueDim: 8 }), {}].map((layer) => ({ ...layer, ...beside() })),
      },
      "qwen35moe does not support experts of a token whose numbers do not add up to 1",
    ],
    [
      "a Qwen2 MoE with experts in some layers",
      { ...TINY_FAMILIES.qwen2_moe, layers: [beside(), { groupSize: 1 }] },
      "qwen2moe does not support layers without experts",
    ],
    [
      "a Qwen2 MoE without a shared expert",
      { ...TINY_FAMILIES.qwen2_moe, layers: [{ ...ofExperts({ normalised: false }), groupSize: 1 }] },
      "qwen2moe does not support experts without a shared one",
    ],
    [
      "a Qwen3 MoE with one",
      { ...QWEN3_MOE, layers: [ofExperts({ shared: 5 })] },
      "qwen3moe does not support experts with a shared one",
    ],
    [
      "shared experts of several widths",
      { ...TINY_FAMILIES.qwen2_moe, layers: [beside(), beside({ shared: 6 })] },
      "qwen2moe does not support shared experts of other widths in some layers",
    ],
    [
      "a Qwen2 MoE whose output matrix is the embedding",
      { ...TINY_FAMILIES.qwen2_moe, tiedEmbeddings: true },
      "qwen2moe does not support an output matrix that is tied to the embedding",
    ],
    [
      "a Qwen2 MoE with narrow heads",
      { ...TINY_FAMILIES.qwen2_moe, layers: [{ ...beside(), groupSize: 3 }] },
      "qwen2moe does not support query heads whose total width differs from the hidden size 8",
    ],
    [
      "biases of experts",
      { ...TINY_FAMILIES.granitemoe, layers: [{ ...ofExperts(), biases: ["o_proj", "down_proj"] }] },
      "granitemoe does not support biases at down_proj",
    ],
    [
      "an LFM2 without experts after others",
      { ...LFM2, layers: [...LFM2.layers!, LFM2.layers![0]!] },
      "lfm2moe does not support layers without experts after others with some",
    ],
    [
      "an LFM2 MoE without any",
      { ...LFM2, layers: TINY_FAMILIES.lfm2.layers! },
      "lfm2moe does not support layers without experts",
    ],
    [
      "softmaxes in LFM2",
      without(LFM2, "sigmoid"),
      "lfm2moe does not support scores of experts that are no sigmoids",
    ],
    [
      "sigmoids in ERNIE 4.5",
      withAll(ERNIE, { sigmoid: true }),
      "ernie4_5-moe does not support scores of experts that are sigmoids",
    ],
    [
      "an LFM2 without corrections in a layer",
      { ...LFM2, layers: LFM2.layers!.with(-1, without(LFM2, "corrected").layers!.at(-1)!) },
      "lfm2moe does not support scores of experts without corrections",
    ],
    [
      "corrections in Qwen3",
      { ...QWEN3_MOE, layers: [ofExperts({ corrected: true })] },
      "qwen3moe does not support scores of experts with corrections",
    ],
    [
      "a large divisor",
      withAll(ERNIE, { divisor: { least: 0.5 } }),
      "ernie4_5-moe does not support another divisor of the routing weights",
    ],
    [
      "a factor in LFM2",
      withAll(LFM2, { scale: 2 }),
      "lfm2moe does not support a factor on the routing weights",
    ],
    [
      "two factors in GLM-4.5",
      { ...GLM, layers: [...GLM.layers!, changed(GLM.layers!.at(-1)!, { scale: 2 })] },
      "glm4moe does not support several factors on the routing weights",
    ],
    [
      "an LFM2 whose numbers stay as they are",
      withAll(LFM2, { normalised: false }),
      "lfm2moe does not support experts of a token whose numbers do not add up to 1",
    ],
    [
      "a GLM-4.5 whose numbers become shares in some layers",
      { ...GLM, layers: [...GLM.layers!, changed(GLM.layers!.at(-1)!, { normalised: false })] },
      "glm4moe does not support experts of a token whose numbers do not add up to 1",
    ],
    [
      "a Cohere 2 MoE whose shared expert is added to the others",
      without(TINY_FAMILIES.cohere2_moe, "averaged"),
      "cohere2moe does not support a shared expert that is not averaged with the others",
    ],
    [
      "a Cohere 2 MoE some of whose scores are sigmoids",
      {
        ...TINY_FAMILIES.cohere2_moe,
        layers: [
          ...TINY_FAMILIES.cohere2_moe.layers!,
          ...without({ layers: TINY_FAMILIES.cohere2_moe.layers!.slice(1, 2) }, "sigmoid").layers!,
        ],
      },
      "cohere2moe does not support scores of experts that are no sigmoids",
    ],
    [
      "a Cohere 2 MoE with a layer without experts that is not rotated",
      {
        ...TINY_FAMILIES.cohere2_moe,
        layers: [{ rope: null }, ...TINY_FAMILIES.cohere2_moe.layers!.slice(1)],
      },
      "cohere2moe does not support layers without rotary embeddings other than those without sliding windows",
    ],
    [
      "a GLM-4.5 whose shared expert is averaged with the others",
      withAll(GLM, { averaged: true }),
      "glm4moe does not support a shared expert that is averaged with the others",
    ],
    [
      "a GLM-4.5 without a shared expert",
      without(GLM, "shared", "sharedUngated"),
      "glm4moe does not support experts without a shared one",
    ],
    [
      "a shared expert of a Granite 4 with a gate",
      without(TINY_FAMILIES["granitemoehybrid with experts"], "sharedUngated"),
      "granitehybrid does not support a shared expert with a gate",
    ],
    [
      "a Nemotron 3 with an FFN without experts",
      {
        ...TINY_FAMILIES["nemotron_h with experts"],
        layers: [...TINY_FAMILIES["nemotron_h with experts"].layers!, ...tinyBlocks()],
      },
      "nemotron_h_moe does not support layers without experts",
    ],
    [
      "a shared expert of a Qwen2 MoE without",
      withAll(TINY_FAMILIES.qwen2_moe, { sharedUngated: true }),
      "qwen2moe does not support a shared expert without a gate",
    ],
    [
      "a gpt-oss without sinks",
      { ...GPT_OSS, attentionSinks: false },
      "does not support attention without sinks",
    ],
    ["sinks of a Mixtral", { ...TINY_FAMILIES.mixtral, attentionSinks: true }, "attention with sinks"],
    [
      "a router without biases",
      without(GPT_OSS, "biased"),
      "gpt-oss does not support routers without biases",
    ],
    [
      "a Mixtral whose router has some",
      withAll(TINY_FAMILIES.mixtral, { biased: true }),
      "llama does not support routers with biases",
    ],
    [
      "experts of which one projection has no biases",
      { ...GPT_OSS, layers: GPT_OSS.layers!.with(1, { ...GPT_OSS.layers![1], biases: ["up_proj"] }) },
      "gpt-oss does not support experts without biases at gate_proj, down_proj",
    ],
    [
      "biases of experts of a Mixtral",
      { ...TINY_FAMILIES.mixtral, layers: [{ ...ofExperts(), biases: ["up_proj"] }] },
      "llama does not support biases at up_proj",
    ],
    [
      "a gpt-oss whose YaRN has rounded bounds",
      {
        ...GPT_OSS,
        layers: GPT_OSS.layers!.map((layer) => ({ ...layer, rope: { ...layer.rope!, scaling: YARN } })),
      },
      "gpt-oss does not support YaRN with settings other than beta_fast 32, beta_slow 1 and no truncation",
    ],
    [
      "a gpt-oss without windows",
      { ...GPT_OSS, layers: GPT_OSS.layers!.map((layer) => ({ ...layer, window: null })) },
      "gpt-oss does not support layers without sliding windows",
    ],
    [
      "a Granite 4 of attention that is not rotated",
      {
        ...TINY_FAMILIES["granitemoehybrid of attention with experts"],
        layers: [{ ...ofExperts({ shared: 5, sharedUngated: true }), groupSize: 1, rope: null }],
      },
      "granitemoe does not support layers without rotary embeddings",
    ],
  ])("is none for %s", (_, options, says) => {
    expect(findGgufTarget(tinySpec(options))).toMatchObject({
      target: null,
      reason: expect.stringContaining(says),
    });
  });
});

test("a number of widths of the shared expert counts the zeros of it", async () => {
  const model = tinyModel(withLast(GLM, { shared: 7 }));
  const directory = await temporaryDirectory();
  const path = join(directory, "out.gguf");
  const { warnings } = await exportGguf(model, path, { dtype: "f16" });
  expect(warnings[0]).toContain(
    "to 6 neurons, 4 neurons in each expert, 8 in the shared one and 2 KV groups",
  );
  const { metadata, source } = await openGguf(path);
  expect(metadata.get("glm4moe.expert_shared_count")).toBe(2);
  const names = ["exp_probs_b.bias", "ffn_gate_inp.weight", "ffn_gate_shexp.weight", "ffn_gate_exps.weight"];
  expect(names.map((name) => source.info(`blk.1.${name}`))).toEqual([
    { dtype: "F32", shape: [3] },
    { dtype: "F32", shape: [3, 8] },
    { dtype: "F16", shape: [8, 8] },
    { dtype: "F16", shape: [3, 4, 8] },
  ]);
  await source.close();
});

test("tensors of experts are of the types of their rows, and routers never of few bits", async () => {
  const layer = { ...ofExperts(), neurons: 3 * 256 };
  const model = tinyModel({ ...TINY_FAMILIES.mixtral, hiddenSize: 256, layers: [layer, layer] });
  const path = join(await temporaryDirectory(), "out.gguf");
  await exportGguf(model, path, { dtype: "q4_k" });
  const { source } = await openGguf(path);
  const infos = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps", "ffn_gate_inp"].map((name) =>
    source.info(`blk.0.${name}.weight`),
  );
  const matrices = { dtype: "Q4_K", shape: [3, 256, 256] };
  expect(infos).toEqual([matrices, matrices, matrices, { dtype: "F32", shape: [3, 256] }]);
  await source.close();
});

test("the width of a shared expert is not said to fit once others are pruned", async () => {
  const model = tinyModel({
    ...{ ...TINY_FAMILIES.qwen2_moe, hiddenSize: 256, headDim: 128 },
    layers: [{ ...beside(), neurons: 3 * 256 }],
  });
  const { warnings } = await exportGguf(model, join(await temporaryDirectory(), "out.gguf"), {
    dtype: "q4_k",
  });
  expect(warnings.filter((warning) => warning.includes("in larger types"))).toEqual([
    expect.stringMatching(/^1 of .*: 1 as F16$/),
  ]);
});
