import { describe, expect, test } from "vitest";
import { TINY_FAMILIES } from "../../test/tiny_families.ts";
import { type TinyModelOptions, tinyDelta, tinyMamba, tinySpec } from "../../test/tiny_model.ts";
import { GEMMA1_SWITCHES } from "../../test/tiny_variants.ts";
import { YARN_DEFAULTS } from "../model/rope_spec.ts";
import type { LayerSpec } from "../model/spec.ts";
import { programSupport } from "./program_support.ts";

const answers = (options: TinyModelOptions): readonly [string, string] => {
  const { transformers, vllm } = programSupport(tinySpec(options));
  return [transformers, vllm];
};
const same = (answer: string): unknown => [answer, answer];
const RECOVERED = ["o_proj", "down_proj"] as const;

/** A layer whose FFN has four times as many neurons as the model has channels. */
const fourTimes = (layer: Partial<LayerSpec>): Partial<LayerSpec> => ({ ...layer, neurons: 32 });

describe("programSupport", () => {
  test("names the stock class of equal layers", () => {
    expect(answers({})).toEqual(same("yes (LlamaForCausalLM)"));
    expect(answers({ layers: [{ biases: RECOVERED }, {}] })).toEqual(same("yes (LlamaForCausalLM)"));
    expect(answers({ layers: [{ kvGroups: 3, groupSize: 1 }] })).toEqual(same("yes (MistralForCausalLM)"));
  });

  test("does not speak of the directory of another class, of which this is a part", () => {
    const { gprune, ...others } = programSupport(tinySpec({}), { converted: true });
    expect(gprune).toBe("yes");
    for (const answer of Object.values(others)) expect(answer).toMatch(/^after gprune export/);
    const uneven = programSupport(tinySpec({ layers: [{}, { neurons: 5 }] }), { converted: true });
    expect(uneven.vllm).toBe(
      "after gprune export --format hf, with trust_remote_code (layers differ in width)",
    );
  });

  test("has no answer but no of llama.cpp where it cannot have the tokenizer", () => {
    const tokenizer = "tokenizer.json: expected steps that llama.cpp supports, got others";
    expect(programSupport(tinySpec({}), { tokenizer })["llama.cpp"]).toBe(`no (${tokenizer})`);
    expect(programSupport(tinySpec({}))["llama.cpp"]).toMatch(/^after gprune export/);
  });

  test("asks for our modelling file where layers differ or no stock class has the biases", () => {
    expect(answers({ layers: [{}, { neurons: 5 }] })).toEqual(
      same("with trust_remote_code (layers differ in width)"),
    );
    const reason = "no stock class of qwen3 has these widths, heads and biases";
    expect(answers({ family: "qwen3", qkNorm: "head", layers: [{ biases: RECOVERED }] })).toEqual(
      same(`with trust_remote_code (${reason})`),
    );
  });

  test("knows that vLLM's Qwen2 has heads of C / N", () => {
    const biases = ["q_proj", "k_proj", "v_proj"] as const;
    const full = { family: "qwen2", layers: [{ biases, kvGroups: 1, groupSize: 2 }] };
    expect(answers(full)).toEqual(same("yes (Qwen2ForCausalLM)"));
    expect(answers({ ...full, layers: [{ biases, kvGroups: 1, groupSize: 1 }] })).toEqual(
      same("yes (LlamaForCausalLM)"),
    );
    expect(answers({ ...full, layers: [{ biases, kvGroups: 1, groupSize: 3 }] })).toEqual([
      "yes (Qwen2ForCausalLM)",
      "with --model-impl transformers (its Qwen2ForCausalLM assumes a different head size)",
    ]);
  });

  test("knows that vLLM runs transformers' class where it has none", () => {
    const scaling = {
      ...YARN_DEFAULTS,
      type: "yarn",
      factor: 4,
      originalMaxPositions: 16,
      attentionFactor: 2,
    } as const;
    const rope = { theta: 10_000, rotaryDim: 4, scaling };
    expect(answers({ ...TINY_FAMILIES.olmo2, maxPositions: 64, layers: [{ rope }, { rope }] })).toEqual(
      same("yes (Olmo2ForCausalLM)"),
    );
  });

  test("knows that vLLM's Qwen3 and Gemma leave out biases that transformers' have", () => {
    const qwen3 = { family: "qwen3", qkNorm: "head" } as const;
    expect(answers({ ...qwen3, layers: [{ biases: ["q_proj", "k_proj", "v_proj"] }] })).toEqual(
      same("yes (Qwen3ForCausalLM)"),
    );
    expect(answers({ ...qwen3, layers: [{ biases: ["o_proj"] }] })).toEqual([
      "yes (Qwen3ForCausalLM)",
      "with --model-impl transformers (its Qwen3ForCausalLM ignores biases)",
    ]);
    const gemma = { family: "gemma", ...GEMMA1_SWITCHES };
    expect(answers(gemma)).toEqual(same("yes (GemmaForCausalLM)"));
    expect(answers({ ...gemma, layers: [{ biases: ["v_proj"] }] })).toEqual([
      "yes (GemmaForCausalLM)",
      "with --model-impl transformers (its GemmaForCausalLM ignores biases)",
    ]);
  });

  test("knows that vLLM takes transformers' classes where its own do something else, but for a divisor of logits", () => {
    const yarn = { type: "yarn", factor: 4, originalMaxPositions: 64, betaFast: 32, betaSlow: 1 } as const;
    const scaling = { ...yarn, attentionFactor: 1, truncate: true };
    const layers = [{ rope: { theta: 10_000, rotaryDim: 4, scaling } }];
    const vllm = (options: TinyModelOptions): string =>
      programSupport(tinySpec({ ...options, maxPositions: 256, layers })).vllm;
    const what = "uses a different attention factor";
    expect(vllm({})).toBe(`with --model-impl transformers (its LlamaForCausalLM ${what})`);
    expect(vllm({ family: "granite", logitDivisor: 2 })).toBe(`no (its GraniteForCausalLM ${what})`);
  });

  test("knows what vLLM's classes of StableLM and Cohere do not read, and that its backend scales logits of the latter", () => {
    const norms = { normType: "layer", normParameters: "weight_and_bias" } as const;
    const stablelm = { family: "stablelm", ...norms, layers: [{ groupSize: 1 }] };
    const cohere = {
      family: "cohere",
      normType: "layer",
      parallel: true,
      norms: "shared",
      logitDivisor: 4,
    } as const;
    const full = { rope: null };
    const cases: readonly (readonly [TinyModelOptions, string, string | null])[] = [
      [stablelm, "StableLm", null],
      [
        { ...stablelm, parallel: true, norms: "shared" },
        "StableLm",
        "computes attention and FFN one after the other",
      ],
      [{ ...stablelm, activation: "gelu" }, "StableLm", "computes SiLU"],
      [{ ...stablelm, qkNorm: "each_head" }, "StableLm", "has no norms of queries and keys"],
      [{ ...cohere, qkNorm: "each_head" }, "Cohere", null],
      [cohere, "Cohere", null],
      [{ ...cohere, tiedEmbeddings: false }, "Cohere", "takes the embedding for the output matrix"],
      [{ ...cohere, layers: [{ biases: ["q_proj", "k_proj", "v_proj"] }] }, "Cohere", "ignores biases"],
      [{ ...cohere, family: "cohere2", layers: [full] }, "Cohere2", null],
      [
        { ...cohere, family: "cohere2", layers: [{ window: 8 }, full] },
        "Cohere2",
        "sees one token more through sliding windows",
      ],
    ];
    for (const [options, stem, what] of cases) {
      const name = `${stem}ForCausalLM`;
      const vllm = what === null ? `yes (${name})` : `with --model-impl transformers (its ${name} ${what})`;
      expect(answers(options)).toEqual([`yes (${name})`, vllm]);
    }
  });

  test("knows which layers of a Cohere 2 MoE vLLM's class does not rotate", () => {
    const experts = { count: 3, active: 2, normalised: true } as const;
    const sparse = { neurons: 12, experts, rope: null } as const;
    const of = (...layers: readonly Partial<LayerSpec>[]): unknown => {
      const norms = { norms: "shared", parallel: true, normType: "rms" } as const;
      return answers({ family: "cohere2_moe", ...norms, layers });
    };
    const yes = "yes (Cohere2MoeForCausalLM; version 5.9 or later)";
    expect(of({}, sparse)).toEqual([yes, "yes (Cohere2MoeForCausalLM)"]);
    const lacking =
      "with --model-impl transformers (its Cohere2MoeForCausalLM does not rotate layers without experts after others with some)";
    expect(of({}, sparse, {})).toEqual([yes, lacking]);
  });

  test("knows what vLLM's OLMoE computes otherwise, and what experts are not in vLLM", () => {
    const experts = { count: 2, active: 1, normalised: false };
    const layer = { groupSize: 1, experts };
    const olmoe = { family: "olmoe", qkNorm: "projection", tiedEmbeddings: false, layers: [layer] } as const;
    const cases: readonly (readonly [TinyModelOptions, string])[] = [
      [{ projectionClip: 2 }, "does not clip queries, keys and values"],
      [
        { layers: [{ ...layer, experts: { ...experts, normalised: true } }] },
        "does not divide the weights of experts by their sum",
      ],
      [{ normEps: 1e-6 }, "takes 1e-5 for the epsilon of the norms of queries and keys"],
      [{ tiedEmbeddings: true }, "does not tie embeddings"],
      [{ layers: [{ ...layer, biases: ["q_proj", "k_proj", "v_proj", "o_proj"] }] }, "ignores biases"],
    ];
    const name = "OlmoeForCausalLM";
    expect(answers(olmoe)).toEqual([`yes (${name})`, `yes (${name})`]);
    for (const [changes, what] of cases) {
      const vllm = `with --model-impl transformers (its ${name} ${what})`;
      expect(answers({ ...olmoe, ...changes })).toEqual([`yes (${name})`, vllm]);
    }
    const gelu = "no (it computes SiLU in experts)";
    expect(answers({ ...olmoe, activation: "gelu" })).toEqual([`yes (${name})`, gelu]);
    const own = "with trust_remote_code (layers differ in width)";
    const uneven = [layer, { ...layer, neurons: 8 }];
    expect(answers({ ...olmoe, layers: uneven })).toEqual([
      own,
      "no (it has one width for the experts of all layers)",
    ]);
    const groups = [layer, { ...layer, kvGroups: 1 }];
    expect(answers({ ...olmoe, layers: groups })).toEqual([own, own]);
  });

  test("knows that Qwen2 MoE runs in vLLM, with fewer heads through our file", () => {
    const experts = { count: 2, active: 1, normalised: false, shared: 5 };
    const layer = { groupSize: 1, experts, biases: ["q_proj", "k_proj", "v_proj"] } as const;
    const qwen = { family: "qwen2_moe", layers: [layer, layer] } as const;
    expect(answers(qwen)).toEqual(same("yes (Qwen2MoeForCausalLM)"));
    expect(answers({ ...qwen, layers: qwen.layers.map((each) => ({ ...each, kvGroups: 1 })) })).toEqual(
      same("with trust_remote_code (no stock class of qwen2_moe has these widths, heads and biases)"),
    );
    expect(answers({ ...qwen, layers: [layer, { ...layer, neurons: 8 }] })).toEqual([
      "with trust_remote_code (layers differ in width)",
      "no (it has one width for the experts of all layers)",
    ]);
  });

  test.each(["hunyuan_v1_moe", "glm4_moe", "deepseek_v3", "dots1", "solar_open", "afmoe"] as const)(
    "names a shared expert of a width that no stock class of %s has",
    (name) => {
      const options = TINY_FAMILIES[name];
      const other = (layer: Partial<LayerSpec>): Partial<LayerSpec> =>
        layer.experts === undefined ? layer : { ...layer, experts: { ...layer.experts, shared: 7 } };
      const [transformers] = answers({ ...options, layers: options.layers!.map(other) });
      expect(transformers).toMatch(
        new RegExp(`no stock class of ${name} has a shared expert of 7 neurons beside others of \\d[);]`),
      );
      const biased = options.layers!.map((layer) => ({ ...other(layer), biases: RECOVERED }));
      expect(answers({ ...options, layers: biased })[0]).toContain("has these widths, heads and biases");
    },
  );

  test("knows that vLLM computes GELU in the experts of Gemma 4's own class alone", () => {
    const gemma = TINY_FAMILIES["gemma4 with experts"];
    // As many query heads in all layers.
    const options = { ...gemma, layers: gemma.layers!.with(-1, { ...gemma.layers!.at(-1), groupSize: 4 }) };
    const own = programSupport(tinySpec(options));
    expect([own.transformers, own.vllm]).toEqual([
      "yes (Gemma4ForCausalLM; version 5.5 or later)",
      "yes (Gemma4ForCausalLM)",
    ]);
    const layers = options.layers.with(0, { ...options.layers[0], neurons: 9 });
    expect(programSupport(tinySpec({ ...options, layers }))).toMatchObject({
      transformers: "with trust_remote_code (layers differ in width; version 5.5 or later)",
      vllm: "no (it computes SiLU in experts)",
      "llama.cpp": expect.stringContaining("as gemma4, padded with zeros"),
    });
    const silu = programSupport(tinySpec({ ...options, activation: "silu" }));
    expect(silu.vllm).toBe("no (it computes GELU in experts)");
  });

  test("knows that classes of shared experts have them as wide as several others", () => {
    const { glm4_moe: glm, ernie4_5_moe: ernie, lfm2_moe: lfm2 } = TINY_FAMILIES;
    const stems = ["Glm4Moe", "Ernie4_5_Moe", "Lfm2Moe"];
    expect([glm, ernie, lfm2].map(answers)).toEqual(stems.map((stem) => same(`yes (${stem}ForCausalLM)`)));
    const layers = glm.layers!.map((layer) => (layer.experts ? { ...layer, neurons: 9 } : layer));
    const reason = "no stock class of glm4_moe has a shared expert of 4 neurons beside others of 3";
    expect(answers({ ...glm, layers })).toEqual(same(`with trust_remote_code (${reason})`));
  });

  test("knows what vLLM's gpt-oss takes for granted, and that it runs others through transformers", () => {
    const { gpt_oss: gptOss } = TINY_FAMILIES;
    const own = "yes (GptOssForCausalLM)";
    expect(answers(gptOss)).toEqual(same(own));
    const withAll = (change: Partial<LayerSpec>): TinyModelOptions => {
      return { ...gptOss, layers: gptOss.layers!.map((layer) => ({ ...layer, ...change })) };
    };
    const without = (reason: string): readonly string[] => {
      return [own, `with --model-impl transformers (its GptOssForCausalLM ${reason})`];
    };
    const plain = { theta: 150_000, rotaryDim: 4, scaling: null };
    expect(answers(withAll({ rope: plain }))).toEqual(without("scales RoPE by YaRN alone"));
    const ofExperts = ["gate_proj", "up_proj", "down_proj"] as const;
    expect(answers(withAll({ biases: ofExperts }))).toEqual(without("wants biases in attention"));
    const windows = "gives sliding windows to the first layer and each other one after it";
    expect(answers(withAll({ window: 16 }))).toEqual(without(windows));
    const groups = gptOss.layers!.map((layer, index) => ({ ...layer, kvGroups: 1 + (index % 2) }));
    const ours = "with trust_remote_code (layers differ in width)";
    expect(answers({ ...gptOss, layers: groups })).toEqual(same(ours));
    const widths = gptOss.layers!.map((layer, index) => ({ ...layer, neurons: 12 - 3 * index }));
    expect(answers({ ...gptOss, layers: widths })).toEqual([
      ours,
      "no (it has one width for the experts of all layers)",
    ]);
  });

  test("knows that vLLM's Llama 4 has no biases in attention", () => {
    const llama4 = { family: "llama4_text", qkNorm: "unweighted" } as const;
    expect(answers(llama4)).toEqual(same("yes (Llama4ForCausalLM)"));
    expect(answers({ ...llama4, layers: [{ biases: ["q_proj", "k_proj", "v_proj", "o_proj"] }] })).toEqual([
      "yes (Llama4ForCausalLM)",
      "with --model-impl transformers (its Llama4ForCausalLM ignores biases)",
    ]);
  });

  test("knows that vLLM runs Llama 4 with experts in its own class alone, one of them for a token", () => {
    const routing = { count: 2, active: 1, normalised: false, sigmoid: true, weighsInput: true } as const;
    const sparse = { neurons: 12, experts: { ...routing, shared: 6, sharedUngated: true } } as const;
    const of = (...layers: readonly Partial<LayerSpec>[]): unknown =>
      answers({ family: "llama4_text", qkNorm: "unweighted", layers });
    expect(of({}, sparse, {}, sparse)).toEqual(same("yes (Llama4ForCausalLM)"));
    const lacking = "no (it has no class for these widths, heads and biases)";
    expect(of(sparse, {}, sparse)).toEqual(["yes (Llama4ForCausalLM)", lacking]);
    expect(of({ ...sparse, experts: { ...sparse.experts, active: 2 } })).toEqual([
      "yes (Llama4ForCausalLM)",
      lacking,
    ]);
    expect(of({ ...sparse, neurons: 10 })).toEqual([
      "with trust_remote_code (no stock class of llama4_text has a shared expert of 6 neurons beside others of 5)",
      lacking,
    ]);
  });

  test("knows that vLLM runs Qwen 3.5 in its own class alone, which has no biases in attention", () => {
    const qwen: TinyModelOptions = {
      family: "qwen3_5_text",
      qkNorm: "head",
      normOffset: 1,
      gatedAttention: "q_proj",
      layers: [tinyDelta(), {}],
    };
    const none = "no (it has no class for these widths, heads and biases)";
    expect(answers(qwen)).toEqual([
      "yes (Qwen3_5ForCausalLM; version 5.2 or later)",
      "yes (Qwen3_5ForCausalLM)",
    ]);
    for (const biases of [["q_proj", "k_proj", "v_proj"], ["o_proj"]] as const)
      expect(answers({ ...qwen, layers: [tinyDelta(), { biases }] })).toEqual([
        "yes (Qwen3_5ForCausalLM; version 5.2 or later)",
        none,
      ]);
    expect(answers({ ...qwen, layers: [tinyDelta({}, 5), {}] })).toEqual([
      "with trust_remote_code (layers differ in width; version 5.2 or later)",
      none,
    ]);
  });

  test("knows that vLLM runs Granite 4 in its own class alone, whose heads fill the hidden state", () => {
    const granite = { family: "granitemoehybrid", residualScale: 0.5, logitDivisor: 3 };
    const full = { groupSize: 1, kvGroups: 2, rope: null };
    for (const biases of [[], ["o_proj"]] as const)
      expect(answers({ ...granite, layers: [tinyMamba(), { ...full, biases }] })).toEqual(
        same("yes (GraniteMoeHybridForCausalLM)"),
      );
    const none = "no (it has no class for these widths, heads and biases)";
    const file = "with trust_remote_code";
    const stock = "no stock class of granitemoehybrid has these widths, heads and biases";
    for (const changes of [{ kvGroups: 1 }, { biases: ["down_proj"] }] as const) {
      expect(answers({ ...granite, layers: [tinyMamba(), { ...full, ...changes }] })).toEqual([
        `${file} (${stock})`,
        none,
      ]);
    }
    expect(answers({ ...granite, layers: [tinyMamba({}, 5), full] })).toEqual([
      `${file} (layers differ in width)`,
      none,
    ]);
  });

  test("knows that vLLM runs GPT-J in its own class alone, which wants an output matrix of its own", () => {
    const block = { groupSize: 1, biases: ["up_proj", "down_proj"] } as const;
    const gptj: TinyModelOptions = {
      family: "gptj",
      gated: false,
      activation: "gelu_tanh",
      parallel: true,
      norms: "shared",
      normType: "layer",
      normParameters: "weight_and_bias",
      headBias: true,
      layers: [block, block],
    };
    expect(answers({ ...gptj, tiedEmbeddings: false })).toEqual(same("yes (GPTJForCausalLM)"));
    expect(answers(gptj)).toEqual([
      "yes (GPTJForCausalLM)",
      "no (it has no class for these widths, heads and biases)",
    ]);
  });

  test("knows that vLLM cannot run GPT-Neo, in stock classes and in our modelling file", () => {
    const block = { groupSize: 1, rope: null, biases: ["o_proj", "up_proj", "down_proj"] } as const;
    const neo: TinyModelOptions = {
      family: "gpt_neo",
      gated: false,
      activation: "gelu_tanh",
      learnedPositions: { offset: 0 },
      normType: "layer",
      normParameters: "weight_and_bias",
      attentionScale: 1,
      layers: [block, block],
    };
    const no = "no (it has no class for gpt_neo)";
    expect(answers(neo)).toEqual(["yes (GPTNeoForCausalLM)", no]);
    const uneven = { ...neo, layers: [block, { ...block, neurons: 3 }] };
    expect(answers(uneven)).toEqual(["with trust_remote_code (layers differ in width)", no]);
  });

  test("knows that vLLM has no class for MPT, and runs BLOOM and Falcon in its own classes alone", () => {
    expect(answers({ ...TINY_FAMILIES.mpt, layers: TINY_FAMILIES.mpt.layers!.map(fourTimes) })).toEqual([
      "yes (MptForCausalLM)",
      "no (it has no class for mpt)",
    ]);
    const bloom = { ...TINY_FAMILIES.bloom, layers: TINY_FAMILIES.bloom.layers!.map(fourTimes) };
    const none = "no (it has no class for these widths, heads and biases)";
    expect(answers({ ...bloom, tiedEmbeddings: true })).toEqual(same("yes (BloomForCausalLM)"));
    expect(answers({ ...bloom, tiedEmbeddings: false })).toEqual(["yes (BloomForCausalLM)", none]);
    expect(answers(TINY_FAMILIES.bloom)).toEqual([
      "with trust_remote_code (no stock class of bloom has these widths, heads and biases)",
      none,
    ]);
    const falcon = TINY_FAMILIES.falcon;
    expect(answers({ ...falcon, layers: falcon.layers!.map(fourTimes) })).toEqual(
      same("yes (FalconForCausalLM)"),
    );
    expect(answers(falcon)).toEqual(["yes (FalconForCausalLM)", none]);
  });

  test("knows that vLLM runs GPT-2 in its own class alone", () => {
    const biases = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"] as const;
    const block = { groupSize: 1, rope: null, biases } as const;
    const gpt2: TinyModelOptions = {
      family: "gpt2",
      gated: false,
      activation: "gelu_tanh",
      learnedPositions: { offset: 0 },
      normType: "layer",
      normParameters: "weight_and_bias",
      layers: [block, block],
    };
    expect(answers(gpt2)).toEqual(same("yes (GPT2LMHeadModel)"));
    const uneven = { ...gpt2, layers: [block, { ...block, neurons: 3 }] };
    expect(answers(uneven)).toEqual([
      "with trust_remote_code (layers differ in width)",
      "no (it has no class for these widths, heads and biases)",
    ]);
  });

  test("knows that vLLM reads the head size of Nemotron and runs transformers' classes of Arcee, StarCoder 2, Phi and GPT-NeoX", () => {
    const bare = { gated: false, normType: "layer", normParameters: "weight_and_bias" } as const;
    const wide = { layers: [{ kvGroups: 3, groupSize: 2 }] };
    expect(answers({ family: "nemotron", ...bare, ...wide, normOffset: 1, activation: "relu2" })).toEqual(
      same("yes (NemotronForCausalLM)"),
    );
    expect(answers({ family: "starcoder2", ...bare, ...wide, activation: "gelu_tanh" })).toEqual(
      same("yes (Starcoder2ForCausalLM)"),
    );
    const shared = { parallel: true, norms: "shared", headBias: true } as const;
    expect(answers({ family: "phi", ...bare, ...wide, ...shared })).toEqual(same("yes (PhiForCausalLM)"));
    const neox = { family: "gpt_neox", ...bare, activation: "gelu" } as const;
    expect(answers({ ...neox, layers: [{ groupSize: 1 }] })).toEqual(same("yes (GPTNeoXForCausalLM)"));
    const reason = "no stock class of gpt_neox has these widths, heads and biases";
    expect(answers({ ...neox, layers: [{ kvGroups: 1, groupSize: 1 }] })).toEqual(
      same(`with trust_remote_code (${reason})`),
    );
    const arcee = { family: "arcee", gated: false, activation: "relu2" } as const;
    expect(answers({ ...arcee, layers: [{ kvGroups: 4, groupSize: 2 }] })).toEqual(
      same("yes (ArceeForCausalLM)"),
    );
    expect(answers({ ...arcee, layers: [{ kvGroups: 3, groupSize: 1 }] })).toEqual(
      same("with trust_remote_code (no stock class of arcee has these widths, heads and biases)"),
    );
  });

  test("names no program for layers that no configuration describes", () => {
    const rope = (theta: number) => ({ theta, rotaryDim: 4, scaling: null });
    const odd = { layers: [{ rope: rope(10) }, { rope: rope(20) }] };
    expect(answers(odd)).toEqual(same("no (config.json cannot describe these layers)"));
  });

  test("knows a GGUF file from a directory", () => {
    const answer = (options: TinyModelOptions, architecture: string) => {
      const {
        transformers,
        vllm,
        "llama.cpp": llamaCpp,
      } = programSupport(tinySpec(options), { architecture });
      return [transformers, vllm, llamaCpp];
    };
    const exported = "after gprune export --format hf (LlamaForCausalLM)";
    expect(answer({ layers: [{ window: 8 }] }, "llama").at(-1)).toBe(
      "yes (as llama, ignoring the sliding window of 8 tokens)",
    );
    expect(answer({}, "llama")).toEqual([exported, exported, "yes (as llama)"]);
    const mixtral = "after gprune export --format hf (MixtralForCausalLM)";
    expect(answer({ family: "mixtral", layers: TINY_FAMILIES.mixtral.layers!.slice(0, 1) }, "llama")).toEqual(
      [mixtral, mixtral, "yes (as llama)"],
    );
    const uneven = { layers: [{}, { neurons: 5 }] };
    const directory = "after gprune export --format hf, with trust_remote_code (layers differ in width)";
    expect(answer(uneven, "deci")).toEqual([directory, directory, "yes (as deci)"]);
    const not = "no (llama does not support layers of different widths)";
    expect(answer(uneven, "llama")).toEqual([
      directory,
      directory,
      `${not}, but after gprune export (as deci)`,
    ]);
  });

  test("names the architecture of llama.cpp, what it adds or leaves out, or what is in the way", () => {
    const answer = (options: TinyModelOptions): string => programSupport(tinySpec(options))["llama.cpp"];
    expect(answer({})).toBe("after gprune export (as llama)");
    expect(answer({ family: "mistral", layers: [{ window: 8 }] })).toBe(
      "after gprune export (as llama, ignoring the sliding window of 8 tokens)",
    );
    const uneven = { family: "qwen3", qkNorm: "head", layers: [{ neurons: 3 }, {}] } as const;
    expect(answer(uneven)).toBe("after gprune export (as openelm)");
    expect(answer({ ...uneven, tiedEmbeddings: false })).toBe(
      "after gprune export (as qwen3, padded with zeros, 6 % more parameters)",
    );
    expect(answer({ family: "qwen3", qkNorm: "head", layers: [{ biases: ["down_proj"] }] })).toBe(
      "no (qwen3 does not support biases at down_proj; openelm does not support biases at down_proj)",
    );
  });
});
