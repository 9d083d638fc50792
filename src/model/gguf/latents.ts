/**
 * Latent attention in GGUF files, both ways (deepseek2.cpp and conversion/deepseek.py of llama.cpp). To llama.cpp the
 * latent, with the channels that turn, is the one key of all heads; k_proj and v_proj are matrices for each head, of
 * which those of keys are transposed.
 */
import { type EncodedValue, u32 } from "../../io/formats/gguf_values.ts";
import type { LatentSpec } from "../latent_spec.ts";
import { mainRope } from "../rope_layers.ts";
import type { RopeSpec } from "../rope_spec.ts";
import type { ModelSpec } from "../spec.ts";
import { projectionName } from "../weight_names.ts";
import type { GgufArchitecture } from "./architecture.ts";
import type { GgufKeys } from "./keys.ts";

const RANK = "attention.kv_lora_rank";
const QUERY_RANK = "attention.q_lora_rank";
/** Channels of keys and values of a head; without `_mla`, of the latent. */
const KEY_LENGTH = "attention.key_length_mla";
const VALUE_LENGTH = "attention.value_length_mla";
const ROTATED_LENGTH = "rope.dimension_count";

/** Channels of heads that turn. @throws GpruneError BAD_FILE unless they are pairs */
export function rotatedLength(keys: GgufKeys): number {
  const rotated = keys.size(ROTATED_LENGTH);
  if (rotated % 2 === 0) return rotated;
  throw keys.bad(ROTATED_LENGTH, "an even number", rotated);
}

/**
 * Sizes of latents and heads.
 * @throws GpruneError BAD_FILE for impossible ones, UNSUPPORTED for files that have k_proj and v_proj in one tensor
 */
export function latentsOf(keys: GgufKeys): { readonly latent: LatentSpec; readonly headDim: number } {
  if (!keys.metadata.has(keys.key(KEY_LENGTH))) {
    const hint = "Convert the model again: newer files have k_proj and v_proj apart.";
    throw keys.unsupported(KEY_LENGTH, { expected: "a number", got: "none", hint });
  }
  const [headDim, rotated] = [keys.size(KEY_LENGTH), rotatedLength(keys)];
  if (rotated >= headDim) throw keys.bad(KEY_LENGTH, `more than ${rotated}, the channels that turn`, headDim);
  const hasQueryRank = keys.metadata.has(keys.key(QUERY_RANK)) && keys.count(QUERY_RANK) > 0;
  return {
    headDim,
    latent: {
      queryRank: hasQueryRank ? keys.size(QUERY_RANK) : null,
      rank: keys.size(RANK),
      rotated,
      valueDim: keys.size(VALUE_LENGTH),
      biases: false,
    },
  };
}

/** The keys for the heads of a model. */
export function latentEntries(
  latent: LatentSpec,
  { headDim }: Pick<ModelSpec, "headDim">,
): readonly (readonly [string, EncodedValue])[] {
  const { queryRank, rank, rotated, valueDim } = latent;
  return [
    ["attention.head_count_kv", u32(1)],
    ["attention.key_length", u32(rank + rotated)],
    ["attention.value_length", u32(rank)],
    [KEY_LENGTH, u32(headDim)],
    [VALUE_LENGTH, u32(valueDim)],
    [RANK, u32(rank)],
    ...(queryRank === null ? [] : [[QUERY_RANK, u32(queryRank)] as const]),
  ];
}

/** An architecture with the names of a model's tensors: q_proj has another where it reads a latent. */
export function forLatents(
  architecture: GgufArchitecture,
  { latent }: Pick<ModelSpec, "latent">,
): GgufArchitecture {
  if (!latent?.queryRank) return architecture;
  return { ...architecture, names: { ...architecture.names, "self_attn.q_proj": "attn_q_b" } };
}

/** Matrices of a weight for each head, one after another. */
interface HeadMatrices {
  readonly count: number;
  /** They are transposed. */
  readonly turned: boolean;
}

/** The weights that are such matrices in a file, by name. */
export function headMatrices({
  latent,
  layers,
}: Pick<ModelSpec, "latent" | "layers">): ReadonlyMap<string, HeadMatrices> {
  const found = new Map<string, HeadMatrices>();
  if (latent === undefined) return found;
  for (const [index, { kvGroups: count }] of layers.entries()) {
    found.set(projectionName(index, "k_proj"), { count, turned: true });
    found.set(projectionName(index, "v_proj"), { count, turned: false });
  }
  return found;
}

/** Numbers of layers of models whose queries come from no latent (`is_lite` of llama-model.cpp). */
const PLAIN_QUERIES: readonly number[] = [26, 27];

/** Why llama.cpp cannot have the latents of a model, or a model without; null where it can. */
export function latentObstacle(
  spec: Pick<ModelSpec, "latent" | "layers">,
  { latents }: Pick<GgufArchitecture, "latents">,
): string | null {
  const { latent } = spec;
  if ((latent !== undefined) !== latents) return `attention with${latents ? "out" : ""} latents`;
  if (latent === undefined) return null;
  if (latent.biases) return "biases of what makes latents";
  const count = spec.layers.length;
  if ((latent.queryRank === null) !== PLAIN_QUERIES.includes(count))
    return `queries with${latent.queryRank === null ? "out" : ""} a latent in ${count} layers`;
  return scalingObstacle(mainRope(spec));
}

/** llama.cpp multiplies scores by factors of scalings that only this one does not have otherwise (deepseek2.cpp). */
function scalingObstacle(rope: RopeSpec | null): string | null {
  const scaling = rope?.scaling ?? null;
  if (scaling === null) return null;
  if (scaling.type !== "yarn") return "scalings of rotary frequencies other than YaRN beside latents";
  const isKnown = scaling.allDim !== undefined && scaling.attentionFactor === 1;
  return isKnown ? null : "YaRN without mscale and mscale_all_dim, the same number, beside latents";
}
