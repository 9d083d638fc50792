import { describe, expect, test } from "vitest";
import { LLAMA, read } from "../../../test/family_configs.ts";
import type { ModelSpec } from "../spec.ts";
import { hfForm, writeConfig } from "./form.ts";

const [S, F] = ["sliding_attention", "full_attention"] as const;
const GEMMA3N = {
  model_type: "gemma3n_text",
  head_dim: 8,
  num_hidden_layers: 5,
  layer_types: [S, F, S, S, F],
  num_kv_shared_layers: 2,
  hidden_size_per_layer_input: 4,
  vocab_size_per_layer_input: 9,
  laurel_rank: 3,
  activation_sparsity_pattern: [0.95, 0.5, 0, 0, 0],
};

function gemma3n(changes: object = {}): ModelSpec {
  return read({ ...LLAMA, ...GEMMA3N, ...changes });
}

/** The model with other neurons in some layers. */
function withNeurons(neurons: readonly number[]): ModelSpec {
  const spec = gemma3n();
  return { ...spec, layers: spec.layers.map((layer, index) => ({ ...layer, neurons: neurons[index]! })) };
}

/** What its config.json says. */
function reread(spec: ModelSpec): ModelSpec {
  return read(writeConfig(spec, "float32"));
}

describe("Gemma 3n", () => {
  test("has streams, a learned residual, inputs of layers and cuts of gates", () => {
    const spec = gemma3n();
    expect(spec.updates).toEqual({ streams: 4, residualRank: 3 });
    expect(spec.perLayerInputs).toEqual({ size: 4, vocabSize: 9 });
    expect(spec.layers.map(({ gateCut }) => gateCut)).toEqual([0.95, 0.5, undefined, undefined, undefined]);
    expect(gemma3n({ altup_num_inputs: 2 }).updates?.streams).toBe(2);
  });

  test("shares the keys of the last layer of each type before those that have none", () => {
    expect(gemma3n().layers.map(({ kvSharing }) => kvSharing)).toEqual([
      undefined,
      { role: "source" },
      { role: "source" },
      { role: "reader", source: 2 },
      { role: "reader", source: 1 },
    ]);
    expect(() => gemma3n({ num_kv_shared_layers: 4 })).toThrow(
      "config.json: num_kv_shared_layers: expected a layer with full_attention before the last 4",
    );
  });

  test("has a width for all layers or for each", () => {
    const listed = gemma3n({ intermediate_size: [8, 16, 8, 24, 8] });
    expect(listed.layers.map(({ neurons }) => neurons)).toEqual([8, 16, 8, 24, 8]);
    expect(gemma3n({ intermediate_size: 8 }).layers.map(({ neurons }) => neurons)).toEqual([8, 8, 8, 8, 8]);
    expect(
      read({ ...LLAMA, ...GEMMA3N, intermediate_size: undefined, num_kv_shared_layers: 0 }).layers[0]!
        .neurons,
    ).toBe(16_384);
  });

  test("has the defaults of its class", () => {
    const { layer_types: _, activation_sparsity_pattern: __, ...others } = GEMMA3N;
    const { layers, updates, perLayerInputs } = read({
      ...LLAMA,
      ...others,
      num_hidden_layers: 12,
      laurel_rank: undefined,
      hidden_size_per_layer_input: undefined,
      vocab_size_per_layer_input: undefined,
    });
    expect(layers.map(({ window }) => window === null)).toEqual(
      layers.map((_, index) => index === 4 || index === 9),
    );
    expect(layers.map(({ gateCut }) => gateCut)).toEqual([...Array(10).fill(0.95), undefined, undefined]);
    expect(updates).toEqual({ streams: 4, residualRank: 64 });
    expect(perLayerInputs).toEqual({ size: 256, vocabSize: 262_144 });
    const few = read({ ...LLAMA, ...others, num_kv_shared_layers: 0 });
    expect(few.layers.map(({ gateCut }) => gateCut)).toEqual(Array(5).fill(undefined));
  });

  test.each([
    [
      "a list of types that is too short",
      { layer_types: [S, F, S] },
      "expected layer_types with an entry for every layer",
    ],
    [
      "a list of widths",
      { intermediate_size: [8, 8] },
      "expected intermediate_size with an entry for every layer",
    ],
    [
      "a list of cuts",
      { activation_sparsity_pattern: [0.95] },
      "expected activation_sparsity_pattern with an entry",
    ],
    [
      "a cut of all gates",
      { activation_sparsity_pattern: [1, 0, 0, 0, 0] },
      "activation_sparsity_pattern[0]",
    ],
    ["a single stream", { altup_num_inputs: 1 }, "altup_num_inputs"],
    ["more streams than there are names for", { altup_num_inputs: 5 }, "altup_num_inputs"],
  ])("refuses %s", (_, changes, message) => {
    expect(() => gemma3n(changes)).toThrow(expect.objectContaining({ code: "BAD_CONFIG" }));
    expect(() => gemma3n(changes)).toThrow(message);
  });

  test("is written as it is read, with neurons by layer in the stock class", () => {
    const spec = withNeurons([8, 16, 8, 24, 8]);
    expect(hfForm(spec)).toMatchObject({ remoteCode: false, family: { modelType: "gemma3n_text" } });
    expect(writeConfig(spec, "float32").intermediate_size).toEqual([8, 16, 8, 24, 8]);
    expect(reread(spec)).toEqual(spec);
    expect(writeConfig(gemma3n(), "float32").intermediate_size).toBe(LLAMA.intermediate_size);
    expect(reread(gemma3n())).toEqual(gemma3n());
  });

  test("needs the modelling file where KV groups differ, with neurons in per_layer_config", () => {
    const spec = withNeurons([8, 16, 8, 24, 8]);
    const layers = spec.layers.with(0, { ...spec.layers[0]!, kvGroups: 1 });
    const pruned = { ...spec, layers };
    expect(hfForm(pruned).remoteCode).toBe(true);
    expect(writeConfig(pruned, "float32").intermediate_size).toBe(24);
    expect(reread(pruned)).toEqual(pruned);
  });
});
