/** Tensors of checkpoints that hold several matrices of a layer (checkpoint/fused.ts reads and writes them). */
import type { FusedName } from "./family_tensors.ts";
import type { LayerMatrix } from "./projections.ts";

/** A tensor that holds several projections. */
export interface Fusion {
  readonly parts: readonly LayerMatrix[];
  /**
   * Rows are those of all parts for one KV group, or one key head of a delta rule, after another: then of queries, keys
   * and values before those of other parts; or for one quarter of the heads after another, as the model was trained on
   * four devices. Null where one part comes after another.
   */
  readonly by: "kv_group" | "key_head" | "quarter" | null;
  /** Biases may be in a tensor of the same kind; else the projections have none. */
  readonly biases: boolean;
}

const QKV = ["q_proj", "k_proj", "v_proj"] as const;

/** The tensors that hold several projections. */
export const FUSIONS: Readonly<Record<FusedName, Fusion>> = {
  qkv_proj: { parts: QKV, by: null, biases: false },
  gate_up_proj: { parts: ["gate_proj", "up_proj"], by: null, biases: false },
  "shared_expert.gate_up_proj": {
    parts: ["mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj"],
    by: null,
    biases: false,
  },
  c_attn: { parts: QKV, by: null, biases: true },
  query_key_value: { parts: QKV, by: "kv_group", biases: true },
  query_value_key: { parts: ["q_proj", "v_proj", "k_proj"], by: "quarter", biases: false },
  in_proj_qkvz: {
    parts: ["linear_attn.in_proj_qkv", "linear_attn.in_proj_z"],
    by: "key_head",
    biases: false,
  },
  in_proj_ba: {
    parts: ["linear_attn.in_proj_b", "linear_attn.in_proj_a"],
    by: "key_head",
    biases: false,
  },
  kv_b_proj: { parts: ["k_proj", "v_proj"], by: "kv_group", biases: false },
};
