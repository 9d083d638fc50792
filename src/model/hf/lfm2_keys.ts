/**
 * Keys of LFM2's classes alone (configuration_lfm2.py, modeling_lfm2.py, configuration_lfm2_moe.py): which layers have
 * a convolution in place of attention, its filters, and the size of FFNs, which the class without experts may derive
 * from another.
 */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { mainRope } from "../rope_layers.ts";
import type { ModelSpec } from "../spec.ts";
import { convolutionKeys, convolutionSchemas, convolutionsIn } from "./convolution_keys.ts";
import { MAX_LAYERS, size } from "./limits.ts";
import { requireEveryLayer } from "./mixer_keys.ts";
import { type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

/** Tokens of a filter where config.json has none. */
const FILTER_LENGTH = 3;

/** Defaults are those of the class. */
const schema = z.object({
  layer_types: z.array(z.enum(["full_attention", "conv"])).nullish(),
  full_attn_idxs: z.array(z.int().min(0).max(MAX_LAYERS)).max(MAX_LAYERS).nullish(),
  num_hidden_layers: size.max(MAX_LAYERS),
  ...convolutionSchemas(FILTER_LENGTH),
  intermediate_size: size.default(12_288),
  block_ff_dim: size.optional(),
  block_auto_adjust_ff_dim: z.boolean().default(true),
  block_ffn_dim_multiplier: z.number().positive().nullable().default(1),
  block_multiple_of: size.default(256),
  theta: z.number().optional(),
});

type Lfm2Config = z.infer<typeof schema>;

/** The layers of both classes. */
export const LFM2_MIXERS: OwnKeysFormat = { read: readMixers, write: mixerKeys };

/** The keys of the class without experts, among them those that vLLM's class asks for (lfm2.py). */
export const LFM2_KEYS: OwnKeysFormat = {
  read: (config, where) => {
    const mixers = readMixers(config, where);
    const intermediate_size = neuronsOf(parsedKeys(schema, config, where));
    return { ...mixers, usual: { ...mixers.usual, intermediate_size } };
  },
  write: (spec) => ({
    ...mixerKeys(spec),
    full_attn_idxs: spec.layers.flatMap(({ mixer }, index) => (mixer ? [] : [index])),
    conv_dim: spec.hiddenSize,
    block_dim: spec.hiddenSize,
    block_auto_adjust_ff_dim: false,
    block_ffn_dim_multiplier: 1,
    block_multiple_of: 1,
  }),
};

/**
 * @throws GpruneError BAD_CONFIG for values out of range, a list that does not name all layers, or a `theta` unlike
 *   rope_theta
 */
function readMixers(config: JsonObject, where: string): OwnKeys {
  const { layer_types: _, tie_embedding: tied, ...others } = config;
  const keys = parsedKeys(schema, config, where);
  const complete = convolutionsIn(keys, attending(keys, where), where);
  return {
    usual: {
      ...others,
      ...(tied !== undefined && { tie_word_embeddings: tied }),
      // The class has no other activation.
      hidden_act: "silu",
    },
    complete: (spec) => {
      checkTheta(spec, keys, where);
      return complete(spec);
    },
  };
}

/** The class of transformers 4 takes `theta` before rope_theta, that of 5 does not read it. */
function checkTheta(spec: ModelSpec, { theta }: Lfm2Config, where: string): void {
  const ropeTheta = mainRope(spec)?.theta;
  if (theta === undefined || theta === ropeTheta) return;
  throw new GpruneError("BAD_CONFIG", `${where}: expected theta like rope_theta, ${ropeTheta}, got ${theta}`);
}

/** Whether each layer has attention. */
function attending(
  { layer_types: types, full_attn_idxs: attending, num_hidden_layers: count }: Lfm2Config,
  where: string,
): readonly boolean[] {
  requireEveryLayer({ layer_types: types }, count, where);
  return Array.from({ length: count }, (_, index) =>
    types ? types[index] === "full_attention" : (attending?.includes(index) ?? true),
  );
}

/** `Lfm2MLP`: two thirds of the size given, times a factor, rounded up to a multiple. */
function neuronsOf(config: Lfm2Config): number {
  const given = config.block_ff_dim ?? config.intermediate_size;
  if (!config.block_auto_adjust_ff_dim) return given;
  const reduced = Math.trunc((2 * given) / 3);
  const { block_ffn_dim_multiplier: factor, block_multiple_of: multiple } = config;
  if (factor === null) return reduced;
  return multiple * Math.ceil(Math.trunc(factor * reduced) / multiple);
}

function mixerKeys(spec: ModelSpec): JsonObject {
  return {
    layer_types: spec.layers.map(({ mixer }) => (mixer ? "conv" : "full_attention")),
    ...convolutionKeys(spec, FILTER_LENGTH),
  };
}
