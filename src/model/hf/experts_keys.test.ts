/** Keys of classes with experts, read and written. */
import { describe, expect, test } from "vitest";
import { tinySpec } from "../../../test/tiny_model.ts";
import type { JsonObject } from "../../io/files/json.ts";
import type { LayerSpec, ModelSpec } from "../spec.ts";
import { readConfig } from "./config.ts";
import { writeConfig } from "./form.ts";
import { plainConfig } from "./plain_config.ts";

const CONFIG = {
  ...{ hidden_size: 8, intermediate_size: 12, num_hidden_layers: 2, vocab_size: 16 },
  ...{ num_attention_heads: 2, num_key_value_heads: 2, num_experts_per_tok: 2 },
};
const MIXTRAL = { ...CONFIG, model_type: "mixtral", num_local_experts: 4 };
const QWEN3 = {
  ...{ ...CONFIG, model_type: "qwen3_moe", num_hidden_layers: 4, head_dim: 4 },
  ...{ num_experts: 4, moe_intermediate_size: 3 },
};

const QWEN35 = { ...QWEN3, model_type: "qwen3_5_moe_text", head_dim: 8 };

const read = (config: JsonObject): ModelSpec => readConfig(config, "config.json");
const expertsOf = (config: JsonObject): readonly (LayerSpec["experts"] | null)[] =>
  read(config).layers.map(({ experts = null }) => experts);

describe("experts", () => {
  test("are in every layer, with the neurons of all of them, and their numbers divided as in the class", () => {
    expect(read(MIXTRAL).layers.map(({ neurons }) => neurons)).toEqual([48, 48]);
    const two = { count: 4, active: 2 };
    expect(expertsOf(MIXTRAL)[0]).toEqual({ ...two, normalised: true });
    expect(expertsOf({ ...MIXTRAL, norm_topk_prob: false })[0]).toEqual({ ...two, normalised: true });
    const olmoe = { ...CONFIG, model_type: "olmoe", num_experts: 4 };
    expect(expertsOf(olmoe)[0]).toEqual({ ...two, normalised: false });
    expect(expertsOf({ ...olmoe, norm_topk_prob: true })[0]).toEqual({ ...two, normalised: true });
  });

  test("are as many as the class assumes where the file does not say", () => {
    const { num_local_experts: _, num_experts_per_tok: __, ...silent } = MIXTRAL;
    expect(expertsOf(silent)[0]).toEqual({ count: 8, active: 2, normalised: true });
    expect(expertsOf({ ...QWEN3, shared_expert_intermediate_size: 0 })).toEqual(expertsOf(QWEN3));
  });

  test("are not in layers that Qwen3 MoE leaves dense", () => {
    const widths = (config: JsonObject): readonly number[] =>
      read(config).layers.map(({ neurons }) => neurons);
    expect(widths(QWEN3)).toEqual([12, 12, 12, 12]);
    expect(expertsOf({ ...QWEN3, decoder_sparse_step: 2 }).map((experts) => experts !== null)).toEqual([
      ...[false, true, false, true],
    ]);
    const some = { ...QWEN3, mlp_only_layers: [1], moe_intermediate_size: 5 };
    expect(widths(some)).toEqual([20, 12, 20, 20]);
    expect(expertsOf({ ...some, mlp_only_layers: null }).includes(null)).toBe(false);
  });

  test("may be counted under either key, but not as two numbers", () => {
    const { num_local_experts: count, ...rest } = MIXTRAL;
    expect(expertsOf({ ...rest, num_experts: count })).toEqual(expertsOf(MIXTRAL));
    expect(expertsOf({ ...MIXTRAL, num_experts: count })).toEqual(expertsOf(MIXTRAL));
    expect(() => read({ ...MIXTRAL, num_experts: 5 })).toThrow(
      "expected num_local_experts and num_experts alike, got 4 and 5",
    );
    // The class of Granite MoE knows one key.
    expect(expertsOf({ ...MIXTRAL, model_type: "granitemoe", num_experts: 5 })[0]?.count).toBe(4);
  });

  test("are refused if a token would have more than there are", () => {
    expect(() => read({ ...MIXTRAL, num_experts_per_tok: 5 })).toThrow(
      "expected num_experts_per_tok of at most 4, the number of experts, got 5",
    );
  });

  test("have windows in Qwen3 MoE where the file says that they are used, and so it is written", () => {
    const windowsOf = (config: JsonObject): readonly unknown[] =>
      read(config).layers.map(({ window }) => window);
    const config = { ...QWEN3, sliding_window: 7 };
    expect(windowsOf(config)).toEqual([null, null, null, null]);
    expect(windowsOf({ ...config, use_sliding_window: false })).toEqual([null, null, null, null]);
    const used = { ...config, use_sliding_window: true };
    expect(windowsOf(used)).toEqual([7, 7, 7, 7]);
    expect(writeConfig(read(used), "float32")).toMatchObject({ sliding_window: 7, use_sliding_window: true });
  });

  test("are computed one by one where their widths are none that grouped products take", () => {
    const written = (neurons: number): unknown => {
      const experts = { count: 4, active: 2, normalised: true };
      const spec = tinySpec({ family: "mixtral", layers: [{ neurons: 4 * neurons, experts }] });
      return writeConfig(spec, "bfloat16").experts_implementation;
    };
    expect(written(16)).toBeUndefined();
    expect(written(12)).toBe("eager");
  });

  test("have one of all tokens beside them in Qwen2 MoE and Qwen 3.5 MoE, as wide as the file or the class says", () => {
    const qwen2 = { ...QWEN3, model_type: "qwen2_moe", shared_expert_intermediate_size: 7 };
    const own = { count: 4, active: 2, normalised: false };
    expect(expertsOf(qwen2)[0]).toEqual({ ...own, shared: 7 });
    expect(expertsOf({ ...qwen2, norm_topk_prob: true })[0]).toEqual({ ...own, normalised: true, shared: 7 });
    expect(expertsOf({ ...qwen2, shared_expert_intermediate_size: null })[0]?.shared).toBe(5632);
    expect(expertsOf({ ...QWEN35, norm_topk_prob: false })).toEqual(
      Array(4).fill({ ...own, normalised: true, shared: 512 }),
    );
    // Some files of Qwen3 MoE have the key.
    expect(expertsOf({ ...QWEN3, shared_expert_intermediate_size: 0 })[0]).toEqual(own);
    expect(() => read({ ...qwen2, shared_expert_intermediate_size: 0 })).toThrow(
      expect.objectContaining({ code: "BAD_CONFIG" }),
    );
  });

  test("are in all layers of a Qwen 3.5 MoE, with linear attention or without, and of one width", () => {
    const { layers } = read({
      ...QWEN35,
      mlp_only_layers: [0],
      decoder_sparse_step: 2,
      intermediate_size: 99,
    });
    expect(layers.map(({ mixer }) => mixer !== undefined)).toEqual([true, true, true, false]);
    expect(layers.map(({ neurons }) => neurons)).toEqual([12, 12, 12, 12]);
    const { moe_intermediate_size: _, ...silent } = QWEN35;
    expect(read(silent).layers[0]!.neurons).toBe(4 * 512);
    const text = { model_type: "qwen3_5_moe", vision_config: {}, text_config: QWEN35 };
    expect(read(plainConfig(text) as JsonObject).layers).toEqual(read(QWEN35).layers);
  });

  test("are refused in a Qwen2 MoE that has windows, or no biases on queries", () => {
    const qwen2 = { ...QWEN3, model_type: "qwen2_moe" };
    const full = Array(4).fill("full_attention");
    const unused = { sliding_window: 0, use_sliding_window: false, layer_types: full };
    expect(read({ ...qwen2, ...unused })).toEqual(read(qwen2));
    expect(read({ ...qwen2, ...unused, sliding_window: 32_768 })).toEqual(read(qwen2));
    for (const [config, message] of [
      [{ use_sliding_window: true }, "expected use_sliding_window false, got true"],
      [
        { ...unused, sliding_window: 7, layer_types: full.with(1, "sliding_attention") },
        "gives layer 1 a window",
      ],
      [{ qkv_bias: false }, "expected qkv_bias true, got false"],
    ] as const)
      expect(() => read({ ...qwen2, ...config })).toThrow(message);
  });

  test.each(["qwen2_moe", "qwen3_moe"])(
    "of %s may be in no layer at all, and so it is written",
    (model_type) => {
      const spec = read({ ...QWEN3, model_type, mlp_only_layers: [0, 1, 2, 3] });
      expect(spec.layers.every(({ experts, neurons }) => experts === undefined && neurons === 12)).toBe(true);
      expect(readConfig(writeConfig(spec, "float32"), "config.json")).toEqual(spec);
    },
  );

  test.each(["qwen2_moe", "qwen3_5_moe_text"])("of %s are written so that they come back", (model_type) => {
    const spec = read({ ...QWEN35, model_type, shared_expert_intermediate_size: 7 });
    const written = writeConfig(spec, "float32");
    expect(written).toMatchObject({ shared_expert_intermediate_size: 7, moe_intermediate_size: 3 });
    expect(readConfig(written, "config.json")).toEqual(spec);
  });

  test("are written so that they come back", () => {
    const spec = read({ ...QWEN3, mlp_only_layers: [0, 2], norm_topk_prob: true });
    const written = writeConfig(spec, "float32");
    expect(written).toMatchObject({ num_experts: 4, moe_intermediate_size: 3, mlp_only_layers: [0, 2] });
    expect(readConfig(written as JsonObject, "config.json")).toEqual(spec);
  });
});
