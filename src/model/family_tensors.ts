/** How checkpoints of a family hold its tensors. */

import type { Projection } from "./projections.ts";

/** Tensors that hold the rows of several projections, by their names in a layer's attention or FFN. */
export const FUSED_NAMES = [
  "qkv_proj",
  "gate_up_proj",
  "shared_expert.gate_up_proj",
  "query_key_value",
  "query_value_key",
  "c_attn",
  "kv_b_proj",
  "in_proj_qkvz",
  "in_proj_ba",
] as const;
export type FusedName = (typeof FUSED_NAMES)[number];

/** An order of a head's rotated channels (rotary_rows.ts). */
export type RotatedOrder = "halves" | "pairs" | "swapped_halves";

/** How a checkpoint holds matrices of experts: as a tensor for each of them, or one for all, [E, rows, columns]. */
export interface StoredExperts {
  /** Its name in a layer, with `*` for the number of the expert if each has its own. */
  readonly name: string;
  /** The projections that it has, one's rows after another's. */
  readonly parts: readonly Projection[];
  /** Rows of the projections take turns instead: the first of each, the second of each, and so on. */
  readonly interleaved?: true;
  /** Each expert's matrix is transposed: [E, columns, rows]. */
  readonly transposed?: true;
  /** It has the biases of the projections: [E, rows]. */
  readonly bias?: true;
}

/** How the checkpoint holds the tensors. */
export interface FamilyTensors {
  /** Prefixes of the checkpoint's names: of the decoder's tensors, and of those of its output matrix. */
  readonly prefixes: { readonly decoder: string; readonly head: string };
  /** Names of parts of a layer, where the checkpoint's differ from the usual ones (weights.ts): stored by usual. */
  readonly names: Readonly<Record<string, string>>;
  /** Those of norms of parallel blocks that have one each, where they are others; the same where absent. */
  readonly namesBeside?: Readonly<Record<string, string>>;
  /** Names of parts of layers in models with experts, where they are others; the same where absent. */
  readonly namesWithExperts?: Readonly<Record<string, string>>;
  /** Those of parts of layers in models with a latent of queries, where they are others; the same where absent. */
  readonly namesWithQueryLatent?: Readonly<Record<string, string>>;
  /**
   * The checkpoint's names of parts of a layer by others that transformers 5 gives them: mostly those of its class, in
   * files that were saved with `save_original_format=False`. None where absent.
   */
  readonly namesInMemory?: Readonly<Record<string, string>>;
  /** The same of what the decoder has besides layers. */
  readonly outerNames: Readonly<Record<string, string>>;
  /**
   * Names of tensors of the first and of the last layer that the checkpoint has outside of layers: stored by usual;
   * none where absent.
   */
  readonly outsideLayers?: Readonly<Record<"first" | "last", Readonly<Record<string, string>>>>;
  /** Tensors that hold several projections. */
  readonly fused: readonly FusedName[];
  /** Those of other classes whose files are read as this family. */
  readonly fusedInOthers?: readonly FusedName[];
  /** Tensors of experts, with names of parts that `names` does not change; null for a family without experts. */
  readonly experts: readonly StoredExperts[] | null;
  /** Those of other classes whose files are read as this family. */
  readonly expertsInOthers?: readonly StoredExperts[];
  /** Corrections of routers (`ExpertsSpec`) are stored as matrices of one row. */
  readonly correctionsInRows: boolean;
  /** The matrices of layers are stored as [in, out] (`Conv1D` of pytorch_utils.py). */
  readonly transposed: boolean;
  /** The order of a head's rotated channels in the checkpoint. */
  readonly rotatedOrder: RotatedOrder;
  /** Norms with weights for each head are stored as a vector for each head (checkpoint/parts.ts). */
  readonly listsHeadNorms: boolean;
  /**
   * Matrices and filters of linear attention whose rows for queries, keys and values are tensors of their own, and their
   * names in the checkpoint; none where absent.
   */
  readonly linearParts?: Readonly<Record<string, readonly [queries: string, keys: string, values: string]>>;
}
