/** Tensors of checkpoints that hold several matrices of a layer (checkpoint/fused.ts reads and writes them). */
import type { FusedName } from "./family.ts";
import type { LayerMatrix } from "./spec.ts";

/** A tensor that holds several projections. */
export interface Fusion {
  readonly parts: readonly LayerMatrix[];
  /** Rows are those of all parts for one KV group after another; else one part comes after another. */
  readonly byGroup: boolean;
  /** Biases may be in a tensor of the same kind; else the projections have none. */
  readonly biases: boolean;
}

const QKV = ["q_proj", "k_proj", "v_proj"] as const;

/** The tensors that hold several projections. */
export const FUSIONS: Readonly<Record<FusedName, Fusion>> = {
  qkv_proj: { parts: QKV, byGroup: false, biases: false },
  gate_up_proj: { parts: ["gate_proj", "up_proj"], byGroup: false, biases: false },
  "shared_expert.gate_up_proj": {
    parts: ["mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj"],
    byGroup: false,
    biases: false,
  },
  c_attn: { parts: QKV, byGroup: false, biases: true },
  kv_b_proj: { parts: ["k_proj", "v_proj"], byGroup: true, biases: false },
  query_key_value: { parts: QKV, byGroup: true, biases: true },
};
