import { describe, expect, test } from "vitest";
import { GPT2, LLAMA, read } from "../../../test/family_configs.ts";
import { FAMILIES } from "../families/families.ts";
import { writeConfig } from "./form.ts";

describe("keys with other names than the usual ones", () => {
  test("are read as the class reads them", () => {
    const spec = read({
      ...GPT2,
      n_inner: null,
      n_positions: 20,
      activation_function: "relu",
      hidden_act: "silu",
      intermediate_size: 7,
    });
    expect(spec).toMatchObject({ hiddenSize: 32, headDim: 8, activation: "relu", maxPositions: 20 });
    expect(spec.layers).toHaveLength(2);
    expect(spec.layers[0]).toMatchObject({ neurons: 128, kvGroups: 4, groupSize: 1, rope: null });
    expect(read({ ...GPT2, n_inner: 40 }).layers[0]!.neurons).toBe(40);
    const { n_embd, ...usual } = GPT2;
    expect(read({ ...usual, hidden_size: n_embd, n_inner: 128 })).toEqual(read({ ...GPT2, n_inner: 128 }));
  });

  test("are overridden by those usual ones that the class takes for its own", () => {
    const spec = read({
      ...GPT2,
      num_attention_heads: 2,
      max_position_embeddings: 9,
      num_hidden_layers: null,
    });
    expect(spec).toMatchObject({ headDim: 16, maxPositions: 9 });
    expect(spec.layers).toHaveLength(2);
    expect(read({ ...GPT2, hidden_act: "relu" }).activation).toBe("gelu_tanh");
    expect(() => read({ ...GPT2, model_type: "opt", hidden_size: 32, intermediate_size: 9 })).toThrow(
      /at ffn_dim/,
    );
  });

  test("are written without the usual ones", () => {
    const written = writeConfig(read({ ...GPT2, n_inner: 40 }), "float32");
    expect(written).toMatchObject({ n_embd: 32, n_inner: 40, n_layer: 2, n_head: 4, n_positions: 1024 });
    for (const usual of ["hidden_size", "intermediate_size", "max_position_embeddings", "rope_theta"])
      expect(written).not.toHaveProperty(usual);
  });

  test("are those that errors name", () => {
    expect(() => read({ ...GPT2, n_embd: "32" })).toThrow(/at n_embd/);
    expect(() => read({ ...LLAMA, hidden_size: "32" })).toThrow(/at hidden_size/);
    expect(() => read({ ...GPT2, n_head: 5 })).toThrow(
      "config.json: expected n_embd divisible by n_head, got 6.4",
    );
  });
});

describe("settings that are not computed", () => {
  const settings = FAMILIES.flatMap(({ modelType, config: { fixedKeys } }) =>
    Object.entries(fixedKeys).map(([key, value]) => [modelType, key, value] as const),
  );

  test.each(settings)("of %s are refused: another %s than %s", (model_type, key, value) => {
    const own = {
      n_embd: 32,
      n_head: 4,
      n_layer: 2,
      ffn_dim: 48,
      full_attention_interval: 2,
      num_kv_shared_layers: 0,
    };
    const config = { ...LLAMA, model_type, num_hidden_layers: 4, ...own };
    expect(read({ ...config, [key]: value })).toEqual(read(config));
    expect(() => read({ ...config, [key]: !value })).toThrow(
      expect.objectContaining({
        code: "UNSUPPORTED",
        message: `config.json: expected ${key} ${value}, got ${!value}`,
      }),
    );
    expect(() => read({ ...LLAMA, [key]: !value })).not.toThrow();
  });
});
