/** Writes models as GGUF files: with llama.cpp's names, order and layouts of tensors, and its metadata. */

import type { DeltaSpec, Mamba2Spec, MixerSpec } from "../src/model/mixer_spec.ts";
import type { Model } from "../src/model/model.ts";
import { ropesOf } from "../src/model/rope_layers.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import { weightsOf } from "../src/model/weights.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import {
  type BuiltTensor,
  type BuiltValue,
  buildGguf,
  f32,
  f32s,
  floatTensor,
  i32s,
  text,
  u32,
} from "./gguf_builder.ts";

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

/** Value heads of a tensor of a delta rule in tiles: W.reshape(K, r, size, width).swapaxes(0, 1), for r heads a key. */
function tileHeads(
  name: string,
  tensor: Tensor,
  { keyHeads, valueHeads, keyDim, valueDim }: DeltaSpec,
): Tensor {
  if (!/linear_attn\.(in_proj|conv1d|dt_bias|A_log|out_proj)/.test(name)) return tensor;
  const size = /in_proj_[ba]|dt_bias|A_log/.test(name) ? 1 : valueDim;
  const isLast = name.includes("out_proj");
  const width = isLast ? 1 : tensor.data.length / tensor.shape[0]!;
  const before = /in_proj_qkv|conv1d/.test(name) ? 2 * keyHeads * keyDim * width : 0;
  const [length, repeats] = [size * width, isLast ? tensor.shape[0]! : 1];
  const data = [...tensor.data.subarray(0, before)];
  for (let row = 0; row < repeats; row++) {
    for (let within = 0; within < valueHeads / keyHeads; within++) {
      for (let key = 0; key < keyHeads; key++) {
        const head = row * valueHeads + key * (valueHeads / keyHeads) + within;
        data.push(...tensor.data.subarray(before + head * length, before + (head + 1) * length));
      }
    }
  }
  return { shape: tensor.shape, data: Float32Array.from(data) };
}

/** The vectors of Mamba 2 as they are stored: as columns, and norms with the weights of a key head in a row. */
function asMatrix(name: string, { shape, data }: Tensor, { keyHeads }: Mamba2Spec): Tensor {
  if (/mamba\.(A_log|D)$/.test(name)) return { shape: [...shape, 1], data };
  return { shape: name.includes("mamba.norm") ? [keyHeads, data.length / keyHeads] : shape, data };
}

/** Matrices of experts, one after another: W.reshape(E, I, C), and W.reshape(C, E, I).swapaxes(0, 1) of outputs. */
function stackExperts(name: string, { shape, data }: Tensor, count: number): Tensor {
  if (name.endsWith("bias")) return { shape: [count, data.length / count], data };
  const [rows, columns] = shape as [number, number];
  if (!name.includes("down_proj")) return { shape: [count, rows / count, columns], data };
  const width = columns / count;
  const values = Array.from({ length: count }, (_, expert) =>
    Array.from({ length: rows }, (__, row) => {
      const start = row * columns + expert * width;
      return [...data.subarray(start, start + width)];
    }),
  );
  return { shape: [count, rows, width], data: Float32Array.from(values.flat(2)) };
}

function storedMixer(
  name: string,
  tensor: Tensor,
  { mixer, grouped }: { readonly mixer: MixerSpec | undefined; readonly grouped: boolean },
): Tensor {
  if (mixer?.type === "delta") return grouped ? tensor : tileHeads(name, tensor, mixer);
  return mixer?.type === "mamba2" ? asMatrix(name, tensor, mixer) : tensor;
}

function concatRows(...parts: Tensor[]): Tensor {
  const rows = parts.reduce((sum, part) => sum + part.shape[0]!, 0);
  const data = Float32Array.from(parts.flatMap((part) => [...part.data]));
  return { shape: parts[0]!.shape.with(0, rows), data };
}

/** How an architecture stores weights. */
export interface Layout {
  readonly architecture: string;
  readonly permute?: boolean;
  readonly norms?: "around" | "after";
  /** Other names of modules, or of tensors. */
  readonly renamed?: Readonly<Record<string, string>>;
  readonly fused?: "qkv" | "ffn" | "all";
  /** gate_proj and up_proj of each expert are one matrix. */
  readonly joined?: true;
  /** Value heads are in groups, and strengths and rates of a key head after another in one tensor. */
  readonly grouped?: true;
}

const NAMES: readonly (readonly [RegExp, string])[] = [
  [/^model\.embed_tokens_per_layer/, "per_layer_token_embd"],
  [/^model\.per_layer_model_projection/, "per_layer_model_proj"],
  [/^model\.per_layer_projection_norm/, "per_layer_proj_norm"],
  [/per_layer_input_gate/, "inp_gate"],
  [/per_layer_projection/, "proj"],
  [/post_per_layer_input_norm/, "post_norm"],
  [/altup\.router_norm/, "altup_router_norm"],
  [/altup\.modality_router/, "altup_router"],
  [/altup\.prediction_coefs/, "altup_predict_coef"],
  [/altup\.correction_coefs/, "altup_correct_coef"],
  [/altup\.correct_output_scale$/, "altup_correct_scale.weight"],
  [/laurel\.linear_left/, "laurel_l"],
  [/laurel\.linear_right/, "laurel_r"],
  [/laurel\.post_laurel_norm/, "laurel_post_norm"],
  [/layer_scalar$/, "layer_output_scale.weight"],
  [/^model\.embed_tokens/, "token_embd"],
  [/^model\.embed_positions/, "position_embd"],
  [/^model\.embed_layernorm/, "token_embd_norm"],
  [/^model\.norm/, "output_norm"],
  [/^lm_head/, "output"],
  [/^model\.layers\.(\d+)\./, "blk.$1."],
  [/self_attn\.(q|k)_norm/, "attn_$1_norm"],
  [/self_attn\.(q|k|v)_proj/, "attn_$1"],
  [/self_attn\.o_proj/, "attn_output"],
  [/self_attn\.gate_proj/, "attn_gate"],
  [/self_attn\.sinks$/, "attn_sinks.weight"],
  [/mlp\.(gate|up|down)_proj/, "ffn_$1"],
  [/mlp\.gate\.e_score_correction_bias/, "exp_probs_b.bias"],
  [/mlp\.gate\.per_expert_scale/, "ffn_down_exps.scale"],
  [/mlp\.gate\./, "ffn_gate_inp."],
  [/mlp\.shared_expert_gate/, "ffn_gate_inp_shexp"],
  [/mlp\.shared_expert\.(gate|up|down)_proj/, "ffn_$1_shexp"],
  [/input_layernorm/, "attn_norm"],
  [/\.conv\./, ".shortconv."],
  [/linear_attn\.in_proj_qkv/, "attn_qkv"],
  [/linear_attn\.in_proj_z/, "attn_gate"],
  [/linear_attn\.in_proj_b/, "ssm_beta"],
  [/linear_attn\.in_proj_a/, "ssm_alpha"],
  [/linear_attn\.conv1d/, "ssm_conv1d"],
  [/linear_attn\.dt_bias/, "ssm_dt.bias"],
  [/linear_attn\.A_log/, "ssm_a"],
  [/linear_attn\.norm/, "ssm_norm"],
  [/linear_attn\.out_proj/, "ssm_out"],
  [/mamba\.in_proj/, "ssm_in"],
  [/mamba\.conv1d/, "ssm_conv1d"],
  [/mamba\.dt_bias/, "ssm_dt.bias"],
  [/mamba\.A_log/, "ssm_a"],
  [/mamba\.D/, "ssm_d"],
  [/mamba\.norm/, "ssm_norm"],
  [/mamba\.out_proj/, "ssm_out"],
];
const PLAIN_NORMS = [[/post_attention_layernorm/, "ffn_norm"]] as const;
const POST_NORMS = [
  [/(pre|post)_feedforward_layernorm_([12])/, "$1_ffw_norm_$2"],
  [/post_attention_layernorm/, "post_attention_norm"],
  [/pre_feedforward_layernorm/, "ffn_norm"],
  [/post_feedforward_layernorm/, "post_ffw_norm"],
] as const;

/** A model's tensors as a file stores them. */
export async function storedTensors({ spec, weights }: Model, layout: Layout): Promise<BuiltTensor[]> {
  const renames = [...NAMES, ...(layout.norms ? POST_NORMS : PLAIN_NORMS)];
  const tensors = new Map<string, Tensor>();
  for (const { name } of weightsOf(spec)) {
    if (name.includes(".act_fn.")) continue;
    const usual = renames.reduce((renamed, [from, to]) => renamed.replace(from, to), name);
    const { mixer, beside, experts } = spec.layers[Number(/layers\.(\d+)/.exec(name)?.[1])] ?? {};
    const read = await weights.read(name);
    const isOfExperts = experts !== undefined && /mlp\.\w+_proj/.test(name);
    const renamed = usual.replace(/\w+(?=\.(weight|bias)$)/, (stem) =>
      isOfExperts ? `${stem}_exps` : (layout.renamed?.[stem] ?? stem),
    );
    const stored = renamed.replace(/\w+\.\w+$/, (tensor) => layout.renamed?.[tensor] ?? tensor);
    const tensor = isOfExperts
      ? stackExperts(name, read, experts.count)
      : storedMixer(name, read, { mixer: mixer ?? beside, grouped: layout.grouped ?? false });
    const data = tensor.data.map((value) => {
      if (name.endsWith("A_log")) return -Math.exp(value);
      return name.endsWith("norm.weight") && !name.includes("linear_attn") ? value + spec.normOffset : value;
    });
    // Norms with weights for each head have a head's channels in a row.
    const norm = spec.qkNorm === "each_head" && /(q|k)_norm/.test(name);
    const isRotated = layout.permute === true && (norm || /(q|k)_proj/.test(name));
    const rows = norm ? { shape: [tensor.data.length], data: tensor.data } : tensor;
    tensors.set(stored, {
      // The filters of a convolution are [C, 1, length], the gate of a shared expert [1, C].
      shape:
        tensor.shape.length === 3 || name.includes("shared_expert_gate")
          ? tensor.shape.filter((size) => size !== 1)
          : tensor.shape,
      data: isRotated
        ? permuteRows(rows, spec.headDim, ropesOf(spec)[0]?.rotaryDim ?? spec.headDim).data
        : data,
    });
  }
  if (layout.fused !== undefined) fuse(tensors, spec, layout.fused);
  if (layout.joined) joinExperts(tensors);
  if (layout.grouped) joinStrengths(tensors, spec);
  for (const [stem, part] of STACKS) stackMatrices(tensors, stem, part);
  return [...tensors].map(([name, { shape, data }]) => floatTensor(name, shape, data));
}

/** What matrices outside of layers are stacked in, and their parts. */
const STACKS = [
  ["altup_proj", /altup_projection_/],
  ["altup_unembd_proj", /altup_unembed_projection_/],
] as const;

function stackMatrices(tensors: Map<string, Tensor>, stem: string, part: RegExp): void {
  const parts = [...tensors].filter(([name]) => part.test(name));
  if (parts.length === 0) return;
  for (const [name] of parts) tensors.delete(name);
  const { shape, data } = concatRows(...parts.map(([, tensor]) => tensor));
  tensors.set(`${stem}.weight`, { shape: [parts.length, shape[0]! / parts.length, shape[1]!], data });
}

const FUSED_ATTENTION = [["attn_qkv", ["attn_q", "attn_k", "attn_v"]]] as const;
const FUSED_FFN = [["ffn_up", ["ffn_gate", "ffn_up"]]] as const;
const FUSED = { qkv: FUSED_ATTENTION, ffn: FUSED_FFN, all: [...FUSED_ATTENTION, ...FUSED_FFN] } as const;

function fuse(tensors: Map<string, Tensor>, spec: ModelSpec, fused: NonNullable<Layout["fused"]>): void {
  for (const layer of spec.layers.keys()) {
    for (const [stem, parts] of FUSED[fused]) {
      for (const kind of ["weight", "bias"]) {
        const names = parts.map((part) => `blk.${layer}.${part}.${kind}`);
        const rows = names.flatMap((name) => tensors.get(name) ?? []);
        for (const name of names) tensors.delete(name);
        if (rows.length > 0) tensors.set(`blk.${layer}.${stem}.${kind}`, concatRows(...rows));
      }
    }
  }
}

/** W_e = [gate_e; up_e], one expert's after another's. */
function joinExperts(tensors: Map<string, Tensor>): void {
  for (const [name, { shape, data }] of [...tensors].filter(([each]) => each.includes("ffn_gate_exps"))) {
    const upName = name.replace("gate", "up");
    const up = tensors.get(upName)!.data;
    const size = shape[1]! * shape[2]!;
    const values = Array.from({ length: shape[0]! }, (_, expert) =>
      [data, up].flatMap((part) => [...part.subarray(expert * size, (expert + 1) * size)]),
    );
    for (const single of [name, upName]) tensors.delete(single);
    tensors.set(name.replace("gate", "gate_up"), {
      shape: shape.with(1, 2 * shape[1]!),
      data: Float32Array.from(values.flat()),
    });
  }
}

/** W_k = [b_k; a_k] of key head k, one after another. */
function joinStrengths(tensors: Map<string, Tensor>, { layers }: ModelSpec): void {
  for (const [index, { mixer }] of layers.entries()) {
    if (mixer?.type !== "delta") continue;
    const names = ["ssm_beta", "ssm_alpha"].map((stem) => `blk.${index}.${stem}.weight`);
    const [strengths, rates] = names.map((name) => tensors.get(name)!) as [Tensor, Tensor];
    const size = strengths.data.length / mixer.keyHeads;
    const values = Array.from({ length: mixer.keyHeads }, (_, head) =>
      [strengths, rates].flatMap(({ data }) => [...data.subarray(head * size, (head + 1) * size)]),
    );
    for (const name of names) tensors.delete(name);
    const shape = strengths.shape.with(0, 2 * mixer.valueHeads);
    tensors.set(`blk.${index}.ssm_ba.weight`, { shape, data: Float32Array.from(values.flat()) });
  }
}

/** Metadata of a model in files of an architecture. */
export function metadataOf(spec: ModelSpec, architecture: string): (readonly [string, BuiltValue])[] {
  const { layers } = spec;
  // Linear attention leaves the numbers of heads as they are elsewhere.
  const attending = layers.find(({ kvGroups }) => kvGroups > 0)!;
  const heads = layers.map((layer) => (layer.mixer?.type === "delta" ? attending : layer));
  const headDim = layers.find(({ window }) => window === null)?.headDim ?? spec.headDim;
  const key = (name: string): string => `${architecture}.${name}`;
  return [
    ["general.architecture", text(architecture)],
    [key("block_count"), u32(layers.length)],
    [key("context_length"), u32(spec.maxPositions)],
    [key("embedding_length"), u32(spec.hiddenSize)],
    [key("feed_forward_length"), i32s(layers.map((layer) => layer.neurons / (layer.experts?.count ?? 1)))],
    ...layers
      .flatMap(({ experts }) => experts ?? [])
      .slice(0, 1)
      .flatMap(({ count, active }) => [
        [key("expert_count"), u32(count)] as const,
        [key("expert_used_count"), u32(active)] as const,
      ]),
    [key("attention.head_count"), i32s(heads.map(({ kvGroups, groupSize }) => kvGroups * groupSize))],
    [key("attention.head_count_kv"), i32s(heads.map(({ kvGroups }) => kvGroups))],
    [key("attention.key_length"), u32(headDim)],
    [key("attention.value_length"), u32(headDim)],
    [key(`attention.layer_norm${spec.normType === "rms" ? "_rms" : ""}_epsilon`), f32(spec.normEps)],
    ...ropesOf(spec)
      .slice(-1)
      .map(({ theta }) => [key("rope.freq_base"), f32(theta)] as const),
    ["tokenizer.ggml.eos_token_id", u32(3)],
  ];
}

/** A model and how a file stores it. */
export interface Case extends Layout {
  readonly model: Model;
  /** Additional metadata, and metadata in place of the usual. */
  readonly extra?: readonly (readonly [string, BuiltValue])[];
  /** Tensors besides those of the weights. */
  readonly tensors?: readonly BuiltTensor[];
}

/** The numbers of xIELU by layer. */
async function xieluOf({ spec, weights }: Model): Promise<(readonly [string, BuiltValue])[]> {
  const names = spec.activation === "xielu" ? ["alpha_p", "alpha_n", "beta", "eps"] : [];
  const entries = names.map(async (name) => {
    const tensors = spec.layers.map((_, layer) => weights.read(`model.layers.${layer}.mlp.act_fn.${name}`));
    return [`xielu.${name}`, f32s((await Promise.all(tensors)).map(({ data }) => data[0]!))] as const;
  });
  return Promise.all(entries);
}

/** The bytes of a case's file. */
export async function fileOf({ model, extra = [], tensors = [], ...layout }: Case): Promise<Uint8Array> {
  const usual = [...metadataOf(model.spec, layout.architecture), ...(await xieluOf(model))];
  const metadata = [...new Map([...usual, ...extra])];
  return buildGguf({ metadata, tensors: [...(await storedTensors(model, layout)), ...tensors] });
}
