/**
 * An FFN of experts, of which a router picks A for each token x (arXiv 1701.06538). With r the E products of the router
 * with x:
 *
 *     s = softmax(r), or with `sigmoid` sigmoid(r)
 *     picked: the A experts with the largest s + correction, within `groups`
 *     w_e = scale * s_e / D for picked experts, else 0
 *     D = 1, or with `normalised` the sum of the picked s, with `divisor` plus a constant or at least one
 *     output = sum over e of w_e FFN_e(x), or with `weighsInput` of FFN_e(w_e x), plus that of the shared expert, and
 *     half of all this with `averaged`
 *
 * With `sparseMixer`, a number t, A is 2, and experts are picked one after the other (arXiv 2409.12136): each is that
 * with the largest r of those that are left, m, and w_e is its part in a softmax over those of them whose r is at least
 * m - t max(|r|, m).
 *
 * w are the routing weights. The router and the shared expert are never pruned.
 */
export interface ExpertsSpec {
  /** E. */
  readonly count: number;
  /** A. */
  readonly active: number;
  /** Routing weights are divided by their sum. */
  readonly normalised: boolean;
  /**
   * Experts are in groups of equal size, one after another, and only those of some groups can be picked (arXiv
   * 2405.04434): the groups with the largest sums of their `best` largest scores. Absent where all can.
   */
  readonly groups?: { readonly count: number; readonly active: number; readonly best: number };
  /** r has biases (modeling_gpt_oss.py). */
  readonly biased?: true;
  /** t: twice `router_jitter_noise` (modeling_phimoe.py). */
  readonly sparseMixer?: number;
  /** Scores s are sigmoids (arXiv 2412.19437). */
  readonly sigmoid?: true;
  /** The router has score correction biases, [E]; else corrections are 0 (arXiv 2408.15664). */
  readonly corrected?: true;
  /** Absent where D is the sum itself (modeling_glm4_moe.py, modeling_lfm2_moe.py; modeling_ernie4_5_moe.py). */
  readonly divisor?: { readonly plus: number } | { readonly least: number };
  /** 1 where absent (`routed_scaling_factor`). */
  readonly scale?: number;
  /** Routing weights multiply what experts read; else what they give (modeling_llama4.py). */
  readonly weighsInput?: true;
  /**
   * Neurons of a shared expert, an FFN that computes for every token; absent without one. Its output is multiplied by a
   * sigmoid of the token (`shared_expert_gate` of Qwen2 MoE), unless it is `sharedUngated`.
   */
  readonly shared?: number;
  /** The shared expert's output is added as it is. */
  readonly sharedUngated?: true;
  /** What experts and the shared one give is averaged, not added up (modeling_cohere2_moe.py). */
  readonly averaged?: true;
  /**
   * Experts have norms of their own on their input and on their output, and the shared expert one on its output. The
   * router reads what the norms on inputs read, through one with weights of its own, times C^-1/2 (modeling_gemma4.py).
   */
  readonly ownNorms?: true;
  /** Each expert has a factor on its routing weight, after `normalised` (`per_expert_scale` of modeling_gemma4.py). */
  readonly ownScales?: true;
}
