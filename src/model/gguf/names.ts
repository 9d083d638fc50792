/**
 * Names of tensors in GGUF files for the Llama checkpoint names used here, as in gguf-py/gguf/tensor_mapping.py of
 * llama.cpp.
 */

import type { TensorSource } from "../../tensor/tensor.ts";
import { CORRECTION, EXPERT_SCALES, ROUTER, ROUTER_NORM, SHARED_GATE } from "../expert_weights.ts";
import { familyByName } from "../families/families.ts";
import { DELTA_NORM, FADING_RATES, FILTER_MODULES } from "../mixer_weights.ts";
import type { ModelSpec, NormPlacement } from "../spec.ts";
import { STREAMS_IN, STREAMS_OUT, UPDATES } from "../stream_updates.ts";
import {
  ATTENTION_GATES,
  EMBEDDING,
  EMBEDDING_NORM,
  FINAL_NORM,
  FINAL_NORM_BIAS,
  HEAD,
  HEAD_BIAS,
  LAYER_SCALAR,
  PER_LAYER,
  PER_LAYER_NORM,
  POSITION_EMBEDDING,
  SINKS,
} from "../weight_names.ts";
import type { GgufArchitecture } from "./architecture.ts";

/** The embeddings of positions, which llama.cpp adds up and never quantises (llama-quant.cpp). */
export const POSITION_TENSOR: string = "position_embd.weight";

/** Filters of convolutions and of linear attention, which llama.cpp never quantises. */
export const FILTER_TENSOR: RegExp = /\.(shortconv\.conv|ssm_conv1d)\.weight$/;

/** What gives layers inputs of their own; llama.cpp quantises the table like the embedding, and not the projection. */
export const INPUT_TENSORS = {
  table: "per_layer_token_embd.weight",
  projection: "per_layer_model_proj.weight",
} as const;

/** Tensors with the matrices that make streams of hidden states, and those that join them, [n, C, C]. */
const STREAM_TENSORS: readonly { readonly name: string; readonly parts: readonly string[] }[] = [
  { name: "altup_proj.weight", parts: STREAMS_IN },
  { name: "altup_unembd_proj.weight", parts: STREAMS_OUT },
];

/** Matrices of streams, which llama.cpp never quantises. */
export const STREAM_TENSOR: RegExp = /(^|\.)(altup|laurel)_\w+\.weight$/;

/** Matrices of routers, which llama.cpp never quantises. */
export const ROUTER_TENSOR: RegExp = /\.ffn_gate_inp\.weight$/;

const MODEL_TENSORS: Readonly<Record<string, string>> = {
  [EMBEDDING]: "token_embd.weight",
  [POSITION_EMBEDDING]: POSITION_TENSOR,
  [`${EMBEDDING_NORM}.weight`]: "token_embd_norm.weight",
  [`${EMBEDDING_NORM}.bias`]: "token_embd_norm.bias",
  [PER_LAYER.table]: INPUT_TENSORS.table,
  [PER_LAYER.projection]: INPUT_TENSORS.projection,
  [PER_LAYER.norm]: "per_layer_proj_norm.weight",
  [FINAL_NORM]: "output_norm.weight",
  [FINAL_NORM_BIAS]: "output_norm.bias",
  [HEAD]: "output.weight",
  [HEAD_BIAS]: "output.bias",
};

const LAYER_MODULES: Readonly<Record<string, string>> = {
  input_layernorm: "attn_norm",
  post_attention_layernorm: "ffn_norm",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  [ATTENTION_GATES]: "attn_gate",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
  [ROUTER]: "ffn_gate_inp",
  [SHARED_GATE]: "ffn_gate_inp_shexp",
  "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
  "mlp.shared_expert.up_proj": "ffn_up_shexp",
  "mlp.shared_expert.down_proj": "ffn_down_shexp",
  "conv.in_proj": "shortconv.in_proj",
  [FILTER_MODULES.convolution]: "shortconv.conv",
  "conv.out_proj": "shortconv.out_proj",
  "linear_attn.in_proj_qkv": "attn_qkv",
  "linear_attn.in_proj_z": "attn_gate",
  "linear_attn.in_proj_b": "ssm_beta",
  "linear_attn.in_proj_a": "ssm_alpha",
  [FILTER_MODULES.delta]: "ssm_conv1d",
  [DELTA_NORM]: "ssm_norm",
  "linear_attn.out_proj": "ssm_out",
  "mamba.in_proj": "ssm_in",
  [FILTER_MODULES.mamba2]: "ssm_conv1d",
  "mamba.norm": "ssm_norm",
  "mamba.out_proj": "ssm_out",
  per_layer_input_gate: "inp_gate",
  per_layer_projection: "proj",
  [PER_LAYER_NORM]: "post_norm",
  [UPDATES.routerNorm]: "altup_router_norm",
  [UPDATES.router]: "altup_router",
  [UPDATES.predictions]: "altup_predict_coef",
  [UPDATES.corrections]: "altup_correct_coef",
  [UPDATES.residualIn]: "laurel_l",
  [UPDATES.residualOut]: "laurel_r",
  [UPDATES.residualNorm]: "laurel_post_norm",
};

/** The matrices of experts, in place of those of an FFN. */
const EXPERT_MODULES: Readonly<Record<string, string>> = {
  "mlp.gate_proj": "ffn_gate_exps",
  "mlp.up_proj": "ffn_up_exps",
  "mlp.down_proj": "ffn_down_exps",
};

/** The same where one matrix has two of them. */
const JOINED_MODULES: Readonly<Record<string, string>> = {
  "mlp.gate_proj": "ffn_gate_up_exps",
  "mlp.up_proj": "ffn_gate_up_exps",
};

/** Tensors of a layer that are neither the weight nor the bias of a module. */
const LAYER_TENSORS: Readonly<Record<string, string>> = {
  [SINKS]: "attn_sinks.weight",
  [FADING_RATES.delta]: "ssm_a",
  "linear_attn.dt_bias": "ssm_dt.bias",
  [FADING_RATES.mamba2]: "ssm_a",
  "mamba.dt_bias": "ssm_dt.bias",
  "mamba.D": "ssm_d",
  [LAYER_SCALAR]: "layer_output_scale.weight",
  [UPDATES.outputScale]: "altup_correct_scale.weight",
  [CORRECTION]: "exp_probs_b.bias",
  [ROUTER_NORM]: "ffn_gate_inp.scale",
  [EXPERT_SCALES]: "ffn_down_exps.scale",
};

/** Norms of families that norm the outputs of attention and FFN. */
const POST_NORM_MODULES: Readonly<Record<string, string>> = {
  post_attention_layernorm: "post_attention_norm",
  pre_feedforward_layernorm: "ffn_norm",
  post_feedforward_layernorm: "post_ffw_norm",
};
/** Names that differ from the usual ones by where norms are. */
const NORM_MODULES: Readonly<Record<NormPlacement, Readonly<Record<string, string>>>> = {
  before: {},
  shared: {},
  around: POST_NORM_MODULES,
  after: POST_NORM_MODULES,
};

/**
 * The tensor that holds a weight, or undefined for a name that no GGUF has.
 * @param layers - those of the model, where some may lack the experts that others have
 */
export function ggufName(
  name: string,
  architecture: GgufArchitecture,
  layers?: ModelSpec["layers"],
): string | undefined {
  const { layer, module, part } = layerPart(name);
  const stack = STREAM_TENSORS.find(({ parts }) => parts.some((matrix) => matrix === module));
  if (stack !== undefined) return stack.name;
  if (layer === undefined || module === undefined)
    return architecture.outerNames[name] ?? MODEL_TENSORS[name];
  const whole = part === undefined ? LAYER_TENSORS[module] : architecture.names[`${module}.${part}`];
  if (part === undefined || whole !== undefined) return whole && `blk.${layer}.${whole}`;
  const { computes } = familyByName(architecture.family, name);
  const byNorms = NORM_MODULES[computes.norms];
  const own = layers?.[Number(layer)];
  const hasExperts = architecture.experts !== null && (own === undefined || own.experts !== undefined);
  const modules: typeof LAYER_MODULES = {
    ...LAYER_MODULES,
    ...(hasExperts && EXPERT_MODULES),
    ...(hasExperts && architecture.experts?.joined && JOINED_MODULES),
    ...byNorms,
    ...architecture.names,
  };
  const stem = fusedStem(module, architecture) ?? modules[module];
  return stem && `blk.${layer}.${stem}.${part}`;
}

/** Whether a weight is one of the matrices of a tensor. */
export function isStreamMatrix(name: string): boolean {
  const { module } = layerPart(name);
  return STREAM_TENSORS.some(({ parts }) => parts.some((matrix) => matrix === module));
}

/** Whether a weight is part of a tensor that holds several. */
export function isFused(name: string, architecture: GgufArchitecture): boolean {
  return isStreamMatrix(name) || fusedStem(layerPart(name).module ?? "", architecture) !== undefined;
}

function fusedStem(module: string, { fused }: GgufArchitecture): string | undefined {
  const holders = Object.entries(fused);
  return holders.find(([, parts]) => parts.some((part) => module.endsWith(`.${part}`)))?.[0];
}

/** The parts of a name; it has no `part` where it is neither the weight nor the bias of a module. */
function layerPart(name: string): Partial<Record<"layer" | "module" | "part", string>> {
  return /^model\.layers\.(?<layer>\d+)\.(?<module>.+?)(\.(?<part>weight|bias))?$/.exec(name)?.groups ?? {};
}

/** Whether a file has the tensor that holds a weight. */
export function hasWeight(
  source: Pick<TensorSource, "info">,
  name: string,
  architecture: GgufArchitecture,
): boolean {
  const tensor = ggufName(name, architecture);
  return tensor !== undefined && source.info(tensor) !== undefined;
}
