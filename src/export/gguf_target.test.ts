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
import { type TinyModelOptions, tinyBlocks, tinyMamba, tinySpec } from "../../test/tiny_model.ts";
import { PROJECTIONS } from "../model/projections.ts";
import type { LayerSpec } from "../model/spec.ts";

const UNEVEN: readonly Partial<LayerSpec>[] = [{ neurons: 3 }, { kvGroups: 1 }];
const UNEVEN_BLOCKS = tinyBlocks({ neurons: 9, attention: { kvGroups: 1, biases: ["o_proj"] } });

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
      { ...TINY_FAMILIES.gemma4, layers: [{ window: 16, rope: tinyRope({ rotaryDim: 2 }) }, {}] },
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
    ["is falcon-h1 for Falcon-H1", TINY_FAMILIES["falcon_h1 with norms"], "falcon-h1"],
    ["is smollm3 for SmolLM3", { family: "smollm3", layers: EACH_4TH }, "smollm3"],
    [
      "is phi3 for Phi-3",
      { family: "phi3", layers: [{ kvGroups: 1, rope: tinyRope({ rotaryDim: 2 }) }] },
      "phi3",
    ],
    ["takes YaRN", { layers: [{ rope: tinyRope({ scaling: YARN }) }] }, "llama"],
    [
      "takes YaRN in some layers of Gemma 3",
      {
        ...GEMMA3,
        layers: GEMMA_LAYERS.map((layer, i) => (i === 5 ? { rope: tinyRope({ scaling: YARN }) } : layer)),
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
    [
      "takes YaRN of Arcee",
      { ...TINY_FAMILIES.arcee, layers: [{ rope: tinyRope({ scaling: YARN }) }] },
      "arcee",
    ],
    ["takes Llama 3's rotary factors", { layers: [{ rope: tinyRope({ scaling: LLAMA3 }) }] }, "llama"],
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
