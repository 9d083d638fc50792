/**
 * Keys of config.json that only the class of one family reads, and which therefore are read and written by
 * themselves.
 */
import type { OwnKeysName } from "../family.ts";
import { AFMOE_SCALE } from "./afmoe_keys.ts";
import { bloomKeys, mptKeys, readBloomKeys, readMptKeys } from "./alibi_keys.ts";
import { COHERE2_MOE_KEYS } from "./cohere2_moe_keys.ts";
import { LAST_WINDOWED } from "./dots1_keys.ts";
import type { ExpertGroups } from "./expert_groups.ts";
import { type ExpertKeys, expertKeys } from "./experts_keys.ts";
import { FALCON_H1_KEYS } from "./falcon_h1_keys.ts";
import { falconKeys, readFalconKeys } from "./falcon_keys.ts";
import { GEMMA3N_KEYS } from "./gemma3n_keys.ts";
import { gemma4Keys, readGemma4Keys } from "./gemma4_keys.ts";
import { GRANITE_HYBRID_KEYS } from "./granite_hybrid_keys.ts";
import { SAME_IN_LAYERS } from "./hunyuan_keys.ts";
import { LAGUNA_ATTENTION } from "./laguna_keys.ts";
import { type LatentSizes, latentKeys } from "./latent_keys.ts";
import { LAYER_THETAS } from "./layer_thetas.ts";
import { LFM2_KEYS, LFM2_MIXERS } from "./lfm2_keys.ts";
import { LFM3_KEYS } from "./lfm3_keys.ts";
import { LLAMA4_KEYS } from "./llama4_keys.ts";
import { MINICPM3_FACTORS } from "./minicpm3_keys.ts";
import { MINIMAX_ROTATION } from "./minimax_keys.ts";
import { wholeHeads } from "./mistral4_keys.ts";
import { NEMOTRON_H_KEYS } from "./nemotron_h_keys.ts";
import { OLMO_HYBRID_KEYS } from "./olmo_hybrid_keys.ts";
import { both, type OwnKeysFormat } from "./own_keys.ts";
import { PHIMOE_KEYS } from "./phimoe_keys.ts";
import { DELTA_KEYS } from "./qwen3_5_keys.ts";
import { SIGMOID_EXPERTS } from "./sigmoid_experts.ts";
import {
  afterDense,
  BY_STEP,
  BY_TYPE,
  BY_TYPE_AND_STEP,
  BY_TYPE_OR_ALL,
  BY_TYPE_OR_NUMBER,
  IN_INTERVAL,
} from "./sparse_layers.ts";

/** The class assumes a layer that predicts a further token, which is not read (`predictingLayers`). */
const PREDICTING_NONE: OwnKeysFormat = {
  read: (usual) => ({ usual, complete: (spec) => spec }),
  write: () => ({ num_nextn_predict_layers: 0 }),
};

/** Routers by corrected sigmoids beside latents (`DeepseekV3TopkRouter`, `Glm4MoeLiteTopkRouter`). */
function latentExperts({
  latents,
  count,
  active,
  groups,
  own,
  scale,
}: {
  readonly latents: LatentSizes;
  readonly count: number;
  readonly active: number;
  readonly groups: ExpertGroups["usual"];
  readonly own: ExpertKeys["own"];
  readonly scale: number;
}): OwnKeysFormat {
  const experts = expertKeys({
    ...SIGMOID_EXPERTS,
    defaults: { ...SIGMOID_EXPERTS.defaults, count, active, scale },
    groups: { usual: groups, best: 2, vllm: { topk_method: "noaux_tc", scoring_func: "sigmoid" } },
    shared: { key: "n_shared_experts", usual: 1 },
    own,
  });
  return both(PREDICTING_NONE, both(latentKeys(latents), experts));
}

/** Attention has gates, as the class says by a key of its own. */
const QWEN3_5 = both(DELTA_KEYS, {
  read: (usual) => ({ usual, complete: (spec) => spec }),
  write: () => ({ attn_output_gate: true }),
});

/** Granite's experts, with a shared one where its width is given. */
const GRANITE_EXPERTS = expertKeys({
  count: "num_local_experts",
  defaults: { count: 8, active: 2, normalised: true },
  normalises: false,
  shared: { key: "shared_intermediate_size", usual: 0 },
  own: null,
});

/** The classes that have any. */
export const OWN_KEYS: Readonly<Record<OwnKeysName, OwnKeysFormat>> = {
  bloom: { read: readBloomKeys, write: bloomKeys },
  cohere2_moe: COHERE2_MOE_KEYS,
  falcon: { read: readFalconKeys, write: falconKeys },
  falcon_h1: FALCON_H1_KEYS,
  mpt: { read: readMptKeys, write: mptKeys },
  nemotron_h: NEMOTRON_H_KEYS,
  olmo_hybrid: OLMO_HYBRID_KEYS,
  llama4: LLAMA4_KEYS,
  gemma3n: GEMMA3N_KEYS,
  gemma4: { read: readGemma4Keys, write: gemma4Keys },
  granite_hybrid: GRANITE_HYBRID_KEYS,
  granitemoe: expertKeys({
    count: "num_local_experts",
    defaults: { count: 8, active: 2, normalised: true },
    normalises: false,
    own: null,
  }),
  granitemoeshared: GRANITE_EXPERTS,
  granite_swa: LAYER_THETAS,
  granitemoe_swa: both(LAYER_THETAS, GRANITE_EXPERTS),
  gpt_oss: expertKeys({
    count: "num_local_experts",
    alias: "num_experts",
    defaults: { count: 128, active: 4, normalised: true, biased: true },
    normalises: false,
    own: null,
  }),
  hunyuan_v1_moe: both(
    SAME_IN_LAYERS,
    expertKeys({
      count: "num_experts",
      alias: "num_local_experts",
      active: "moe_topk",
      defaults: { count: 1, active: 1, normalised: true },
      normalises: false,
      shared: { key: null, usual: 1 },
      own: null,
    }),
  ),
  mixtral: expertKeys({
    count: "num_local_experts",
    alias: "num_experts",
    defaults: { count: 8, active: 2, normalised: true },
    normalises: false,
    own: null,
  }),
  minimax_m2: both(
    MINIMAX_ROTATION,
    expertKeys({
      count: "num_local_experts",
      alias: "num_experts",
      defaults: { count: 256, active: 8, normalised: true, sigmoid: true },
      normalises: false,
      corrects: "always",
      own: null,
    }),
  ),
  olmoe: expertKeys({
    count: "num_experts",
    alias: "num_local_experts",
    defaults: { count: 64, active: 8, normalised: false },
    normalises: true,
    own: null,
  }),
  phimoe: PHIMOE_KEYS,
  flex_olmo: expertKeys({
    count: "num_experts",
    alias: "num_local_experts",
    defaults: { count: 7, active: 5, normalised: false },
    normalises: true,
    own: null,
  }),
  qwen3_moe: expertKeys({
    count: "num_experts",
    alias: "num_local_experts",
    defaults: { count: 128, active: 8, normalised: false },
    normalises: true,
    own: { neurons: 768, layers: BY_STEP },
  }),
  mellum: expertKeys({
    count: "num_experts",
    alias: "num_local_experts",
    defaults: { count: 64, active: 8, normalised: true },
    normalises: true,
    own: { neurons: 896, layers: BY_TYPE_OR_ALL },
  }),
  qwen2_moe: expertKeys({
    count: "num_experts",
    defaults: { count: 60, active: 4, normalised: false },
    normalises: true,
    shared: { key: "shared_expert_intermediate_size", usual: 5632 },
    own: { neurons: 1408, layers: BY_STEP },
  }),
  qwen3_next: both(
    DELTA_KEYS,
    expertKeys({
      count: "num_experts",
      defaults: { count: 512, active: 10, normalised: true },
      normalises: true,
      shared: { key: "shared_expert_intermediate_size", usual: 512 },
      own: { neurons: 512, layers: BY_STEP },
    }),
  ),
  qwen3_5_moe: both(
    QWEN3_5,
    expertKeys({
      count: "num_experts",
      defaults: { count: 256, active: 8, normalised: true },
      normalises: false,
      shared: { key: "shared_expert_intermediate_size", usual: 512 },
      own: { neurons: 512, layers: null },
    }),
  ),
  lfm2: LFM2_KEYS,
  lfm2_moe: both(
    LFM2_MIXERS,
    expertKeys({
      count: "num_experts",
      defaults: { count: 32, active: 4, normalised: true, sigmoid: true, divisor: { plus: 1e-6 } },
      normalises: true,
      corrects: "use_expert_bias",
      scales: "routed_scaling_factor",
      own: { neurons: 1792, layers: afterDense("num_dense_layers", { usual: 2 }) },
    }),
  ),
  lfm3: LFM3_KEYS,
  minicpm5_moe: expertKeys({
    ...SIGMOID_EXPERTS,
    defaults: { ...SIGMOID_EXPERTS.defaults, count: 160, active: 16, scale: 3.66 },
    shared: { key: "n_shared_experts", usual: 1 },
    own: { neurons: 512, layers: BY_TYPE_OR_NUMBER },
  }),
  glm4_moe: both(
    PREDICTING_NONE,
    expertKeys({
      ...SIGMOID_EXPERTS,
      shared: { key: "n_shared_experts", usual: 1 },
      own: { neurons: 1408, layers: afterDense("first_k_dense_replace", { usual: 1 }) },
    }),
  ),
  deepseek_v3: latentExperts({
    latents: { queryRank: 1536, rank: 512, rotated: 64, unrotated: 128, valueDim: 128 },
    count: 256,
    active: 8,
    groups: [8, 4],
    own: { neurons: 2048, layers: afterDense("first_k_dense_replace", { usual: 3 }) },
    scale: 2.5,
  }),
  glm4_moe_lite: latentExperts({
    latents: { queryRank: 768, rank: 512, rotated: 64, unrotated: 192, valueDim: 256, alias: true },
    count: 64,
    active: 4,
    groups: [1, 1],
    own: { neurons: 1536, layers: BY_TYPE },
    scale: 1.8,
  }),
  mistral4: both(
    wholeHeads(latentKeys({ queryRank: 1024, rank: 256, rotated: 64, unrotated: 64, valueDim: 128 })),
    expertKeys({
      count: "n_routed_experts",
      alias: "num_local_experts",
      defaults: { count: 128, active: 4, normalised: true, divisor: { plus: 1e-20 } },
      normalises: true,
      scales: "routed_scaling_factor",
      groups: { usual: [1, 1], best: 2 },
      shared: { key: "n_shared_experts", usual: 1 },
      own: { neurons: 2048, layers: afterDense("first_k_dense_replace", { usual: 0 }) },
    }),
  ),
  minicpm3: both(
    latentKeys({ queryRank: 768, rank: 256, rotated: 32, unrotated: 64, valueDim: "C/N" }),
    MINICPM3_FACTORS,
  ),
  deepseek_v2: both(
    latentKeys({ queryRank: 1536, rank: 512, rotated: 64, unrotated: 128, valueDim: 128 }),
    expertKeys({
      count: "n_routed_experts",
      alias: "num_experts",
      defaults: { count: 64, active: 6, normalised: false },
      normalises: false,
      scales: "routed_scaling_factor",
      groups: { usual: [1, 1], best: 1, byMethod: true, vllm: { scoring_func: "softmax" } },
      shared: { key: "n_shared_experts", usual: 2 },
      own: { neurons: 1407, layers: afterDense("first_k_dense_replace", { usual: 0 }) },
    }),
  ),
  // The numbers of experts are those of the published model; the class has none.
  dots1: both(
    LAST_WINDOWED,
    expertKeys({
      ...SIGMOID_EXPERTS,
      defaults: { ...SIGMOID_EXPERTS.defaults, active: 6, normalised: false },
      shared: { key: "n_shared_experts", usual: 2 },
      own: { neurons: 1408, layers: afterDense("first_k_dense_replace", { usual: 0 }) },
    }),
  ),
  exaone_moe: expertKeys({
    ...SIGMOID_EXPERTS,
    count: "num_experts",
    defaults: { ...SIGMOID_EXPERTS.defaults, count: 64, scale: 2.5 },
    shared: { key: "num_shared_experts", usual: 1 },
    own: { neurons: 1024, layers: BY_TYPE_OR_NUMBER },
  }),
  afmoe: both(
    AFMOE_SCALE,
    expertKeys({
      count: "num_experts",
      alias: "num_local_experts",
      defaults: { count: 64, active: 6, normalised: true, sigmoid: true, divisor: { plus: 1e-20 } },
      normalises: false,
      corrects: "always",
      scales: "route_scale",
      shared: { key: "num_shared_experts", usual: 2 },
      own: { neurons: 1408, layers: afterDense("num_dense_layers", { usual: 1 }) },
    }),
  ),
  laguna: both(
    LAGUNA_ATTENTION,
    expertKeys({
      count: "num_experts",
      defaults: { count: 256, active: 8, normalised: true, sigmoid: true },
      normalises: false,
      corrects: "always",
      scales: "moe_routed_scaling_factor",
      shared: { key: "shared_expert_intermediate_size", usual: 512, ungated: true },
      own: { neurons: 512, layers: BY_TYPE_AND_STEP },
    }),
  ),
  solar_open: expertKeys({
    ...SIGMOID_EXPERTS,
    shared: { key: "n_shared_experts", usual: 1 },
    own: { neurons: 1280, layers: null },
  }),
  ernie4_5_moe: expertKeys({
    count: "moe_num_experts",
    alias: "num_experts",
    active: "moe_k",
    defaults: { count: 64, active: 6, normalised: true },
    normalises: false,
    corrects: "always",
    least: { key: "moe_norm_min", usual: 1e-12 },
    shared: { key: "moe_num_shared_experts", usual: 2 },
    own: { neurons: 1536, layers: IN_INTERVAL },
  }),
  qwen3_5: QWEN3_5,
};
