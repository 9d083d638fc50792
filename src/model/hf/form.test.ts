import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { GEMMA, GEMMA1, GEMMA2, GRANITE, LLAMA, QWEN, read, SMOLLM3 } from "../../../test/family_configs.ts";
import { TINY_FAMILIES } from "../../../test/tiny_families.ts";
import { type TinyModelOptions, tinySpec } from "../../../test/tiny_model.ts";
import { PROJECTIONS } from "../projections.ts";
import { hasUniformWidths, type LayerSpec, type ModelSpec } from "../spec.ts";
import { configText } from "./config_writer.ts";
import { findHfForm, hfForm, writeConfig } from "./form.ts";

describe("writeConfig", () => {
  const widths = fc.record({
    neurons: fc.integer({ min: 1, max: 64 }),
    kvGroups: fc.integer({ min: 1, max: 6 }),
    groupSize: fc.integer({ min: 1, max: 4 }),
  });

  const layers = fc.array(widths, { minLength: 1, maxLength: 5 });
  const biases = fc.subarray([...PROJECTIONS]);

  test("writes what readConfig reads, for widths of every kind", () => {
    fc.assert(
      fc.property(layers, fc.boolean(), (widthsOfLayers, tiedEmbeddings) => {
        const spec = {
          ...tinySpec({ layers: widthsOfLayers }),
          tiedEmbeddings,
          extra: { eos_token_id: [1, 2] },
        };
        const config = writeConfig(spec, "float16");
        expect({ ...read(config), family: "llama" }).toEqual(spec);
        const haveSameGroups = new Set(widthsOfLayers.map(({ groupSize }) => groupSize)).size === 1;
        expect("per_layer_config" in config).toBe(!hasUniformWidths(spec) || !haveSameGroups);
      }),
    );
  });

  test.each(["gpt_neox", "gpt2", "opt"])(
    "refuses query heads in groups for %s, whose class has none",
    (family) => {
      const spec = read({ ...LLAMA, n_embd: 32, n_head: 4, n_layer: 1, ffn_dim: 48, model_type: family });
      const grouped = {
        ...spec,
        layers: spec.layers.map((layer) => ({ ...layer, kvGroups: 2, groupSize: 2 })),
      };
      expect(findHfForm(spec)).not.toBeNull();
      expect(findHfForm(grouped)).toBeNull();
      expect(() => hfForm(grouped)).toThrow(expect.objectContaining({ code: "UNSUPPORTED" }));
    },
  );

  test.each(Object.entries(TINY_FAMILIES))(
    "%s has the same spec in any form that is found for fewer neurons and KV groups, however many in which layers",
    (_, options) => {
      const dense = tinySpec(options);
      const removed = fc.array(fc.tuple(fc.nat(2), fc.nat(2)), {
        minLength: dense.layers.length,
        maxLength: dense.layers.length,
      });
      const uniform = fc.tuple(fc.nat(2), fc.nat(2)).map((same) => dense.layers.map(() => same));
      fc.assert(
        fc.property(fc.oneof(uniform, removed), (cuts) => {
          const spec = { ...dense, layers: dense.layers.map((layer, index) => fewer(layer, cuts[index]!)) };
          const form = findHfForm(spec);
          if (form === null) return;
          const widths = ({ layers }: ModelSpec) =>
            layers.map(({ neurons, kvGroups }) => [neurons, kvGroups]);
          expect(widths(read(writeConfig(spec, "float32", form)))).toEqual(widths(spec));
        }),
        { numRuns: 30 },
      );
    },
  );

  test("has our class for a Gemma 4 whose kinds of layers keep other numbers of query heads", () => {
    const { layers: [windowed, , full] = [], ...options } = TINY_FAMILIES["gemma4 with keys as values"];
    const layers = (kvGroups: number) => [
      { ...windowed, kvGroups, groupSize: 1 },
      { ...full, kvGroups: 1, groupSize: 4 },
    ];
    expect(findHfForm(tinySpec({ ...options, layers: layers(4) }))?.remoteCode).toBe(false);
    expect(findHfForm(tinySpec({ ...options, layers: layers(3) }))?.remoteCode).toBe(true);
  });

  test.each(["bloom", "mpt", "gpt2"] as const)(
    "has a form for %s with heads of an odd size, which cannot turn, in widths of every kind",
    (name) => {
      const sizes = { ...TINY_FAMILIES[name], hiddenSize: 10, headDim: 5, tiedEmbeddings: false };
      const dense = tinySpec(sizes);
      for (const neurons of [40, 7]) {
        const spec = { ...dense, layers: dense.layers.map((layer) => ({ ...layer, neurons })) };
        expect(read(writeConfig(spec, "float32")).headDim).toBe(5);
      }
    },
  );

  test("loses no bias, and adds one only where the class has a flag for several", () => {
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

  test("writes heads that are rotated in part so that the part comes back", () => {
    for (let headDim = 2; headDim <= 256; headDim += 2) {
      for (let rotaryDim = 2; rotaryDim <= headDim; rotaryDim += 2) {
        const spec = tinySpec({ headDim, layers: [{ rope: { theta: 10_000, rotaryDim, scaling: null } }] });
        expect(read(writeConfig(spec, "float32")).layers[0]!.rope?.rotaryDim, `${rotaryDim}/${headDim}`).toBe(
          rotaryDim,
        );
      }
    }
  });

  test.each([
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

  test("announces a bias that one layer has", () => {
    const biased = tinySpec({ layers: [{}, { biases: ["o_proj"] }] });
    const config = writeConfig(biased, "float32");
    expect(config).toMatchObject({ attention_bias: true, mlp_bias: false });
    expect(read(config).layers[0]!.biases).toEqual(["q_proj", "k_proj", "v_proj", "o_proj"]);
  });

  test("names our modelling file, and a model type that no stock class takes, for layers that differ", () => {
    const biases = ["o_proj"] as const;
    const config = writeConfig(tinySpec({ layers: [{}, { neurons: 5, biases }] }), "float32");
    expect(config).toMatchObject({
      model_type: "gprune_llama",
      architectures: ["GpruneLlamaForCausalLM"],
      auto_map: {
        AutoConfig: "modeling_gprune.GpruneLlamaConfig",
        AutoModel: "modeling_gprune.GpruneLlamaModel",
        AutoModelForCausalLM: "modeling_gprune.GpruneLlamaForCausalLM",
      },
      intermediate_size: 6,
      per_layer_config: { 0: { intermediate_size: 6 }, 1: { intermediate_size: 5 } },
      projection_biases: [[], biases],
    });
  });

  test("writes floats of Python with a decimal point, and nothing else", () => {
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

  test("names a window for a Gemma 3 without windows, whose class makes a mask for them", () => {
    const config = { ...GEMMA, num_hidden_layers: 1, layer_types: ["full_attention"] };
    const written = writeConfig(read(config), "float32");
    expect(written).toMatchObject({ sliding_window: 4096, layer_types: ["full_attention"] });
    expect(read(written).layers.map(({ window }) => window)).toEqual([null]);
    expect(writeConfig(read({ ...QWEN, use_sliding_window: false }), "float32").sliding_window).toBeNull();
  });

  test("names the activation of Gemma 2 twice, since vLLM wants both", () => {
    const name = "gelu_pytorch_tanh";
    expect(writeConfig(read(GEMMA2), "float32")).toMatchObject({ hidden_act: name, hidden_activation: name });
  });

  test("refuses layers that are not rotated where the family has no key for them", () => {
    expect(() => writeConfig(tinySpec({ layers: [{}, { rope: null }] }), "float32")).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED" }),
    );
  });

  test("refuses layers that it has no keys for", () => {
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
  const scaling = { type: "linear", factor: 2 } as const;
  const window = { window: 8 };
  const granite = { family: "granite", residualScale: 0.22, logitDivisor: 6 };

  test.each<[string, TinyModelOptions, string]>([
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
    ["Ministral's own class", { family: "ministral", layers: [{}, window] }, "ministral"],
    [
      "our modelling file for one with biases",
      { family: "ministral", layers: [{}, { ...window, biases: recovered }] },
      "gprune_ministral",
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
    [
      "Llama for a Phi-3 with scaled rotary frequencies, which its class refuses",
      { family: "phi3", layers: [{ rope: { theta: 10_000, rotaryDim: 4, scaling } }] },
      "llama",
    ],
  ])("gives %s", (_, options, expected) => {
    expect(writeConfig(tinySpec(options), "float32").model_type).toBe(expected);
  });

  test("gives nothing for heads rotated in part with scaled frequencies", () => {
    const rope = { theta: 10_000, rotaryDim: 2, scaling };
    for (const family of ["phi3", "qwen2"]) {
      expect(findHfForm(tinySpec({ family, layers: [{ rope }] })), family).toBeNull();
    }
  });
});

/** A layer without so many neurons (of each expert, if it has experts) and KV groups, of which one stays. */
function fewer(layer: LayerSpec, [neurons, groups]: readonly [number, number]): LayerSpec {
  const kvGroups = Math.max(1, layer.kvGroups - groups);
  const { mixer, slopes } = layer;
  return {
    ...layer,
    neurons: layer.neurons - neurons * (layer.experts?.count ?? 1),
    ...(mixer === undefined && { kvGroups }),
    ...(slopes !== undefined && { slopes: slopes.slice(0, kvGroups * layer.groupSize) }),
  };
}
