import { describe, expect, test } from "vitest";
import {
  EACH_2ND,
  EACH_4TH,
  GEMMA_LAYERS,
  GEMMA1,
  GEMMA2,
  GEMMA3,
  growing,
  LARGE_GEMMA2,
  OUTPUTS,
  QKV,
  QWEN3,
  targetOf,
  tinyRope,
} from "../../test/gguf_variants.ts";
import { LLAMA3, longrope, YARN } from "../../test/scaled_ropes.ts";
import { TINY_FAMILIES } from "../../test/tiny_families.ts";
import {
  type TinyModelOptions,
  tinyBlocks,
  tinyConvolution,
  tinyDelta,
  tinyMamba,
  tinyMamba2,
  tinySpec,
} from "../../test/tiny_model.ts";
import type { GpruneError } from "../errors.ts";
import { alibiSlopes } from "../model/alibi.ts";
import { PROJECTIONS } from "../model/projections.ts";
import type { LayerSpec } from "../model/spec.ts";
import { findGgufTarget } from "./gguf_target.ts";

const ROTATED_BLOCKS = {
  ...TINY_FAMILIES.nemotron_h,
  layers: tinyBlocks({ attention: { rope: tinyRope({}) } }),
};

/** A Gemma 4 with these layers. */
const gemma4 = (...layers: readonly Partial<LayerSpec>[]): TinyModelOptions => ({
  ...TINY_FAMILIES.gemma4,
  layers,
});
const READER = { role: "reader", source: 0 } as const;

describe("refusals", () => {
  const partial = { layers: [{ rope: tinyRope({ rotaryDim: 2 }) }] };
  const otherWindows = { ...GEMMA3, layers: [{ window: 16 }, { rope: tinyRope({ theta: 1e6 }) }] };
  const mixed = { layers: [{}, { rope: tinyRope({ theta: 5 }) }] };
  const strange = { layers: [{ rope: tinyRope({ scaling: { ...LLAMA3, lowFreqFactor: 2 } }) }] };

  test.each<[string, TinyModelOptions, string]>([
    [
      "biases",
      { ...QWEN3, layers: [{ biases: OUTPUTS }] },
      "qwen3 does not support biases at o_proj, down_proj; openelm",
    ],
    [
      "groups of other sizes",
      { ...GEMMA3, layers: [{ groupSize: 1 }, {}] },
      "does not support layers of different widths",
    ],
    [
      "heads wider than the hidden state",
      { family: "phi3", layers: [{ kvGroups: 2 }] },
      "query heads whose total width differs from the hidden size 8",
    ],
    [
      "an output matrix where none is loaded",
      { ...GEMMA1, tiedEmbeddings: false },
      "gemma does not support an output matrix",
    ],
    ["rotation in part", partial, "llama does not support partial rotary embeddings; deci"],
    ["capped logits", { logitSoftcap: 3 }, "logit softcapping"],
    ["other score scales", { attentionScale: 0.3 }, "the attention scale 0.3"],
    [
      "factors elsewhere than in Granite",
      { residualScale: 0.5 },
      "llama does not support residual or logit multipliers",
    ],
    ["logits divided elsewhere", { logitDivisor: 8 }, "llama does not support residual or logit multipliers"],
    [
      "layers without rotary embeddings",
      { layers: [{}, { rope: null }] },
      "llama does not support layers without rotary embeddings",
    ],
    [
      "heads with slopes of ALiBi that do not follow from their number",
      { ...TINY_FAMILIES.bloom, layers: [{ kvGroups: 1, groupSize: 1, rope: null, slopes: [0.3] }] },
      "bloom does not support heads whose slopes of ALiBi do not follow from their number",
    ],
    [
      "ALiBi in Falcon",
      { ...TINY_FAMILIES.falcon, layers: [{ groupSize: 1, rope: null, slopes: alibiSlopes(2) }] },
      "falcon does not support layers without rotary embeddings or ALiBi",
    ],
    [
      "a Falcon with two norms",
      { ...TINY_FAMILIES.falcon, norms: "before" },
      "falcon does not support the model's norms",
    ],
    [
      "convolutions elsewhere than in LFM2",
      { layers: [{}, tinyConvolution({ length: 3, biases: false })] },
      "llama does not support convolutions",
    ],
    [
      "attention alone in LFM2",
      { family: "lfm2", qkNorm: "head", layers: [{ groupSize: 1 }] },
      "lfm2 does not support layers with attention alone",
    ],
    [
      "convolutions with biases",
      { ...TINY_FAMILIES.lfm2, layers: [tinyConvolution({ length: 3, biases: true }), { groupSize: 1 }] },
      "lfm2 does not support convolutions with biases",
    ],
    [
      "linear attention elsewhere than in Qwen 3.5",
      { layers: [{}, tinyDelta()] },
      "llama does not support linear attention",
    ],
    [
      "attention alone in Qwen 3.5",
      { ...TINY_FAMILIES.qwen3_5, layers: [{}, {}] },
      "qwen35 does not support layers with attention alone",
    ],
    [
      "linear attention of two sizes",
      { ...TINY_FAMILIES.qwen3_5, layers: [{}, tinyDelta({ valueDim: 8 }), tinyDelta({ keyDim: 16 })] },
      "qwen35 does not support linear attention of several sizes",
    ],
    [
      "linear attention whose values are wider than its keys",
      { ...TINY_FAMILIES.qwen3_5, layers: [{}, tinyDelta()] },
      "qwen35 does not support linear attention with other sizes of key heads than of value heads",
    ],
    ["Mamba 2 elsewhere than in Granite 4", { layers: [{}, tinyMamba()] }, "llama does not support Mamba 2"],
    [
      "Mamba 2 in Qwen 3.5",
      { ...TINY_FAMILIES.qwen3_5, layers: [{}, tinyMamba()] },
      "qwen35 does not support Mamba 2",
    ],
    [
      "delta rules in Granite 4",
      { family: "granitemoehybrid", layers: [{}, tinyDelta()] },
      "granitehybrid does not support linear attention",
    ],
    [
      "attention alone in Granite 4 with Mamba 2",
      { family: "granitemoehybrid", layers: [{ rope: null }, { rope: null }] },
      "granitehybrid does not support layers with attention alone",
    ],
    [
      "Mamba 2 of two sizes",
      { family: "granitemoehybrid", layers: [{}, tinyMamba(), tinyMamba({ keyDim: 16 })] },
      "granitehybrid does not support Mamba 2 of several sizes",
    ],
    [
      "Mamba 2 with biases of projections",
      { family: "granitemoehybrid", layers: [{}, tinyMamba({ biases: true })] },
      "granitehybrid does not support Mamba 2 with biases of projections",
    ],
    [
      "Mamba 2 without biases of filters",
      { family: "granitemoehybrid", layers: [{}, tinyMamba({ filterBiases: false })] },
      "granitehybrid does not support Mamba 2 without biases of filters",
    ],
    [
      "Mamba 2 of another width than twice the hidden size",
      { family: "granitemoehybrid", layers: [{}, tinyMamba({ valueHeads: 2 })] },
      "granitehybrid does not support Mamba 2 whose heads together are not 16 channels wide, twice the hidden",
    ],
    ...(
      [
        ["with biases of outputs alone", { outputBias: true }, "Mamba 2 with biases of projections"],
        ["without biases of filters", { filterBiases: false }, "Mamba 2 without biases of filters"],
        [
          "with norms before gates",
          { norm: "before_gates" },
          "Mamba 2 whose outputs are normed before they are gated",
        ],
      ] as const
    ).map(([what, changes, message]): [string, TinyModelOptions, string] => [
      `Falcon-H1 ${what}`,
      { family: "falcon_h1", layers: [{ beside: tinyMamba2(changes) }] },
      `falcon-h1 does not support ${message}`,
    ]),
    [
      "Falcon-H1 with biases of outputs of attention",
      { family: "falcon_h1", layers: [{ biases: PROJECTIONS, beside: tinyMamba2() }] },
      "falcon-h1 does not support biases at o_proj",
    ],
    [
      "Nemotron-H without Mamba 2",
      { ...TINY_FAMILIES.nemotron_h, layers: TINY_FAMILIES.nemotron_h.layers!.slice(1) },
      "nemotron_h does not support layers with attention alone",
    ],
    ["rotation in Nemotron-H", ROTATED_BLOCKS, "nemotron_h does not support rotary embeddings"],
    [
      "rotation in some layers of Granite 4",
      { family: "granitemoehybrid", layers: [{}, { rope: null }, tinyMamba()] },
      "granitehybrid does not support layers without rotary embeddings",
    ],
    [
      "attention without gates in Qwen 3.5",
      { ...TINY_FAMILIES.qwen3_5, gatedAttention: false },
      "qwen35 does not support attention without gates",
    ],
    [
      "attention with gates elsewhere",
      { family: "qwen3", qkNorm: "head", gatedAttention: "q_proj" },
      "qwen3 does not support attention with gates",
    ],
    [
      "biases in Qwen 3.5",
      { ...TINY_FAMILIES.qwen3_5, layers: [{ biases: ["v_proj"] }, tinyDelta({ valueDim: 8 })] },
      "qwen35 does not support biases at v_proj",
    ],
    [
      "such layers in other places",
      { family: "smollm3", layers: [{}, { rope: null }] },
      "layers without rotary embeddings other than every 4th",
    ],
    [
      "rotation of all layers",
      { family: "smollm3", layers: EACH_4TH.map(() => ({})) },
      "layers without rotary embeddings other than every 4th",
    ],
    ["clipped projections", { projectionClip: 3 }, "llama does not support clipped queries, keys and values"],
    ["capped scores", { scoreSoftcap: 3 }, "llama does not support attention softcapping"],
    [
      "scores without a cap",
      { ...GEMMA2, scoreSoftcap: null, layers: EACH_2ND },
      "gemma2 does not support attention without softcapping",
    ],
    [
      "logits without a cap",
      { ...GEMMA2, logitSoftcap: null, layers: EACH_2ND },
      "gemma2 does not support logits without softcapping",
    ],
    ["no windows", { ...GEMMA2 }, "gemma2 does not support layers without sliding windows"],
    ["windows in other places", { ...GEMMA2, layers: [{}, { window: 16 }] }, "all but every 2nd"],
    ["windows elsewhere", otherWindows, "all but every 6th"],
    ["rotary bases by layer", mixed, "rotary embeddings that differ between layers"],
    ["other factors", strange, "Llama 3 RoPE scaling"],
    ["queries that do not grow", growing({ queryGrowth: 0 }), "queries that do not grow with their position"],
    [
      "growing queries without YaRN",
      { family: "ministral3" },
      "queries that do not grow with their position",
    ],
    [
      "growing queries elsewhere",
      { layers: [{ rope: tinyRope({ scaling: { ...YARN, queryGrowth: 0.1 } }) }] },
      "llama does not support queries that grow with their position",
    ],
    [
      "growing queries with other turns",
      growing({ betaSlow: 2 }),
      "mistral3 does not support YaRN with settings",
    ],
    [
      "growing queries with an attention factor",
      growing({ attentionFactor: 1.2 }),
      "mistral3 does not support a YaRN attention factor",
    ],
    ["the largest Gemma 2 with the scale of the others", LARGE_GEMMA2, "the attention scale 0.5"],
    [
      "dynamic scaling",
      { layers: [{ rope: tinyRope({ scaling: { type: "dynamic", factor: 2, originalMaxPositions: 32 } }) }] },
      "llama does not support dynamic RoPE scaling; deci",
    ],
    ["LongRoPE", { ...QWEN3, layers: [{ rope: longrope() }] }, "qwen3 does not support LongRoPE scaling"],
    [
      "YaRN with other turns",
      { layers: [{ rope: tinyRope({ scaling: { ...YARN, betaFast: 16 } }) }] },
      "does not support YaRN with settings other than beta_fast 32, beta_slow 1 and truncation",
    ],
    [
      "an attention factor in some layers",
      {
        ...GEMMA3,
        layers: GEMMA_LAYERS.map((layer, i) =>
          i === 5 ? { rope: tinyRope({ scaling: { ...YARN, attentionFactor: 2 } }) } : layer,
        ),
      },
      "gemma3 does not support a YaRN attention factor in some layers only",
    ],
    [
      "factors elsewhere",
      { ...QWEN3, layers: [{ rope: tinyRope({ scaling: LLAMA3 }) }] },
      "Llama 3 RoPE scaling",
    ],
    [
      "families without any",
      { ...GEMMA2, family: "vaultgemma", norms: "before" },
      "no GGUF architecture for this",
    ],
    [
      "a tied output that must be separate",
      { ...TINY_FAMILIES.olmo2, tiedEmbeddings: true },
      "olmo2 does not support an output matrix that is tied to the embedding",
    ],
    [
      "scaled rotation in windows too",
      {
        ...TINY_FAMILIES.olmo3,
        layers: [{ window: 16, rope: tinyRope({ scaling: YARN }) }, { rope: tinyRope({ scaling: YARN }) }],
      },
      "rotary embeddings that differ between layers",
    ],
    [
      "windows in other numbers of layers",
      {
        ...TINY_FAMILIES.exaone4,
        layers: EACH_4TH.map((layer, i) => (i % 4 === 3 ? layer : { window: 16 })),
      },
      "exaone4 does not support",
    ],
    [
      "blocks of the other kind",
      { ...TINY_FAMILIES.arcee, parallel: true },
      "arcee does not support blocks that are parallel",
    ],
    [
      "blocks one after another",
      { ...TINY_FAMILIES.phi, parallel: false, norms: "before" },
      "phi2 does not support the model's norms or blocks that are not parallel",
    ],
    ...Object.entries({
      "other norms": [TINY_FAMILIES.cohere, { normType: "rms" }],
      "norms with biases": [TINY_FAMILIES.cohere, { normParameters: "weight_and_bias" }],
      "norms without biases": [TINY_FAMILIES.nemotron, { normParameters: "weight" }],
      "a second norm of parallel blocks": [TINY_FAMILIES["stablelm in parallel"], { norms: "before" }],
      "one norm of blocks in parallel": [TINY_FAMILIES.gpt_neox, { norms: "shared" }],
      "a gate": [TINY_FAMILIES.arcee, { gated: true }, "FFNs with a gate"],
      "logits without biases": [TINY_FAMILIES.phi, { headBias: false }, "logits without a bias"],
      "exact GELU": [TINY_FAMILIES.starcoder2, { activation: "gelu" }, "the activation gelu"],
      "larger embeddings": [TINY_FAMILIES.cohere, { embeddingScale: 3 }, "the embedding scale 3"],
    } satisfies Record<string, readonly [TinyModelOptions, TinyModelOptions, string?]>).map(
      ([name, [options, change, what]]): [string, TinyModelOptions, string] => {
        return [name, { ...options, ...change }, what ?? "the model's norms"];
      },
    ),
    ...Object.entries({
      nemotron: { ...TINY_FAMILIES.nemotron, tiedEmbeddings: true },
      stablelm: { ...TINY_FAMILIES.stablelm, tiedEmbeddings: true },
      phi2: { ...TINY_FAMILIES.phi, tiedEmbeddings: true },
      gptneox: { ...TINY_FAMILIES.gpt_neox, tiedEmbeddings: true },
    }).map(([name, options]): [string, TinyModelOptions, string] => {
      return [`a tied ${name}`, options, `${name} does not support an output matrix that is tied`];
    }),
    [
      "an output matrix of a Command R",
      { ...TINY_FAMILIES.cohere, tiedEmbeddings: false },
      "command-r does not support an output matrix that is not tied",
    ],
    [
      "heads wider than a Nemotron",
      { ...TINY_FAMILIES.nemotron, layers: [{}] },
      "nemotron does not support query heads whose total width differs from the hidden size 8",
    ],
    [
      "biases of a StableLM",
      { ...TINY_FAMILIES.stablelm, layers: [{ groupSize: 1, biases: OUTPUTS }] },
      "stablelm does not support biases at o_proj, down_proj",
    ],
    [
      "rotation of a part of an Arcee",
      { ...TINY_FAMILIES.arcee, ...partial },
      "arcee does not support partial rotary embeddings",
    ],
    [
      "a large Command R",
      { ...TINY_FAMILIES.cohere, layers: Array.from({ length: 64 }, () => ({ groupSize: 1 })) },
      "command-r does not support 64 layers or more without norms of queries and keys",
    ],
    [
      "a small Command R+",
      { ...TINY_FAMILIES.cohere, qkNorm: "each_head" },
      "command-r does not support norms of queries and keys in fewer than 64 layers",
    ],
    [
      "a Command R7B with norms of queries and keys",
      { ...TINY_FAMILIES.cohere2, qkNorm: "each_head" },
      "cohere2 does not support the model's norms",
    ],
    [
      "a Command R7B without windows",
      { ...TINY_FAMILIES.cohere2, layers: [{ groupSize: 1, rope: null }] },
      "cohere2 does not support layers without sliding windows",
    ],
    [
      "a Command R7B that is rotated everywhere",
      {
        ...TINY_FAMILIES.cohere2,
        layers: [0, 1, 2, 3].map((i) => ({ groupSize: 1, window: i < 3 ? 16 : null })),
      },
      "cohere2 does not support layers without rotary embeddings other than those without sliding windows",
    ],
    ["a Gemma 4 without windows", gemma4({}, {}), "gemma4 does not support layers without sliding windows"],
    [
      "a Gemma 4 with windows of two lengths",
      gemma4({ window: 16 }, { window: 8 }, {}),
      "gemma4 does not support sliding windows of several lengths",
    ],
    [
      "a Gemma 4 with other heads in some of its layers without windows",
      gemma4({ window: 16 }, {}, { headDim: 6 }),
      "gemma4 does not support heads of several sizes in layers with windows alike, or without",
    ],
    [
      "a Gemma 4 of one layer with keys",
      gemma4({ window: 16, kvSharing: { role: "source" } }, { window: 16, kvSharing: READER }),
      "gemma4 does not support fewer than two layers with keys and values of their own",
    ],
    [
      "a Gemma 4 with keys and values from an earlier layer",
      gemma4(
        { window: 16, kvSharing: { role: "source" } },
        { window: 16 },
        {},
        { window: 16, kvSharing: READER },
      ),
      "gemma4 does not support shared keys and values of other layers than the last two that have their own",
    ],
    [
      "a Gemma 4 whose table of inputs is shorter than the embedding",
      { ...TINY_FAMILIES.gemma4, perLayerInputs: { size: 3, vocabSize: 15 } },
      "gemma4 does not support a table of the layers' inputs with other rows than the embedding",
    ],
    [
      "a Gemma 4 with biases",
      gemma4({ window: 16, biases: QKV }, {}),
      "gemma4 does not support biases at q_proj, k_proj, v_proj",
    ],
    [
      "a Gemma 4 with scaled scores",
      { ...TINY_FAMILIES.gemma4, attentionScale: 0.5 },
      "gemma4 does not support the attention scale 0.5",
    ],
    ["too many layers", { layers: Array.from({ length: 513 }, () => ({})) }, "more than 512 layers"],
  ])("of %s say what is in the way", (_, options, says) => {
    const error = { code: "UNSUPPORTED", message: expect.stringContaining(says) };
    expect(() => targetOf(options)).toThrow(expect.objectContaining(error) as GpruneError);
    expect(findGgufTarget(tinySpec(options))).toMatchObject({ target: null });
  });

  test("tell how to prune without biases", () => {
    const answer = findGgufTarget(tinySpec({ ...QWEN3, layers: [{ biases: OUTPUTS }] }));
    expect(answer).toMatchObject({ hint: expect.stringContaining("--biases never") });
  });
});
