/** Models as GGUF files: with llama.cpp's names, order and layouts of tensors, and its metadata. */
import type { Model } from "../src/model/model.ts";
import { weightsOf } from "../src/model/spaces.ts";
import { type ModelSpec, PROJECTIONS, type RopeSpec, ropesOf, YARN_DEFAULTS } from "../src/model/spec.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import {
  type BuiltTensor,
  type BuiltValue,
  buildGguf,
  f32,
  floatTensor,
  i32s,
  text,
  u32,
} from "./gguf_builder.ts";
import { TINY_FAMILIES } from "./tiny_families.ts";
import { tinyModel } from "./tiny_model.ts";
import { GEMMA_SWITCHES, GEMMA1_SWITCHES, GEMMA2_SWITCHES } from "./tiny_variants.ts";

/** llama.cpp's permutation of query and key rows: W.reshape(N, 2, R/2, width).swapaxes(1, 2), for R rows of a head. */
function permuteRows({ shape, data }: Tensor, headDim: number, rotaryDim: number): Tensor {
  const width = shape[1] ?? 1;
  const result = Float32Array.from(data);
  const half = rotaryDim / 2;
  for (let head = 0; head * headDim < shape[0]!; head++) {
    for (let side = 0; side < 2; side++) {
      for (let i = 0; i < half; i++) {
        const from = (head * headDim + side * half + i) * width;
        result.set(data.subarray(from, from + width), (head * headDim + i * 2 + side) * width);
      }
    }
  }
  return { shape, data: result };
}

function concatRows(...parts: Tensor[]): Tensor {
  const rows = parts.reduce((sum, part) => sum + part.shape[0]!, 0);
  const data = Float32Array.from(parts.flatMap((part) => [...part.data]));
  return { shape: [rows, parts[0]!.shape[1]!], data };
}

/** How an architecture stores weights. */
export interface Layout {
  readonly architecture: string;
  readonly permute?: boolean;
  readonly norms?: "around" | "after";
  /** Other names of tensors. */
  readonly renamed?: Readonly<Record<string, string>>;
  readonly fused?: "all" | "ffn";
}

const NAMES: readonly (readonly [RegExp, string])[] = [
  [/^model\.embed_tokens/, "token_embd"],
  [/^model\.norm/, "output_norm"],
  [/^lm_head/, "output"],
  [/^model\.layers\.(\d+)\./, "blk.$1."],
  [/self_attn\.(q|k)_norm/, "attn_$1_norm"],
  [/self_attn\.(q|k|v)_proj/, "attn_$1"],
  [/self_attn\.o_proj/, "attn_output"],
  [/mlp\.(gate|up|down)_proj/, "ffn_$1"],
  [/input_layernorm/, "attn_norm"],
];
const PLAIN_NORMS = [[/post_attention_layernorm/, "ffn_norm"]] as const;
const POST_NORMS = [
  [/post_attention_layernorm/, "post_attention_norm"],
  [/pre_feedforward_layernorm/, "ffn_norm"],
  [/post_feedforward_layernorm/, "post_ffw_norm"],
] as const;

/** A model's tensors as a file stores them. */
export async function storedTensors({ spec, weights }: Model, layout: Layout): Promise<BuiltTensor[]> {
  const renames = [...NAMES, ...(layout.norms ? POST_NORMS : PLAIN_NORMS)];
  const tensors = new Map<string, Tensor>();
  for (const { name } of weightsOf(spec)) {
    const usual = renames.reduce((renamed, [from, to]) => renamed.replace(from, to), name);
    const stored = usual.replace(/\w+(?=\.weight$)/, (stem) => layout.renamed?.[stem] ?? stem);
    const tensor = await weights.read(name);
    const data = name.includes("norm") ? tensor.data.map((value) => value + spec.normOffset) : tensor.data;
    const isRotated = layout.permute === true && /(q|k)_proj/.test(name);
    tensors.set(
      stored,
      isRotated
        ? permuteRows(tensor, spec.headDim, spec.layers[0]!.rope!.rotaryDim)
        : { shape: tensor.shape, data },
    );
  }
  if (layout.fused !== undefined) fuse(tensors, spec, layout.fused);
  return [...tensors].map(([name, { shape, data }]) => floatTensor(name, shape, data));
}

function fuse(tensors: Map<string, Tensor>, spec: ModelSpec, fused: "all" | "ffn"): void {
  const take = (name: string): Tensor => {
    const tensor = tensors.get(name)!;
    tensors.delete(name);
    return tensor;
  };
  for (const layer of spec.layers.keys()) {
    const takeAll = (stems: readonly string[]): Tensor[] =>
      stems.map((stem) => take(`blk.${layer}.${stem}.weight`));
    if (fused === "all") {
      tensors.set(`blk.${layer}.attn_qkv.weight`, concatRows(...takeAll(["attn_q", "attn_k", "attn_v"])));
    }
    tensors.set(`blk.${layer}.ffn_up.weight`, concatRows(...takeAll(["ffn_gate", "ffn_up"])));
  }
}

/** Metadata of a model in files of an architecture. */
export function metadataOf(spec: ModelSpec, architecture: string): (readonly [string, BuiltValue])[] {
  const { layers } = spec;
  const key = (name: string): string => `${architecture}.${name}`;
  return [
    ["general.architecture", text(architecture)],
    [key("block_count"), u32(layers.length)],
    [key("context_length"), u32(spec.maxPositions)],
    [key("embedding_length"), u32(spec.hiddenSize)],
    [key("feed_forward_length"), i32s(layers.map((layer) => layer.neurons))],
    [key("attention.head_count"), i32s(layers.map((layer) => layer.kvGroups * layer.groupSize))],
    [key("attention.head_count_kv"), i32s(layers.map((layer) => layer.kvGroups))],
    [key("attention.key_length"), u32(spec.headDim)],
    [key("attention.value_length"), u32(spec.headDim)],
    [key("attention.layer_norm_rms_epsilon"), f32(spec.normEps)],
    [key("rope.freq_base"), f32(ropesOf(spec).at(-1)!.theta)],
    ["tokenizer.ggml.eos_token_id", u32(3)],
  ];
}

/** A model and how a file stores it. */
export interface Case extends Layout {
  readonly model: Model;
  /** Additional metadata. */
  readonly extra?: readonly (readonly [string, BuiltValue])[];
}

const rope = (theta: number): RopeSpec => ({ theta, rotaryDim: 4, scaling: null });
const GEMMA_LAYERS = Array.from({ length: 7 }, (_, layer) =>
  layer === 5 ? { rope: rope(1_000_000) } : { rope: rope(10_000), window: 16 },
);

/** The rotary embedding of a Ministral 3. */
const GROWING: RopeSpec = {
  ...rope(10_000),
  scaling: {
    ...{ type: "yarn", factor: 2, originalMaxPositions: 16, attentionFactor: 1, queryGrowth: 0.1 },
    ...YARN_DEFAULTS,
  },
};

/** A model for every way of storing one. */
export const CASES: Readonly<Record<string, Case>> = {
  llama: { architecture: "llama", permute: true, model: tinyModel() },
  "llama with its own output and biases": {
    architecture: "llama",
    permute: true,
    model: tinyModel({
      tiedEmbeddings: false,
      layers: [{ biases: ["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"] }, {}],
    }),
  },
  "llama of uneven layers": {
    architecture: "deci",
    permute: true,
    model: tinyModel({
      layers: [{ neurons: 3 }, { kvGroups: 1, groupSize: 3 }, { neurons: 9, kvGroups: 3 }],
    }),
  },
  qwen2: {
    architecture: "qwen2",
    model: tinyModel({ family: "qwen2", layers: [{ biases: ["q_proj", "k_proj", "v_proj"] }] }),
  },
  qwen3: { architecture: "qwen3", model: tinyModel({ family: "qwen3", qkNorm: "head", headDim: 6 }) },
  ministral3: {
    architecture: "mistral3",
    permute: true,
    model: tinyModel({ family: "ministral3", layers: [{ rope: GROWING }, { rope: GROWING }] }),
    extra: [
      ["mistral3.rope.scaling.type", text("yarn")],
      ["mistral3.rope.scaling.factor", f32(2)],
      ["mistral3.rope.scaling.original_context_length", u32(16)],
      ["mistral3.rope.scaling.yarn_log_multiplier", f32(1)],
      ["mistral3.attention.temperature_scale", f32(0.1)],
    ],
  },
  "a newer file of a Mistral": {
    architecture: "mistral3",
    permute: true,
    model: tinyModel({ family: "mistral" }),
  },
  "the text model of a Qwen3-VL": {
    architecture: "qwen3vl",
    model: tinyModel({ family: "qwen3", qkNorm: "head", headDim: 6 }),
    extra: [["qwen3vl.rope.dimension_sections", i32s([1, 1, 1, 0])]],
  },
  gemma: {
    architecture: "gemma",
    model: tinyModel({ family: "gemma", ...GEMMA1_SWITCHES, headDim: 6 }),
  },
  gemma2: {
    architecture: "gemma2",
    norms: "around",
    model: tinyModel({ family: "gemma2", ...GEMMA2_SWITCHES, layers: [{ window: 16 }, {}, { window: 16 }] }),
    extra: [
      ["gemma2.attention.sliding_window", u32(16)],
      ["gemma2.attn_logit_softcapping", f32(1.5)],
      ["gemma2.final_logit_softcapping", f32(3)],
    ],
  },
  "gemma2 that leaves window and caps to the reader": {
    architecture: "gemma2",
    norms: "around",
    model: tinyModel({
      family: "gemma2",
      ...GEMMA2_SWITCHES,
      scoreSoftcap: 50,
      logitSoftcap: 30,
      layers: [{ window: 4096 }, {}, { window: 4096 }],
    }),
  },
  gemma3: {
    architecture: "gemma3",
    norms: "around",
    model: tinyModel({
      family: "gemma3_text",
      ...GEMMA_SWITCHES,
      layers: [...GEMMA_LAYERS.slice(0, 5), GEMMA_LAYERS[5]!],
    }),
    extra: [["gemma3.attention.sliding_window", u32(16)]],
  },
  granite: {
    architecture: "granite",
    permute: true,
    model: tinyModel({
      family: "granite",
      embeddingScale: 12,
      attentionScale: 0.1,
      residualScale: 0.22,
      logitDivisor: 6,
      layers: [{ biases: PROJECTIONS }, {}],
    }),
    extra: [
      ["granite.attention.scale", f32(0.1)],
      ["granite.embedding_scale", f32(12)],
      ["granite.residual_scale", f32(0.22)],
      ["granite.logit_scale", f32(6)],
    ],
  },
  "granite with factors of 0, which are none": {
    architecture: "granite",
    permute: true,
    model: tinyModel({ family: "granite", logitDivisor: 6 }),
    extra: [
      ["granite.attention.scale", f32(0)],
      ["granite.embedding_scale", f32(0)],
      ["granite.logit_scale", f32(6)],
    ],
  },
  smollm3: {
    architecture: "smollm3",
    permute: true,
    model: tinyModel({
      family: "smollm3",
      layers: Array.from({ length: 9 }, (_, i) => (i % 4 === 3 ? { rope: null } : {})),
    }),
  },
  phi3: {
    architecture: "phi3",
    fused: "all",
    model: tinyModel({
      family: "phi3",
      tiedEmbeddings: false,
      layers: [{ window: 7 }, { window: 7, groupSize: 1 }],
    }),
    extra: [["phi3.attention.sliding_window", u32(7)]],
  },
  olmo2: { architecture: "olmo2", norms: "after", model: tinyModel(TINY_FAMILIES.olmo2) },
  olmo3: {
    architecture: "olmo2",
    norms: "after",
    model: tinyModel(TINY_FAMILIES.olmo3),
    extra: [
      ["olmo2.attention.sliding_window", u32(16)],
      ["olmo2.rope.scaling.type", text("yarn")],
      ["olmo2.rope.scaling.factor", f32(4)],
      ["olmo2.rope.scaling.original_context_length", u32(16)],
    ],
  },
  exaone4: { architecture: "exaone4", norms: "after", model: tinyModel(TINY_FAMILIES.exaone4) },
  "exaone4 of 64 layers": {
    architecture: "exaone4",
    norms: "after",
    model: tinyModel(TINY_FAMILIES["exaone4 of 64 layers"]),
    extra: [["exaone4.attention.sliding_window", u32(16)]],
  },
  seed_oss: {
    architecture: "seed_oss",
    renamed: { ffn_norm: "post_attention_norm" },
    model: tinyModel(TINY_FAMILIES.seed_oss),
  },
  ernie4_5: { architecture: "ernie4_5", permute: true, model: tinyModel(TINY_FAMILIES.ernie4_5) },
  "hunyuan-dense": { architecture: "hunyuan-dense", model: tinyModel(TINY_FAMILIES.hunyuan) },
  chatglm: {
    architecture: "chatglm",
    permute: true,
    fused: "ffn",
    model: tinyModel(TINY_FAMILIES.glm),
    extra: [["chatglm.rope.dimension_count", u32(2)]],
  },
  glm4: {
    architecture: "glm4",
    permute: true,
    norms: "around",
    fused: "ffn",
    model: tinyModel(TINY_FAMILIES.glm4),
    extra: [["glm4.rope.dimension_count", u32(2)]],
  },
};

/** The bytes of a case's file. */
export async function fileOf({ model, extra = [], ...layout }: Case): Promise<Uint8Array> {
  const metadata = [...metadataOf(model.spec, layout.architecture), ...extra];
  return buildGguf({ metadata, tensors: await storedTensors(model, layout) });
}
