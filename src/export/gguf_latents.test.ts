/** Latent attention in GGUF files, written and read. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { YARN } from "../../test/scaled_ropes.ts";
import { TINY_FAMILIES } from "../../test/tiny_families.ts";
import { type TinyModelOptions, tinyModel } from "../../test/tiny_model.ts";
import { type GgufFile, openGguf } from "../io/formats/gguf.ts";
import type { ExpertsSpec } from "../model/experts_spec.ts";
import { architectureByName } from "../model/gguf/architectures.ts";
import { specOfGguf } from "../model/gguf/spec.ts";
import { yarnAttentionFactor } from "../model/rope_spec.ts";
import type { LayerSpec, ModelSpec } from "../model/spec.ts";
import { exportGguf } from "./gguf.ts";

const { deepseek_v2: V2, deepseek_v3: V3, glm4_moe_lite: LITE, mistral4: GROWING } = TINY_FAMILIES;

/** The architecture of a model's file. */
function nameOf({ family }: TinyModelOptions): string {
  return family === GROWING.family ? "mistral4" : "deepseek2";
}

/** Does something with the file of a model. */
async function withExported<Result>(
  options: TinyModelOptions,
  use: (file: GgufFile) => Promise<Result>,
): Promise<Result> {
  const path = join(await temporaryDirectory(), "out.gguf");
  await exportGguf(tinyModel(options), path);
  const file = await openGguf(path);
  try {
    return await use(file);
  } finally {
    await file.source.close();
  }
}

/** The options with other layers. */
function withLayers(
  options: TinyModelOptions,
  change: (layer: Partial<LayerSpec>) => object,
): TinyModelOptions {
  return { ...options, layers: options.layers!.map((layer) => ({ ...layer, ...change(layer) })) };
}

describe("a GGUF of latent attention", () => {
  test("has matrices for each head, those of keys transposed", async () => {
    const model = tinyModel(V3);
    const [keys, values] = await withExported(V3, async ({ source }) => {
      const read = (part: string) => source.read(`blk.1.${part}.weight`);
      return [await read("attn_k_b"), await read("attn_v_b")] as const;
    });
    const prefix = "model.layers.1.self_attn.";
    const kProj = await model.weights.read(`${prefix}k_proj.weight`);
    // Heads of 3 channels that do not turn, from 6 of the latent.
    expect([kProj.shape, keys.shape]).toEqual([
      [6, 6],
      [2, 6, 3],
    ]);
    const at = (head: number, rank: number, channel: number): number =>
      keys.data[(head * 6 + rank) * 3 + channel]!;
    for (let row = 0; row < 6; row++)
      for (let rank = 0; rank < 6; rank++)
        expect(at(Math.floor(row / 3), rank, row % 3)).toBe(kProj.data[row * 6 + rank]);
    const { data } = await model.weights.read(`${prefix}v_proj.weight`);
    expect([values.shape, values.data]).toEqual([[2, 3, 6], data]);
  });

  test("says how large heads and latents are, and which experts are picked", async () => {
    const metadata = await withExported(V3, async (file) => Object.fromEntries(file.metadata));
    const keys = {
      "attention.head_count": 2,
      "attention.head_count_kv": 1,
      "attention.key_length": 10,
      "attention.value_length": 6,
      "attention.key_length_mla": 7,
      "attention.value_length_mla": 3,
      "attention.kv_lora_rank": 6,
      "attention.q_lora_rank": 5,
      "rope.dimension_count": 4,
      "rope.scaling.yarn_log_multiplier": Math.fround(0.2),
      expert_group_count: 3,
      expert_group_used_count: 2,
      expert_gating_func: 2,
    };
    for (const [key, value] of Object.entries(keys)) expect(metadata[`deepseek2.${key}`], key).toBe(value);
    const plain = await withExported(V2, async (file) => Object.fromEntries(file.metadata));
    expect(plain["deepseek2.attention.q_lora_rank"]).toBeUndefined();
  });

  test("says how queries grow, and how experts are picked", async () => {
    const metadata = await withExported(GROWING, async (file) => Object.fromEntries(file.metadata));
    const keys = {
      "attention.temperature_scale": Math.fround(0.1),
      "attention.temperature_length": metadata["mistral4.rope.scaling.original_context_length"],
      "rope.scaling.yarn_log_multiplier": Math.fround(0.1),
      expert_group_used_count: 2,
      expert_weights_scale: 1.5,
    };
    for (const [key, value] of Object.entries(keys)) expect(metadata[`mistral4.${key}`], key).toBe(value);
  });

  test("says that no layer has experts, with the numbers of them that llama.cpp asks for", async () => {
    const dense = withLayers(V3, () => ({ experts: undefined, neurons: 7 }));
    const metadata = await withExported(dense, async (file) => Object.fromEntries(file.metadata));
    const keys = {
      leading_dense_block_count: 2,
      feed_forward_length: 7,
      expert_feed_forward_length: 7,
      expert_shared_count: 0,
      expert_count: undefined,
    };
    for (const [key, value] of Object.entries(keys)) expect(metadata[`deepseek2.${key}`], key).toBe(value);
  });

  const rope = { theta: 10_000, rotaryDim: 4 } as const;
  test.each<[string, TinyModelOptions, string]>([
    [
      "biases of what makes latents",
      { ...LITE, latent: { ...LITE.latent!, biases: true } },
      "biases of what makes latents",
    ],
    [
      "queries without a latent in two layers",
      { ...LITE, latent: { ...LITE.latent!, queryRank: null } },
      "queries without a latent in 2 layers",
    ],
    [
      "queries with a latent in 27 layers",
      { ...V2, latent: { ...V2.latent!, queryRank: 5 } },
      "queries with a latent in 27 layers",
    ],
    [
      "linear scaling",
      withLayers(LITE, () => ({ rope: { ...rope, scaling: { type: "linear", factor: 2 } } })),
      "scalings of rotary frequencies other than YaRN beside latents",
    ],
    [
      "YaRN that sharpens scores once",
      withLayers(LITE, () => ({ rope: { ...rope, scaling: YARN } })),
      "YaRN without mscale and mscale_all_dim, the same number, beside latents",
    ],
    [
      "groups that count by their best expert",
      withLayers(V3, ({ experts }) =>
        experts ? { experts: { ...experts, groups: { count: 3, active: 2, best: 1 } } } : {},
      ),
      "groups of experts",
    ],
    [
      "queries that grow and YaRN that sharpens scores less",
      {
        ...withLayers(GROWING, ({ rope: own }) => ({
          rope: { ...own, scaling: { ...own?.scaling, allDim: 0.5 } },
        })),
        attentionScale: 7 ** -0.5 * yarnAttentionFactor(YARN.factor, 0.5) ** 2,
      },
      "YaRN with mscale_all_dim other than 1",
    ],
  ])("is not written with %s", async (_, options, what) => {
    await expect(withExported(options, async () => null)).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining(`${nameOf(options)} does not support ${what}`),
    });
  });

  const read = (
    options: TinyModelOptions,
    changes: Readonly<Record<string, unknown>> = {},
  ): Promise<ModelSpec> =>
    withExported(options, async (file) => {
      const metadata = new Map(file.metadata);
      for (const [key, value] of Object.entries(changes)) {
        if (value === null) metadata.delete(`${nameOf(options)}.${key}`);
        else metadata.set(`${nameOf(options)}.${key}`, value as number);
      }
      const has = { experts: true, shared: false, corrected: options === V3 };
      const architecture = architectureByName(nameOf(options), { where: "out.gguf", has });
      return specOfGguf({ ...file, metadata }, architecture);
    });

  test("has the scale of scores that YaRN gives", async () => {
    const { attentionScale } = await read(V3);
    expect(attentionScale).toBe(7 ** -0.5 * yarnAttentionFactor(4, 2) ** 2);
    const weaker = await read(V3, { "rope.scaling.yarn_log_multiplier": 0.1 });
    expect(weaker.attentionScale).toBe(7 ** -0.5 * yarnAttentionFactor(4, 1) ** 2);
  });

  test("has groups of experts where routers correct scores, and some cannot be picked", async () => {
    const groupsOf = ({ layers }: ModelSpec): ExpertsSpec["groups"] => layers[1]!.experts!.groups;
    expect(groupsOf(await read(V3))).toEqual({ count: 3, active: 2, best: 2 });
    expect(groupsOf(await read(V3, { expert_group_used_count: 3 }))).toBeUndefined();
    await expect(read(V3, { expert_group_count: 4 })).rejects.toMatchObject({ code: "BAD_FILE" });
    await expect(read(V2, { expert_group_count: 3 })).rejects.toMatchObject({ code: "UNSUPPORTED" });
  });

  test.each<[Readonly<Record<string, unknown>>, string, string]>([
    [{ "attention.key_length_mla": null }, "UNSUPPORTED", "key_length_mla: expected a number, got none"],
    [{ "attention.key_length_mla": 4 }, "BAD_FILE", "expected more than 4, the channels that turn, got 4"],
    [{ "rope.dimension_count": 3 }, "BAD_FILE", "dimension_count: expected an even number, got 3"],
    [{ "rope.scaling.yarn_log_multiplier": null }, "UNSUPPORTED", "expected a positive number, got none"],
  ])("is not read with %j", async (changes, code, message) => {
    await expect(read(V3, changes)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
  });

  test("is not read with queries that grow after other numbers of tokens than YaRN's original length", async () => {
    const usual = await read(GROWING);
    expect(usual.layers[0]!.rope!.scaling).toMatchObject({ queryGrowth: 0.1, allDim: 1 });
    expect(await read(GROWING, { "attention.temperature_length": null })).toEqual(usual);
    await expect(read(GROWING, { "attention.temperature_length": 7 })).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining("temperature_length"),
    });
  });
});
