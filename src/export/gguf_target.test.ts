import { describe, expect, test } from "vitest";
import { LLAMA3, longrope, YARN } from "../../test/scaled_ropes.ts";
import { TINY_FAMILIES } from "../../test/tiny_families.ts";
import {
  type TinyModelOptions,
  tinyBlocks,
  tinyConvolution,
  tinyDelta,
  tinyMamba,
  tinySpec,
} from "../../test/tiny_model.ts";
import { GEMMA_SWITCHES, GEMMA1_SWITCHES, GEMMA2_SWITCHES } from "../../test/tiny_variants.ts";
import type { GpruneError } from "../errors.ts";
import { alibiSlopes } from "../model/alibi.ts";
import type { RopeSpec, YarnScaling } from "../model/rope_spec.ts";
import { type LayerSpec, PROJECTIONS } from "../model/spec.ts";
import { findGgufTarget, type GgufTarget, requireGgufTarget } from "./gguf_target.ts";

const rope = (change: Partial<RopeSpec>): RopeSpec => ({
  theta: 10_000,
  rotaryDim: 4,
  scaling: null,
  ...change,
});
const UNEVEN: readonly Partial<LayerSpec>[] = [{ neurons: 3 }, { kvGroups: 1 }];
const QWEN3 = { family: "qwen3", qkNorm: "head" } as const;
const GEMMA3 = { family: "gemma3_text", ...GEMMA_SWITCHES } as const;
const GEMMA1 = { family: "gemma", ...GEMMA1_SWITCHES } as const;
const GEMMA2 = { family: "gemma2", ...GEMMA2_SWITCHES } as const;
const EACH_2ND = [{ window: 16 }, {}, { window: 16 }] as const;
const QKV = ["q_proj", "k_proj", "v_proj"] as const;
const OUTPUTS = ["o_proj", "down_proj"] as const;
/** Of Ministral 3; its layers are Mistral's but for queries that grow. */
const growing = (change: Partial<YarnScaling> = {}): TinyModelOptions => {
  const scaling: YarnScaling = { ...YARN, attentionFactor: 1, queryGrowth: 0.1, ...change };
  return { family: "ministral3", layers: [{ rope: rope({ scaling }) }] };
};
/** As many layers as the largest Gemma 2, whose scores are scaled by the hidden size over the heads: 8 over 4. */
const LARGE_GEMMA2 = {
  ...GEMMA2,
  layers: Array.from({ length: 46 }, (_, index) => (index % 2 === 0 ? { window: 16 } : {})),
};
const gemmaLayer = (index: number): Partial<LayerSpec> =>
  index % 6 === 5 ? { rope: rope({ theta: 1e6 }) } : { window: 16 };
const GEMMA_LAYERS = Array.from({ length: 7 }, (_, index) => gemmaLayer(index));
const EACH_4TH = Array.from({ length: 8 }, (_, index) => (index % 4 === 3 ? { rope: null } : {}));

function targetOf(options: TinyModelOptions): GgufTarget {
  return requireGgufTarget(tinySpec(options), "tiny");
}

const UNEVEN_BLOCKS = tinyBlocks({ neurons: 9, attention: { kvGroups: 1, biases: ["o_proj"] } });
const ROTATED_BLOCKS = { ...TINY_FAMILIES.nemotron_h, layers: tinyBlocks({ attention: { rope: rope({}) } }) };

describe("the architecture", () => {
  test.each<[string, TinyModelOptions, string]>([
    ["is the family's own for layers that are alike", {}, "llama"],
    ["is Llama's for Mistral", { family: "mistral" }, "llama"],
    ["is the family's own with any biases of Llama", { layers: [{ biases: OUTPUTS }] }, "llama"],
    ["is deci for uneven Llamas", { layers: UNEVEN }, "deci"],
    ["is deci for groups of other sizes", { layers: [{ groupSize: 1 }, {}] }, "deci"],
    ["is deci for uneven Mistrals", { family: "mistral", layers: UNEVEN }, "deci"],
    ["is qwen2 for Qwen2", { family: "qwen2", layers: [{ biases: QKV, kvGroups: 1 }] }, "qwen2"],
    [
      "is deci for Qwen2 with other biases",
      { family: "qwen2", layers: [{ biases: OUTPUTS, kvGroups: 1 }] },
      "deci",
    ],
    [
      "is deci for Qwen2 with fewer heads",
      { family: "qwen2", hiddenSize: 12, layers: [{ kvGroups: 1 }] },
      "deci",
    ],
    ["is qwen3 for Qwen3", { ...QWEN3, layers: [{ biases: QKV }] }, "qwen3"],
    ["is openelm for uneven tied Qwen3", { ...QWEN3, layers: UNEVEN }, "openelm"],
    ["is gemma for Gemma", { ...GEMMA1, layers: [{ biases: QKV }] }, "gemma"],
    ["is gemma2 for Gemma 2", { ...GEMMA2, layers: EACH_2ND }, "gemma2"],
    ["is gemma3 for Gemma 3", { ...GEMMA3, layers: GEMMA_LAYERS, logitSoftcap: 3 }, "gemma3"],
    [
      "is granite for Granite",
      { family: "granite", residualScale: 0.22, attentionScale: 0.3, layers: [{ biases: OUTPUTS }] },
      "granite",
    ],
    ["is mistral3 for Ministral 3", growing(), "mistral3"],
    ["is gemma2 for the largest Gemma 2", { ...LARGE_GEMMA2, attentionScale: 2 ** -0.5 }, "gemma2"],
    ["is gemma4 for Gemma 4, whatever the widths", TINY_FAMILIES.gemma4, "gemma4"],
    [
      "takes Gemma 4 without a cap, and with windows in other places",
      { ...TINY_FAMILIES["gemma4 with keys as values"], logitSoftcap: null },
      "gemma4",
    ],
    [
      "takes rotation of parts of heads in it",
      { ...TINY_FAMILIES.gemma4, layers: [{ window: 16, rope: rope({ rotaryDim: 2 }) }, {}] },
      "gemma4",
    ],
    ["is lfm2 for LFM2", TINY_FAMILIES.lfm2, "lfm2"],
    ["is qwen35 for Qwen 3.5", TINY_FAMILIES.qwen3_5, "qwen35"],
    ["is granitehybrid for Granite 4 with Mamba 2", TINY_FAMILIES.granitemoehybrid, "granitehybrid"],
    [
      "takes biases and rotation in it",
      { family: "granitemoehybrid", layers: [{ biases: PROJECTIONS }, tinyMamba()] },
      "granitehybrid",
    ],
    ["is nemotron_h for Nemotron-H", TINY_FAMILIES.nemotron_h, "nemotron_h"],
    [
      "takes widths by layer and biases of outputs in it",
      { ...TINY_FAMILIES.nemotron_h, layers: [...UNEVEN_BLOCKS, ...tinyBlocks()] },
      "nemotron_h",
    ],
    ["is smollm3 for SmolLM3", { family: "smollm3", layers: EACH_4TH }, "smollm3"],
    [
      "is phi3 for Phi-3",
      { family: "phi3", layers: [{ kvGroups: 1, rope: rope({ rotaryDim: 2 }) }] },
      "phi3",
    ],
    ["takes YaRN", { layers: [{ rope: rope({ scaling: YARN }) }] }, "llama"],
    [
      "takes YaRN in some layers of Gemma 3",
      {
        ...GEMMA3,
        layers: GEMMA_LAYERS.map((layer, i) => (i === 5 ? { rope: rope({ scaling: YARN }) } : layer)),
      },
      "gemma3",
    ],
    ["takes LongRoPE", { family: "phi3", layers: [{ kvGroups: 1, rope: longrope() }] }, "phi3"],
    ["takes LongRoPE", { family: "granite", layers: [{ rope: longrope() }] }, "granite"],
    ["takes LongRoPE of Qwen2", { family: "qwen2", layers: [{ kvGroups: 1, rope: longrope() }] }, "deci"],
    ["is apertus for Apertus", TINY_FAMILIES.apertus, "apertus"],
    ["is arcee for Arcee", { ...TINY_FAMILIES.arcee, layers: [{ biases: QKV }] }, "arcee"],
    ["is nemotron for Nemotron", TINY_FAMILIES.nemotron, "nemotron"],
    ["is starcoder2 for StarCoder 2", TINY_FAMILIES.starcoder2, "starcoder2"],
    ["is stablelm for StableLM", TINY_FAMILIES.stablelm, "stablelm"],
    ["is stablelm for StableLM with parallel blocks", TINY_FAMILIES["stablelm in parallel"], "stablelm"],
    ["is phi2 for Phi 2", TINY_FAMILIES.phi, "phi2"],
    ["is gptneox for GPT-NeoX", TINY_FAMILIES.gpt_neox, "gptneox"],
    ["is gptneox for GPT-NeoX 20B", { ...TINY_FAMILIES.gpt_neox, activation: "gelu_tanh" }, "gptneox"],
    ["is gpt2 for GPT-2", TINY_FAMILIES.gpt2, "gpt2"],
    ["is olmo for OLMo 1", TINY_FAMILIES.olmo, "olmo"],
    ["is starcoder for StarCoder", TINY_FAMILIES.gpt_bigcode, "starcoder"],
    ["is bloom for BLOOM", TINY_FAMILIES.bloom, "bloom"],
    ["is mpt for MPT", TINY_FAMILIES.mpt, "mpt"],
    ["is falcon for Falcon", TINY_FAMILIES.falcon, "falcon"],
    ["is jais2 for Jais 2", TINY_FAMILIES.jais2, "jais2"],
    ["is command-r for Command R", TINY_FAMILIES.cohere, "command-r"],
    ["is command-r for Command R+", TINY_FAMILIES["cohere of 64 layers"], "command-r"],
    ["is stablelm for StableLM 2 12B", TINY_FAMILIES["stablelm 2 12B"], "stablelm"],
    ["is cohere2 for Command R7B", TINY_FAMILIES.cohere2, "cohere2"],
    ["takes YaRN of Arcee", { ...TINY_FAMILIES.arcee, layers: [{ rope: rope({ scaling: YARN }) }] }, "arcee"],
    ["takes Llama 3's rotary factors", { layers: [{ rope: rope({ scaling: LLAMA3 }) }] }, "llama"],
  ])("%s", (_, options, name) => {
    const target = targetOf(options);
    expect(target).toMatchObject({ name, zeros: 0, ignoredWindow: null });
    expect(target.spec).toEqual(tinySpec(options));
  });

  test("says which window it does not compute, unless no text is longer", () => {
    expect(targetOf({ family: "mistral", layers: [{ window: 8 }, {}] }).ignoredWindow).toBe(8);
    expect(targetOf({ family: "mistral", layers: [{ window: 64 }] }).ignoredWindow).toBeNull();
    expect(targetOf({ ...GEMMA3, layers: GEMMA_LAYERS }).ignoredWindow).toBeNull();
    const windowed = EACH_4TH.map((layer, index) => (index % 4 === 3 ? { ...layer, window: 16 } : layer));
    expect(targetOf({ family: "smollm3", layers: windowed }).ignoredWindow).toBe(16);
    const { layers: starcoder = [], ...starcoder2 } = TINY_FAMILIES.starcoder2;
    const all = starcoder.map((layer) => ({ ...layer, window: 16 }));
    expect(targetOf({ ...starcoder2, layers: all }).ignoredWindow).toBe(16);
    expect(targetOf(TINY_FAMILIES.cohere2).ignoredWindow).toBeNull();
    // llama.cpp gives windows only to an EXAONE 4 of 64 layers; one whose layers all have a window rotates all of them.
    const exaone4 = { family: "exaone4", norms: "after", qkNorm: "head" } as const;
    const narrow = { kvGroups: 1, window: 16 };
    expect(targetOf({ ...exaone4, layers: [narrow, narrow, narrow] }).ignoredWindow).toBe(16);
    const layers = Array.from({ length: 64 }, (_, i) => (i % 4 === 3 ? { kvGroups: 1, rope: null } : narrow));
    expect(targetOf({ ...exaone4, layers }).ignoredWindow).toBeNull();
  });
});

describe("zeros", () => {
  test("fill the layers of families that have no uneven architecture", () => {
    const target = targetOf({ ...QWEN3, tiedEmbeddings: false, layers: UNEVEN });
    expect(target.name).toBe("qwen3");
    const widths = target.spec.layers.map(({ neurons, kvGroups }) => `${neurons}, ${kvGroups}`);
    expect(widths).toEqual(["6, 2", "6, 2"]);
    // 3 neurons of 3 C, and one KV group of (2 g + 2) H C.
    expect(target.zeros).toBe(3 * 3 * 8 + 6 * 4 * 8);
  });

  test("are biases that a model lacks and llama.cpp wants, which are no padding", () => {
    const biasesOf = (options: TinyModelOptions): unknown => {
      const { spec, zeros } = targetOf({ ...options, layers: [{ kvGroups: 1 }] });
      expect(zeros).toBe(0);
      return spec.layers[0]!.biases;
    };
    const outputs = ["o_proj", "up_proj", "down_proj"];
    expect(biasesOf(TINY_FAMILIES.starcoder2)).toEqual(outputs);
    expect(biasesOf(TINY_FAMILIES.phi)).toEqual(outputs);
    expect(biasesOf(TINY_FAMILIES.gpt_neox)).toEqual([...QKV, ...outputs]);
    expect(biasesOf(TINY_FAMILIES.nemotron)).toEqual([]);
    expect(biasesOf(TINY_FAMILIES.cohere)).toEqual([]);
  });

  test("fill the hidden state where heads must", () => {
    const target = targetOf({ family: "phi3", hiddenSize: 24, layers: [{}, { kvGroups: 1 }] });
    expect(target.spec.layers.map(({ kvGroups }) => kvGroups)).toEqual([3, 3]);
  });
});

/** A Gemma 4 with these layers. */
const gemma4 = (...layers: readonly Partial<LayerSpec>[]): TinyModelOptions => ({
  ...TINY_FAMILIES.gemma4,
  layers,
});
const READER = { role: "reader", source: 0 } as const;

describe("refusals", () => {
  const partial = { layers: [{ rope: rope({ rotaryDim: 2 }) }] };
  const otherWindows = { ...GEMMA3, layers: [{ window: 16 }, { rope: rope({ theta: 1e6 }) }] };
  const mixed = { layers: [{}, { rope: rope({ theta: 5 }) }] };
  const strange = { layers: [{ rope: rope({ scaling: { ...LLAMA3, lowFreqFactor: 2 } }) }] };

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
      { family: "qwen3", qkNorm: "head", gatedAttention: true },
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
      { layers: [{ rope: rope({ scaling: { ...YARN, queryGrowth: 0.1 } }) }] },
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
      { layers: [{ rope: rope({ scaling: { type: "dynamic", factor: 2, originalMaxPositions: 32 } }) }] },
      "llama does not support dynamic RoPE scaling; deci",
    ],
    ["LongRoPE", { ...QWEN3, layers: [{ rope: longrope() }] }, "qwen3 does not support LongRoPE scaling"],
    [
      "YaRN with other turns",
      { layers: [{ rope: rope({ scaling: { ...YARN, betaFast: 16 } }) }] },
      "does not support YaRN with settings other than beta_fast 32, beta_slow 1 and truncation",
    ],
    [
      "an attention factor in some layers",
      {
        ...GEMMA3,
        layers: GEMMA_LAYERS.map((layer, i) =>
          i === 5 ? { rope: rope({ scaling: { ...YARN, attentionFactor: 2 } }) } : layer,
        ),
      },
      "gemma3 does not support a YaRN attention factor in some layers only",
    ],
    [
      "factors elsewhere",
      { ...QWEN3, layers: [{ rope: rope({ scaling: LLAMA3 }) }] },
      "Llama 3 RoPE scaling",
    ],
    [
      "families without any",
      { ...GEMMA2, family: "vaultgemma", norms: "before" },
      "no architecture for this",
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
        layers: [{ window: 16, rope: rope({ scaling: YARN }) }, { rope: rope({ scaling: YARN }) }],
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
