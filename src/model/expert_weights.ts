/** The tensors of a layer with experts besides their projections (`ExpertsSpec`), by their names in a layer. */
import type { ExpertsSpec } from "./experts_spec.ts";

/** The module of a router, [E, C]. */
export const ROUTER = "mlp.gate";
/** What routers add to scores where they pick experts, [E]. */
export const CORRECTION: string = `${ROUTER}.e_score_correction_bias`;
/** Weights of a router's norm, [C], and factors on the numbers of experts, [E]. */
export const ROUTER_NORM: string = `${ROUTER}.scale`;
export const EXPERT_SCALES: string = `${ROUTER}.per_expert_scale`;
/** Norms of experts, and of what the FFN of every token beside them gives, where they have their own. */
export const EXPERT_NORMS = {
  input: "pre_feedforward_layernorm_2",
  output: "post_feedforward_layernorm_2",
  beside: "post_feedforward_layernorm_1",
} as const;
/** The module of the gate of the shared expert, [1, C]. */
export const SHARED_GATE = "mlp.shared_expert_gate";

/** Names and shapes of tensors. */
type PartShapes = readonly (readonly [string, readonly number[]])[];

export function routerParts(experts: ExpertsSpec, hiddenSize: number): PartShapes {
  const { count, biased, corrected, ownNorms, ownScales } = experts;
  return [
    [`${ROUTER}.weight`, [count, hiddenSize]],
    ...(biased ? [[`${ROUTER}.bias`, [count]] as const] : []),
    ...(corrected ? [[CORRECTION, [count]] as const] : []),
    ...(ownScales ? [[EXPERT_SCALES, [count]] as const] : []),
    ...(ownNorms ? [[ROUTER_NORM, [hiddenSize]] as const] : []),
  ];
}

/** Of the shared expert and its gate; none without one. */
export function sharedExpertParts(
  { shared, sharedUngated }: ExpertsSpec,
  { hiddenSize, gated }: { readonly hiddenSize: number; readonly gated: boolean },
): PartShapes {
  if (shared === undefined) return [];
  const rows = [shared, hiddenSize];
  return [
    ...(sharedUngated ? [] : [[`${SHARED_GATE}.weight`, [1, hiddenSize]] as const]),
    ...(gated ? [["mlp.shared_expert.gate_proj.weight", rows] as const] : []),
    ["mlp.shared_expert.up_proj.weight", rows],
    ["mlp.shared_expert.down_proj.weight", [hiddenSize, shared]],
  ];
}
