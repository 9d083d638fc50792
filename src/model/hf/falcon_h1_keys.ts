/**
 * Keys of Falcon-H1's class alone (configuration_falcon_h1.py): the sizes of the Mamba 2 that every layer has beside
 * attention, and the factors of muP.
 */
import { z } from "zod";
import { internalError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { linearAttentionsOf } from "../mixer_layers.ts";
import type { Mamba2Spec } from "../mixer_spec.ts";
import type { BlockMultipliers, MixerMultipliers } from "../multipliers_spec.ts";
import type { ModelSpec } from "../spec.ts";
import { size } from "./limits.ts";
import { mamba2Keys, mamba2Of, mamba2Schema } from "./mamba2_keys.ts";
import { requireUnlimitedSteps } from "./mixer_keys.ts";
import { type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

const factor = z.number().min(-1e30).max(1e30);
/** A factor on embeddings or logits: these are divided by it in other places. */
const scale = z.number().min(1e-30).max(1e30);

/** Defaults are those of the class. */
const schema = mamba2Schema.extend({
  hidden_size: size.default(4096),
  mamba_d_ssm: size.nullable().default(1024),
  mamba_rms_norm: z.boolean().default(false),
  mamba_norm_before_gate: z.boolean().default(true),
  projectors_bias: z.boolean().default(false),
  embedding_multiplier: scale.default(1),
  lm_head_multiplier: scale.default(1),
  attention_in_multiplier: factor.default(1),
  attention_out_multiplier: factor.default(1),
  key_multiplier: factor.default(1),
  ssm_in_multiplier: factor.default(1),
  ssm_out_multiplier: factor.default(1),
  ssm_multipliers: z.tuple([factor, factor, factor, factor, factor]).nullish(),
  mlp_multipliers: z.tuple([factor, factor]).nullish(),
});

type FalconH1Config = z.infer<typeof schema>;

export const FALCON_H1_KEYS: OwnKeysFormat = { read, write };

/** @throws GpruneError UNSUPPORTED for limits of steps, BAD_CONFIG for values out of range or sizes that do not fit */
function read(config: JsonObject, where: string): ReturnType<OwnKeysFormat["read"]> {
  const keys = parsedKeys(schema, config, where);
  requireUnlimitedSteps(config, where);
  const beside = mambaOf(keys, where);
  const multipliers = blockMultipliers(keys);
  return {
    usual: config,
    complete: (spec) => ({
      ...spec,
      layers: spec.layers.map((layer) => ({ ...layer, beside })),
      embeddingScale: keys.embedding_multiplier,
      logitDivisor: 1 / keys.lm_head_multiplier,
      ...(multipliers && { multipliers }),
    }),
  };
}

function mambaOf(config: FalconH1Config, where: string): Mamba2Spec {
  const { mamba_d_ssm: own, mamba_expand: expand, hidden_size: hidden } = config;
  const width =
    own === null
      ? { values: expand * hidden, what: `${expand} times hidden_size` }
      : { values: own, what: "mamba_d_ssm" };
  const mamba = mamba2Of(config, width, where);
  const multipliers = mixerMultipliers(config);
  return {
    ...mamba,
    ...(config.projectors_bias !== mamba.biases && { outputBias: config.projectors_bias }),
    ...normOf(config),
    ...(multipliers && { multipliers }),
  };
}

function normOf(config: FalconH1Config): Pick<Mamba2Spec, "norm"> {
  if (!config.mamba_rms_norm) return { norm: "none" };
  return config.mamba_norm_before_gate ? { norm: "before_gates" } : {};
}

function mixerMultipliers(config: FalconH1Config): MixerMultipliers | null {
  const { ssm_in_multiplier: input, ssm_out_multiplier: output, ssm_multipliers } = config;
  const parts = ssm_multipliers ?? ([1, 1, 1, 1, 1] as const);
  return [input, output, ...parts].every((value) => value === 1) ? null : { input, parts, output };
}

function blockMultipliers(config: FalconH1Config): BlockMultipliers | null {
  const [gates, ffnOutput] = config.mlp_multipliers ?? [1, 1];
  const multipliers = {
    attentionInput: config.attention_in_multiplier,
    keys: config.key_multiplier,
    attentionOutput: config.attention_out_multiplier,
    gates,
    ffnOutput,
  };
  return Object.values(multipliers).every((value) => value === 1) ? null : multipliers;
}

function write(spec: ModelSpec): JsonObject {
  const [mamba] = linearAttentionsOf(spec);
  if (mamba?.type !== "mamba2") throw internalError("a model without Mamba 2 written as Falcon-H1");
  const { multipliers: ofBlocks } = spec;
  const { multipliers: ofMixer } = mamba;
  return {
    ...mamba2Keys(mamba),
    mamba_d_ssm: mamba.valueHeads * mamba.valueDim,
    mamba_rms_norm: mamba.norm !== "none",
    mamba_norm_before_gate: mamba.norm === "before_gates",
    projectors_bias: mamba.outputBias ?? mamba.biases,
    embedding_multiplier: spec.embeddingScale,
    lm_head_multiplier: 1 / spec.logitDivisor,
    attention_in_multiplier: ofBlocks?.attentionInput ?? 1,
    attention_out_multiplier: ofBlocks?.attentionOutput ?? 1,
    key_multiplier: ofBlocks?.keys ?? 1,
    ssm_in_multiplier: ofMixer?.input ?? 1,
    ssm_out_multiplier: ofMixer?.output ?? 1,
    ssm_multipliers: ofMixer?.parts ?? [1, 1, 1, 1, 1],
    mlp_multipliers: [ofBlocks?.gates ?? 1, ofBlocks?.ffnOutput ?? 1],
  };
}
