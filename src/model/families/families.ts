/**
 * The model families; a file for each maker describes them as data, and no other file asks for a family by name.
 * ARCHITECTURE.md shows how to add one.
 */
import { GpruneError } from "../../errors.ts";
import type { Family } from "../family.ts";
import { AFMOE } from "./afmoe.ts";
import { APERTUS } from "./apertus.ts";
import { ARCEE } from "./arcee.ts";
import { BLOOM } from "./bloom.ts";
import { COHERE, COHERE2, COHERE2_MOE } from "./cohere.ts";
import { CWM } from "./cwm.ts";
import { DEEPSEEK_V2, DEEPSEEK_V3, GLM4_MOE_LITE } from "./deepseek.ts";
import { DOTS1 } from "./dots1.ts";
import { ERNIE4_5, ERNIE4_5_MOE } from "./ernie4_5.ts";
import { EXAONE_MOE, EXAONE4 } from "./exaone4.ts";
import { FALCON } from "./falcon.ts";
import { FALCON_H1 } from "./falcon_h1.ts";
import { GEMMA, GEMMA2, GEMMA3, GEMMA3N, GEMMA4, VAULTGEMMA } from "./gemma.ts";
import { GLM, GLM4, GLM4_MOE } from "./glm.ts";
import { GPT_BIGCODE } from "./gpt_bigcode.ts";
import { GPT_NEO } from "./gpt_neo.ts";
import { GPT_NEOX } from "./gpt_neox.ts";
import { GPT_OSS } from "./gpt_oss.ts";
import { GPT2 } from "./gpt2.ts";
import { GPTJ } from "./gptj.ts";
import {
  GRANITE,
  GRANITE_HYBRID,
  GRANITE_MOE,
  GRANITE_MOE_SHARED,
  GRANITE_MOE_SWA,
  GRANITE_SWA,
} from "./granite.ts";
import { HELIUM } from "./helium.ts";
import { HUNYUAN, HUNYUAN_MOE } from "./hunyuan.ts";
import { HYPERCLOVAX } from "./hyperclovax.ts";
import { JAIS2 } from "./jais2.ts";
import { LAGUNA } from "./laguna.ts";
import { LFM2, LFM2_MOE, LFM3 } from "./lfm2.ts";
import { LLAMA } from "./llama.ts";
import { LLAMA4 } from "./llama4.ts";
import { MELLUM } from "./mellum.ts";
import { MINICPM3 } from "./minicpm3.ts";
import { MINICPM5_MOE } from "./minicpm5.ts";
import { MINIMAX_M2 } from "./minimax.ts";
import { MINISTRAL, MINISTRAL3, MISTRAL, MISTRAL4, MIXTRAL } from "./mistral.ts";
import { MPT } from "./mpt.ts";
import { NANOCHAT } from "./nanochat.ts";
import { NEMOTRON } from "./nemotron.ts";
import { NEMOTRON_H } from "./nemotron_h.ts";
import { FLEX_OLMO, OLMO, OLMO_HYBRID, OLMO2, OLMO3, OLMOE } from "./olmo.ts";
import { OPT } from "./opt.ts";
import { PHI } from "./phi.ts";
import { PHI3 } from "./phi3.ts";
import { PHIMOE } from "./phimoe.ts";
import { QWEN2, QWEN2_MOE, QWEN3, QWEN3_5, QWEN3_5_MOE, QWEN3_MOE, QWEN3_NEXT } from "./qwen.ts";
import { SEED_OSS } from "./seed_oss.ts";
import { SMOLLM3 } from "./smollm3.ts";
import { SOLAR_OPEN } from "./solar_open.ts";
import { STABLELM } from "./stablelm.ts";
import { STARCODER2 } from "./starcoder2.ts";

export const FAMILIES: readonly Family[] = [
  LLAMA,
  MISTRAL,
  MIXTRAL,
  MINIMAX_M2,
  MINICPM3,
  MINICPM5_MOE,
  MINISTRAL,
  MINISTRAL3,
  MISTRAL4,
  QWEN2,
  QWEN2_MOE,
  QWEN3,
  QWEN3_MOE,
  MELLUM,
  QWEN3_5,
  QWEN3_5_MOE,
  QWEN3_NEXT,
  GEMMA,
  GEMMA2,
  GEMMA3,
  GEMMA3N,
  GEMMA4,
  VAULTGEMMA,
  PHI3,
  PHIMOE,
  GRANITE,
  GRANITE_MOE,
  GRANITE_MOE_SHARED,
  GRANITE_HYBRID,
  GRANITE_SWA,
  GRANITE_MOE_SWA,
  HYPERCLOVAX,
  SMOLLM3,
  OLMO,
  OLMO2,
  OLMO3,
  OLMO_HYBRID,
  OLMOE,
  FLEX_OLMO,
  EXAONE4,
  EXAONE_MOE,
  SEED_OSS,
  ERNIE4_5,
  ERNIE4_5_MOE,
  CWM,
  LLAMA4,
  LFM2,
  LFM2_MOE,
  LFM3,
  HELIUM,
  HUNYUAN,
  HUNYUAN_MOE,
  GLM,
  GLM4,
  GLM4_MOE,
  GLM4_MOE_LITE,
  DEEPSEEK_V2,
  DEEPSEEK_V3,
  DOTS1,
  SOLAR_OPEN,
  AFMOE,
  LAGUNA,
  APERTUS,
  ARCEE,
  NANOCHAT,
  NEMOTRON,
  NEMOTRON_H,
  STARCODER2,
  STABLELM,
  PHI,
  GPT_NEOX,
  GPT_OSS,
  COHERE,
  COHERE2,
  COHERE2_MOE,
  GPT2,
  GPT_BIGCODE,
  GPT_NEO,
  GPTJ,
  OPT,
  BLOOM,
  MPT,
  FALCON,
  FALCON_H1,
  JAIS2,
];

/** Prefix of the `model_type` of checkpoints that our own modelling file loads, so that no stock class takes them. */
export const REMOTE_CODE_PREFIX = "gprune_";

/** `model_type` of every family that can be read. */
export const FAMILY_NAMES: readonly string[] = FAMILIES.map((family) => family.modelType);

/** The family of a model type; undefined for one that is not in the table. */
export function findFamily(modelType: unknown): Family | undefined {
  return FAMILIES.find((family) => family.modelType === modelType);
}

/**
 * The family of a model type.
 * @param hint - for a model type that is not in the table
 * @throws GpruneError UNSUPPORTED for a model type that is not in the table
 */
export function familyByName(modelType: string, where: string, hint?: () => string): Family {
  const family = findFamily(modelType);
  if (family !== undefined) return family;
  throw new GpruneError(
    "UNSUPPORTED",
    `${where}: expected the model_type of a supported family, got ${JSON.stringify(modelType)}`,
    { hint: hint?.() ?? `Supported families are ${FAMILY_NAMES.join(", ")}.` },
  );
}
