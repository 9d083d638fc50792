/**
 * Multi-head latent attention (arXiv 2405.04434: DeepSeek V2 and V3): keys and values of all heads come from a latent
 * vector of the token, k_proj and v_proj times the latent, and queries may come from another. The last channels of
 * every key are the only ones that turn, and all heads share them. A KV group has one query head.
 */

/** Sizes of latents and heads. */
export interface LatentSpec {
  /** Channels of the latent that q_proj reads; null where it reads the layer's input. */
  readonly queryRank: number | null;
  /** Channels of the latent that k_proj and v_proj read. */
  readonly rank: number;
  /** Channels of a key that turn, the last of its H; k_proj gives the others. */
  readonly rotated: number;
  /** Channels of a head's values. */
  readonly valueDim: number;
  /** The projections that make the latents have biases. */
  readonly biases: boolean;
}

/**
 * Epsilon of the norms of latents: that of the class, whatever config.json says (modeling_deepseek_v3.py,
 * modeling_glm4_moe_lite.py).
 */
export const LATENT_NORM_EPS = 1e-6;

/** The matrix that makes the latent of queries, [queryRank, C], and its norm. */
export const QUERY_LATENT = { matrix: "self_attn.q_a_proj", norm: "self_attn.q_a_layernorm" } as const;
/** The matrix that makes the latent of keys and values, then the channels of keys that turn, [rank + rotated, C]. */
export const KEY_LATENT = { matrix: "self_attn.kv_a_proj", norm: "self_attn.kv_a_layernorm" } as const;

/** The tensors of a layer that make latents: shapes by name without the layer's prefix. */
export function latentParts(
  { queryRank, rank, rotated, biases }: LatentSpec,
  hiddenSize: number,
): readonly (readonly [name: string, shape: readonly number[]])[] {
  const parts = ({ matrix, norm }: Latent, rows: number, size: number) =>
    [
      [`${matrix}.weight`, [rows, hiddenSize]],
      ...(biases ? [[`${matrix}.bias`, [rows]] as const] : []),
      [`${norm}.weight`, [size]],
    ] as const;
  return [
    ...(queryRank === null ? [] : parts(QUERY_LATENT, queryRank, queryRank)),
    ...parts(KEY_LATENT, rank + rotated, rank),
  ];
}
interface Latent {
  readonly matrix: string;
  readonly norm: string;
}
