import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { CAN_FILL_DISK, withFullDisk } from "../../test/file_faults.ts";
import { maxDifference } from "../../test/numbers.ts";
import { tensorsOf } from "../../test/plans.ts";
import { longrope } from "../../test/scaled_ropes.ts";
import { TINY_FAMILIES } from "../../test/tiny_families.ts";
import { type TinyModelOptions, tinyDelta, tinyMamba, tinyModel } from "../../test/tiny_model.ts";
import { GEMMA_SWITCHES, GEMMA1_SWITCHES, GEMMA2_SWITCHES } from "../../test/tiny_variants.ts";
import type { GgufDType } from "../base/choices.ts";
import type { ProgressEvent } from "../base/progress.ts";
import { openGguf } from "../io/formats/gguf.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import type { Model } from "../model/model.ts";
import { PROJECTIONS } from "../model/projections.ts";
import { type RopeSpec, YARN_DEFAULTS, yarnAttentionFactor } from "../model/rope_spec.ts";
import { memorySource } from "../tensor/memory.ts";
import { type ExportGgufOptions, exportGguf, type GgufExport } from "./gguf.ts";
import { programSupport } from "./program_support.ts";

/** The normaliser of tokenizers that replace spaces by a visible sign. */
const SIGNS = { type: "Replace", pattern: { String: " " }, content: "▁" };

const rope = (theta: number): RopeSpec => ({ theta, rotaryDim: 4, scaling: null });
const LLAMA3 = {
  theta: 10_000,
  rotaryDim: 4,
  scaling: { type: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 32 },
} as const;
const YARN = {
  ...YARN_DEFAULTS,
  type: "yarn",
  factor: 4,
  originalMaxPositions: 32,
  attentionFactor: yarnAttentionFactor(4),
} as const;
const UNEVEN = [{ neurons: 3 }, { kvGroups: 1, groupSize: 3 }, { neurons: 9, kvGroups: 3 }] as const;
const QKV = ["q_proj", "k_proj", "v_proj"] as const;
const GEMMA = {
  family: "gemma3_text",
  ...GEMMA_SWITCHES,
  logitSoftcap: 30,
} as const;
const GEMMA_LAYERS = Array.from({ length: 7 }, (_, layer) =>
  layer === 5 ? { rope: rope(1_000_000) } : { rope: rope(5_000), window: 16 },
);

/** Some of these values are not exact in float32, the type of the file. */
const FACTORS = {
  embeddingScale: 12,
  attentionScale: 0.0078125,
  residualScale: 0.22,
  logitDivisor: 6,
} as const;

/** All but a model whose factors become part of its weights (gguf_folded.test.ts). */
const { falcon_h1: _, ...UNCHANGED } = TINY_FAMILIES;

/** Models by the property they test, with the family they are read back as where it differs. */
const CASES: Readonly<Record<string, TinyModelOptions & { readonly readAs?: string }>> = {
  llama: {},
  "llama with its own output and all biases": {
    tiedEmbeddings: false,
    layers: [{ biases: PROJECTIONS }, {}],
  },
  "llama 3": { layers: [{ rope: LLAMA3 }] },
  "llama with stretched positions": {
    layers: [{ rope: { ...rope(500), scaling: { type: "linear", factor: 4 } } }],
  },
  "llama with YaRN": { maxPositions: 128, layers: [{ rope: { ...rope(500), scaling: YARN } }] },
  "uneven qwen2 with YaRN and an attention factor": {
    family: "qwen2",
    readAs: "llama",
    maxPositions: 128,
    layers: UNEVEN.map((widths) => ({
      ...widths,
      biases: QKV,
      rope: { ...rope(500), scaling: { ...YARN, attentionFactor: 1.2 } },
    })),
  },
  "uneven llama with LongRoPE": {
    // No text is longer than the short factors are for.
    maxPositions: 8,
    layers: UNEVEN.map((widths) => ({ ...widths, rope: longrope() })),
  },
  "uneven llama": { layers: UNEVEN },
  "uneven llama with biases at the outputs": {
    layers: UNEVEN.map((widths) => ({ ...widths, biases: ["o_proj", "down_proj"] })),
  },
  mistral: { family: "mistral", readAs: "llama", tiedEmbeddings: false },
  qwen2: { family: "qwen2", layers: [{ biases: QKV, kvGroups: 1 }] },
  "uneven qwen2": { family: "qwen2", readAs: "llama", layers: UNEVEN.map((w) => ({ ...w, biases: QKV })) },
  qwen3: { family: "qwen3", qkNorm: "head", headDim: 6, layers: [{ rope: { ...rope(1e6), rotaryDim: 6 } }] },
  "uneven qwen3": { family: "qwen3", qkNorm: "head", layers: UNEVEN },
  gemma: {
    family: "gemma",
    ...GEMMA1_SWITCHES,
    headDim: 6,
    layers: [{ rope: { ...rope(5_000), rotaryDim: 6 } }],
  },
  gemma2: {
    family: "gemma2",
    ...GEMMA2_SWITCHES,
    layers: Array.from({ length: 3 }, (_, layer) => ({ window: layer === 1 ? null : 16, biases: QKV })),
  },
  gemma3: { ...GEMMA, layers: GEMMA_LAYERS },
  granite: {
    family: "granite",
    ...FACTORS,
    layers: [{ biases: PROJECTIONS }, {}],
  },
  phi3: { family: "phi3", tiedEmbeddings: false, layers: [{ kvGroups: 1, window: 64 }] },
  "glm4_moe without norms of queries and keys": { ...TINY_FAMILIES.glm4_moe, qkNorm: null },
  "gemma4 without a cap of logits": { ...TINY_FAMILIES.gemma4, logitSoftcap: null },
  ...UNCHANGED,
  glm4_moe_lite: { ...TINY_FAMILIES.glm4_moe_lite, readAs: "deepseek_v3" },
  "deepseek_v3 without experts": {
    ...TINY_FAMILIES.deepseek_v3,
    layers: [7, 7].map((neurons, layer) => {
      const { experts: _, ...dense } = TINY_FAMILIES.deepseek_v3.layers![layer]!;
      return { ...dense, neurons };
    }),
  },
  solar_open: { ...TINY_FAMILIES.solar_open, readAs: "glm4_moe" },
  "granitemoehybrid of attention with experts": {
    ...TINY_FAMILIES["granitemoehybrid of attention with experts"],
    readAs: "granitemoeshared",
  },
};

/** Norms that are stored with an offset, where the model has one, and so are rounded. */
const OFFSET_NORM = /(?<!linear_attn\.)norm\./;

/** Rates that are stored for their logarithms, and so are rounded. */
const RATES = /A_log$/;

async function exported(
  model: Model,
  options: ExportGgufOptions = {},
): Promise<GgufExport & { readonly path: string; readonly directory: string }> {
  const directory = await temporaryDirectory();
  const path = join(directory, "out.gguf");
  return { ...(await exportGguf(model, path, options)), path, directory };
}

describe.each(Object.entries(CASES))("a GGUF of %s", (_, { readAs, ...options }) => {
  const model = tinyModel(options);

  test("is read back as the model it was made of", async () => {
    const { path, warnings } = await exported(model);
    const opened = await openModel(path);
    const noIds = { bos_token_id: null, eos_token_id: null, pad_token_id: null };
    const extra = { ...noIds, ...model.spec.extra };
    expect(opened.spec).toEqual({ ...model.spec, family: readAs ?? model.spec.family, extra });
    const runtimes = programSupport(opened.spec, opened.origin);
    expect(runtimes["llama.cpp"]).toMatch(/^yes \(as \w+/);
    expect(runtimes.transformers).toMatch(/^after gprune export --format hf/);
    const before = await tensorsOf(model);
    const after = await tensorsOf(opened);
    expect([...after.keys()]).toEqual([...before.keys()]);
    for (const [name, { shape, data }] of after) {
      expect(shape).toEqual(before.get(name)!.shape);
      const isRounded = RATES.test(name) || (model.spec.normOffset === 1 && OFFSET_NORM.test(name));
      const tolerance = isRounded ? 1e-6 : 0;
      expect(maxDifference(data, before.get(name)!.data), name).toBeLessThanOrEqual(tolerance);
    }
    await opened.weights.close();
    expect(warnings).toEqual([expect.stringContaining("no vocabulary")]);
  });
});

test("says that llama.cpp takes LongRoPE's long factors by the room in its context", async () => {
  const { path, warnings } = await exported(tinyModel({ layers: [{ rope: longrope() }] }));
  expect(warnings[0]).toMatch(/uses the long RoPE factors whenever its context size exceeds 8 tokens/);
  const { spec, weights, origin } = await openModel(path);
  const note = "long RoPE factors at context sizes above 8 tokens";
  expect(programSupport(spec, origin)["llama.cpp"]).toBe(`yes (as llama, ${note})`);
  await weights.close();
});

test("names added tokens that it leaves out because the embedding has no rows for them", async () => {
  const model = tinyModel();
  const { vocabSize } = model.spec;
  const tokenizer = {
    added_tokens: [{ id: vocabSize, content: "<image_soft_token>", special: true }],
    normalizer: SIGNS,
    model: { type: "BPE", byte_fallback: true, vocab: { a: 0 }, merges: [] },
  };
  const files = [{ name: "tokenizer.json", bytes: Buffer.from(JSON.stringify(tokenizer)) }];
  const { path, warnings } = await exported({ ...model, files });
  expect(warnings).toEqual([expect.stringMatching(/omits added tokens .*: <image_soft_token>$/)]);
  const file = await openGguf(path);
  expect(file.metadata.get("tokenizer.ggml.tokens")).toHaveLength(vocabSize);
  await file.source.close();
});

describe("zeros", () => {
  test("fill the layers of a family without an uneven architecture, and nothing else changes", async () => {
    const model = tinyModel({
      ...GEMMA,
      layers: [{ neurons: 3 }, { kvGroups: 1 }].map((l) => ({ ...l, window: 16 })),
    });
    const { path, warnings } = await exported(model);
    expect(warnings[0]).toContain("padded with zeros to 6 neurons and 2 KV groups");
    const opened = await openModel(path);
    const before = await tensorsOf(model);
    for (const [name, { shape, data }] of await tensorsOf(opened)) {
      const [rows, width = 1] = before.get(name)!.shape as [number, number?];
      const inside = data.filter(
        (_, i) => i % (shape[1] ?? 1) < width && Math.floor(i / (shape[1] ?? 1)) < rows,
      );
      expect(maxDifference(inside, before.get(name)!.data), name).toBeLessThan(1e-6);
      const sum = (values: Float32Array): number =>
        values.reduce((total, value) => total + Math.abs(value), 0);
      expect(sum(data), name).toBeCloseTo(sum(inside), 4);
    }
    await opened.weights.close();
  });
});

describe("types", () => {
  const model = tinyModel({
    vocabSize: 4,
    hiddenSize: 256,
    tiedEmbeddings: false,
    layers: [{ neurons: 256 }, { neurons: 32 }, { neurons: 5 }],
  });

  async function typesOf(
    dtype: GgufDType,
  ): Promise<{ types: Record<string, string>; warnings: readonly string[] }> {
    const { path, warnings } = await exported(model, { dtype });
    const { source, metadata } = await openGguf(path);
    const names = ["token_embd", "output", "blk.0.ffn_up", "blk.0.attn_norm", "blk.0.attn_output"];
    const downs = [0, 1, 2].map((layer) => `blk.${layer}.ffn_down`);
    const types = [...names, ...downs].map((name) => [name, source.info(`${name}.weight`)!.dtype]);
    await source.close();
    return { types: { ...Object.fromEntries(types), file: metadata.get("general.file_type") }, warnings };
  }

  test.each<[GgufDType, number, string, string, readonly string[]]>([
    ["f32", 0, "F32", "F32", ["F32", "F32", "F32"]],
    ["f16", 1, "F16", "F16", ["F16", "F16", "F16"]],
    ["bf16", 32, "BF16", "BF16", ["BF16", "BF16", "BF16"]],
    ["q8_0", 7, "Q8_0", "Q8_0", ["Q8_0", "Q8_0", "F16"]],
    ["q4_0", 2, "Q4_0", "Q6_K", ["Q4_0", "Q4_0", "F16"]],
    ["q4_k", 14, "Q4_K", "Q6_K", ["Q4_K", "Q8_0", "F16"]],
    ["q6_k", 18, "Q6_K", "Q6_K", ["Q6_K", "Q8_0", "F16"]],
  ])("of %s fit the rows", async (dtype, file, matrix, embedding, downs) => {
    const { types, warnings } = await typesOf(dtype);
    expect(types).toEqual({
      token_embd: embedding,
      output: embedding,
      "blk.0.ffn_up": matrix,
      "blk.0.attn_norm": "F32",
      "blk.0.attn_output": dtype.startsWith("q") ? "F16" : matrix,
      "blk.0.ffn_down": downs[0],
      "blk.1.ffn_down": downs[1],
      "blk.2.ffn_down": downs[2],
      file,
    });
    const told = warnings.filter((warning) => warning.includes("matrices"));
    expect(told.length).toBe(dtype.startsWith("q") ? 1 : 0);
  });

  test("that do not fit are counted, with what to do", async () => {
    const { warnings } = await typesOf("q8_0");
    // o_proj has rows of 16 in three layers, down_proj of 5 in one.
    expect(warnings.at(-1)).toBe(
      "4 of 23 matrices are stored in larger types, since their rows do not fill whole Q8_0 blocks: 4 as F16; " +
        "gprune prune --round-to 32 makes the FFN widths of pruned layers fit",
    );
  });

  test.each<[string, TinyModelOptions, readonly string[], readonly string[]]>([
    [
      "a delta rule",
      { ...TINY_FAMILIES.qwen3_5, layers: [tinyDelta({ valueDim: 8 }), {}] },
      [],
      ["attn_qkv", "attn_gate", "ssm_alpha", "ssm_beta", "ssm_out"],
    ],
    [
      "Mamba 2",
      { ...TINY_FAMILIES.granitemoehybrid, layers: [tinyMamba({ valueDim: 16 }), { rope: null }] },
      ["ssm_conv1d.bias", "ssm_d"],
      ["ssm_in", "ssm_out"],
    ],
  ])("are not those of matrices for what %s has besides", async (_, options, own, matrices) => {
    const { path } = await exported(tinyModel({ ...options, hiddenSize: 32 }), { dtype: "q8_0" });
    const { source } = await openGguf(path);
    const types = (names: readonly string[]): readonly unknown[] =>
      names.map((name) => source.info(`blk.0.${name}`)?.dtype);
    const shared = ["ssm_conv1d.weight", "ssm_a", "ssm_dt.bias", "ssm_norm.weight", "attn_norm.weight"];
    const others = [...shared, ...own];
    expect(types(others)).toEqual(others.map(() => "F32"));
    expect(types(matrices.map((name) => `${name}.weight`))).toEqual(matrices.map(() => "Q8_0"));
    await source.close();
  });

  test("of inputs of layers are those of the embedding for the table, and never few bits for the projection", async () => {
    const inputs = { ...TINY_FAMILIES.gemma4, hiddenSize: 256, embeddingScale: 16 } as const;
    const perLayerInputs = { size: 256, vocabSize: 16 };
    const { path } = await exported(tinyModel({ ...inputs, perLayerInputs }), { dtype: "q4_k" });
    const { source } = await openGguf(path);
    const names = [
      "per_layer_token_embd",
      "per_layer_model_proj",
      "blk.0.inp_gate",
      "blk.0.proj",
      "blk.0.post_norm",
    ];
    const types = names.map((name) => source.info(`${name}.weight`)?.dtype);
    expect(types).toEqual(["Q6_K", "F16", "Q4_K", "Q4_K", "F32"]);
    await source.close();
  });

  test("come back within their step", async () => {
    const { path } = await exported(model, { dtype: "q8_0" });
    const opened = await openModel(path);
    expect(opened.origin.dtype).toBe("Q8_0");
    const before = await tensorsOf(model);
    for (const [name, { data }] of await tensorsOf(opened)) {
      expect(maxDifference(data, before.get(name)!.data), name).toBeLessThan(0.5 / 127);
    }
    await opened.weights.close();
  });

  test("are the checkpoint's own when nothing is asked", async () => {
    const half = { ...tinyModel(), origin: { name: "tiny", format: "memory", dtype: "BF16" } as const };
    expect((await exported(half)).dtype).toBe("bf16");
    const quantised = { ...half, origin: { ...half.origin, dtype: "Q4_1" } };
    expect((await exported(quantised)).dtype).toBe("f32");
  });
});

describe("metadata", () => {
  test("of a tokenizer with space signs has merges in Gemma 4, and scores in others", async () => {
    const vocab = Object.fromEntries(["<unk>", "▁", "a", "▁a"].map((token, id) => [token, id]));
    const json = {
      normalizer: SIGNS,
      model: { type: "BPE", byte_fallback: true, unk_token: "<unk>", vocab, merges: [["▁", "a"]] },
    };
    const files = [{ name: "tokenizer.json", bytes: Buffer.from(JSON.stringify(json)) }];
    const kindOf = async (options: TinyModelOptions): Promise<unknown> => {
      const { path } = await exported({ ...tinyModel(options), files });
      const file = await openGguf(path);
      await file.source.close();
      return file.metadata.get("tokenizer.ggml.model");
    };
    expect(await kindOf(TINY_FAMILIES.gemma4)).toBe("gemma4");
    expect(await kindOf({ ...GEMMA, layers: GEMMA_LAYERS })).toBe("llama");
  });

  test("of a GGUF goes on as it stands, what it says of its own form is written anew", async () => {
    const model = {
      ...tinyModel(),
      origin: { name: "some/where/tiny.gguf", format: "memory", dtype: "F32" } as const,
    };
    const first = await exported(model, { dtype: "q8_0" });
    const opened = await openModel(first.path);
    const second = await exported(opened, { dtype: "f16", pre: "smolm" });
    expect(second.warnings).toContainEqual(
      expect.stringContaining("pre-tokenizer smolm is not one that gprune knows"),
    );
    const file = await openGguf(second.path);
    expect(Object.fromEntries(file.metadata)).toMatchObject({
      "general.architecture": "llama",
      "general.name": "tiny",
      "general.file_type": 1,
      "tokenizer.ggml.model": "none",
      "tokenizer.ggml.pre": "smolm",
      "llama.attention.head_count": 4,
    });
    await file.source.close();
    await opened.weights.close();
  });
});

describe("the name", () => {
  const withTokens = (name: string, tokens: readonly string[], stripping: readonly string[]): Model => {
    const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
    const json = {
      added_tokens: tokens.map((content, id) => {
        return { id, content, special: content.startsWith("<"), rstrip: stripping.includes(content) };
      }),
      normalizer: SIGNS,
      model: { type: "BPE", vocab, merges: [], unk_token: tokens[0], byte_fallback: true },
    };
    const files = [{ name: "tokenizer.json", bytes: Buffer.from(JSON.stringify(json)) }];
    return { ...tinyModel(), files, origin: { name, format: "memory", dtype: "F32" } };
  };
  const phi3 = ["<unk>", "<s>", "</s>", "<|endoftext|>", "<|user|>"];
  const stripping = ["</s>", "<|user|>"];

  test.each<[string, string, readonly string[], readonly string[], string]>([
    ["stays of a Phi-3", "some/where/my-Phi-3.5", phi3, stripping, "my-Phi-3.5"],
    ["says that a model is a Phi-3", "some/where/out", phi3, stripping, "out (Phi-3)"],
    ["says so of no model whose special tokens take no spaces along", "out", phi3, [], "out"],
    ["nor of one that is called so", "my-Phi-3.5", phi3, [], "my-Phi 3.5"],
    ["nor of one that lacks a token", "phi3 of phi-3", phi3.toSpliced(3, 1), stripping, "phi 3 of phi 3"],
    ["stays of others", "llama3.gguf", ["<unk>", "a"], [], "llama3"],
  ])("%s", async (_, name, tokens, strip, expected) => {
    const { path } = await exported(withTokens(name, tokens, strip));
    const file = await openGguf(path);
    expect(file.metadata.get("general.name")).toBe(expected);
    await file.source.close();
  });
});

test("says which added tokens take spaces along that they will not take in llama.cpp", async () => {
  const added = (content: string, id: number, strips: object): object => ({
    id,
    content,
    special: true,
    ...strips,
  });
  const tokens = ["<unk>", "<s>", "</s>", "<|user|>", "<mask>"];
  const json = {
    added_tokens: [
      added("<s>", 1, {}),
      added("<|user|>", 3, { rstrip: true }),
      added("<mask>", 4, { lstrip: true }),
    ],
    normalizer: SIGNS,
    model: {
      ...{ type: "BPE", merges: [], unk_token: "<unk>", byte_fallback: true },
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    },
  };
  const files = [{ name: "tokenizer.json", bytes: Buffer.from(JSON.stringify(json)) }];
  const { warnings } = await exported({ ...tinyModel(), files });
  expect(warnings).toEqual([
    "llama.cpp keeps spaces beside added tokens that strip them in tokenizer.json: <|user|>, <mask>",
  ]);
});

describe("refusals and faults", () => {
  /** A model with another first value in a tensor. */
  async function spoilt(options: TinyModelOptions, name: string, value: number): Promise<Model> {
    const model = tinyModel(options);
    const tensors = new Map(await tensorsOf(model));
    const { shape, data } = tensors.get(name)!;
    return { ...model, weights: memorySource(tensors.set(name, { shape, data: data.with(0, value) })) };
  }

  test("names the tensor that is not finite", async () => {
    const large = await spoilt({}, "model.layers.1.mlp.up_proj.weight", 70_000);
    const failure = { code: "OUT_OF_RANGE", message: expect.stringContaining("blk.1.ffn_up.weight") };
    await expect(exported(large, { dtype: "f16" })).rejects.toMatchObject(failure);
    await expect(exported(large, { dtype: "bf16" })).resolves.toMatchObject({ dtype: "bf16" });
  });

  test("names the number of an activation that is not finite", async () => {
    const name = "model.layers.0.mlp.act_fn.alpha_n";
    const damaged = await spoilt(TINY_FAMILIES.apertus, name, Number.NaN);
    const failure = { code: "NOT_FINITE", message: expect.stringContaining(name) };
    await expect(exported(damaged)).rejects.toMatchObject(failure);
  });

  test("leaves a file alone that is there", async () => {
    const directory = await temporaryDirectory();
    const path = join(directory, "out.gguf");
    await writeFile(path, "mine");
    await expect(exportGguf(tinyModel(), path)).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    expect(await readdir(directory)).toEqual(["out.gguf"]);
  });

  test.skipIf(!CAN_FILL_DISK)("leaves nothing on a disk that fills up", async () => {
    for (const room of [0, 500, 3000]) {
      const directory = await temporaryDirectory();
      const writing = withFullDisk(room, () => exportGguf(tinyModel(), join(directory, "a", "out.gguf")));
      await expect(writing).rejects.toMatchObject({ code: "OUTPUT_FAILED" });
      expect(await readdir(directory)).toEqual([]);
    }
  });

  test("says how far it is", async () => {
    const events: ProgressEvent[] = [];
    const { tensorBytes } = await exported(tinyModel(), { onProgress: (event) => events.push(event) });
    expect(events.at(-1)).toEqual({ stage: "save", done: tensorBytes, total: tensorBytes, unit: "bytes" });
  });
});
