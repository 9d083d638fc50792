/** The matrices of a decoder layer by name. */

/** The seven projections of a decoder layer, by their checkpoint names. */
export const PROJECTIONS = [
  "q_proj",
  "k_proj",
  "v_proj",
  "o_proj",
  "gate_proj",
  "up_proj",
  "down_proj",
] as const;
/** One of the seven matrices of a layer. */
export type Projection = (typeof PROJECTIONS)[number];

/** The sub-module of a layer that holds a projection, as checkpoints name it. */
export const PROJECTION_MODULE: Readonly<Record<Projection, "self_attn" | "mlp">> = {
  q_proj: "self_attn",
  k_proj: "self_attn",
  v_proj: "self_attn",
  o_proj: "self_attn",
  gate_proj: "mlp",
  up_proj: "mlp",
  down_proj: "mlp",
};

/**
 * The matrices of latents, of gates of attention's outputs, of what layers have in place of attention, of shared
 * experts, of streams and residuals beside attention, and of inputs of layers, with modules.
 */
const OTHER_MATRICES = [
  "self_attn.q_a_proj",
  "self_attn.kv_a_proj",
  "self_attn.gate_proj",
  "conv.in_proj",
  "conv.out_proj",
  "linear_attn.in_proj_qkv",
  "linear_attn.in_proj_z",
  "linear_attn.in_proj_b",
  "linear_attn.in_proj_a",
  "linear_attn.out_proj",
  "mamba.in_proj",
  "mamba.out_proj",
  "mlp.shared_expert.gate_proj",
  "mlp.shared_expert.up_proj",
  "mlp.shared_expert.down_proj",
  "laurel.linear_left",
  "laurel.linear_right",
  "altup_projection_1",
  "altup_projection_2",
  "altup_projection_3",
  "altup_unembed_projection_1",
  "altup_unembed_projection_2",
  "altup_unembed_projection_3",
  "per_layer_input_gate",
  "per_layer_projection",
] as const;
/** A matrix of a layer: a projection, or one of those. */
export type LayerMatrix = Projection | (typeof OTHER_MATRICES)[number];
export const LAYER_MATRICES: readonly LayerMatrix[] = [...PROJECTIONS, ...OTHER_MATRICES];
