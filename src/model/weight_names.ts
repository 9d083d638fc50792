/** The names of tensors: those of Llama's checkpoints, which all families are read into. */
import { type LayerMatrix, PROJECTION_MODULE, type Projection } from "./projections.ts";

/** The module of a layer that holds the parameters of its activation, as checkpoints name it. */
export const ACTIVATION_MODULE = "mlp.act_fn";

/** `self_attn.q_proj`. */
export function moduleOf(matrix: LayerMatrix): string {
  return isProjection(matrix) ? `${PROJECTION_MODULE[matrix]}.${matrix}` : matrix;
}

function isProjection(matrix: LayerMatrix): matrix is Projection {
  return Object.hasOwn(PROJECTION_MODULE, matrix);
}

/** Checkpoint name of a matrix's weight or bias. */
export function projectionName(
  layer: number,
  matrix: LayerMatrix,
  part: "weight" | "bias" = "weight",
): string {
  return `model.layers.${layer}.${moduleOf(matrix)}.${part}`;
}

/** The layer of a tensor; -1 for those outside the layers. */
export function layerOfName(name: string): number {
  return Number(/^model\.layers\.(\d+)\./.exec(name)?.[1] ?? -1);
}

/** The embedding matrix [V, C], and the output matrix [V, C] of models that do not share it. */
export const EMBEDDING = "model.embed_tokens.weight";
export const HEAD = "lm_head.weight";
/** Embeddings of positions, [offset + longest sequence, C], where they are learned. */
export const POSITION_EMBEDDING = "model.embed_positions.weight";
/** What gives layers inputs of their own (`PerLayerInputs`): a table for all layers, a projection and its norm. */
export const PER_LAYER = {
  /** [vocabSize, layers * size] */
  table: "model.embed_tokens_per_layer.weight",
  /** [layers * size, C] */
  projection: "model.per_layer_model_projection.weight",
  /** [size] */
  norm: "model.per_layer_projection_norm.weight",
} as const;
/**
 * The norm of what a layer's own input adds to the residual stream, and the number that its output is multiplied by.
 */
export const PER_LAYER_NORM = "post_per_layer_input_norm";
export const LAYER_SCALAR = "layer_scalar";
/** The matrix of gates of attention's outputs, where they have one, [N*H, C]. */
export const ATTENTION_GATES = "self_attn.gate_proj";
/** The logits of attention sinks, one for each query head, [N]. */
export const SINKS = "self_attn.sinks";
/** The norm of the embeddings, where they have one. */
export const EMBEDDING_NORM = "model.embed_layernorm";
/** Biases of the logits [V], where they have one. */
export const HEAD_BIAS = "lm_head.bias";
export const FINAL_NORM = "model.norm.weight";
export const FINAL_NORM_BIAS = "model.norm.bias";

/** Checkpoint name of a parameter of a layer's activation. */
export function activationParameterName(layer: number, name: string): string {
  return `model.layers.${layer}.${ACTIVATION_MODULE}.${name}`;
}

/** Checkpoint name of the weight of a norm on queries or keys. */
export function qkNormName(layer: number, norm: "q_norm" | "k_norm"): string {
  return `model.layers.${layer}.self_attn.${norm}.weight`;
}

/** Whether a tensor is the weight of a norm on queries or keys. */
export function isQkNorm(name: string): boolean {
  return /\.[qk]_norm\.weight$/.test(name);
}
