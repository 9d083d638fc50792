/**
 * Keys of Nemotron-H's class alone (configuration_nemotron_h.py): what each layer is, the sizes of Mamba 2, and the
 * experts.
 */
import { z } from "zod";
import { plainName } from "../../base/plain_text.ts";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { withoutFfn } from "../ffn_layers.ts";
import { linearAttentionsOf, mixerLayer } from "../mixer_layers.ts";
import type { Mamba2Spec } from "../mixer_spec.ts";
import type { LayerSpec } from "../spec.ts";
import { expertKeys } from "./experts_keys.ts";
import { MAX_LAYERS } from "./limits.ts";
import {
  filterLength,
  linearHeadSize,
  linearHeads,
  requireAttention,
  requireFullGroups,
  requireUnlimitedSteps,
} from "./mixer_keys.ts";
import { both, byExperts, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";
import { SIGMOID_EXPERTS } from "./sigmoid_experts.ts";

/** Letters of `hybrid_override_pattern`: Mamba 2, attention, an FFN, and an FFN of experts. */
type LayerLetter = "M" | "*" | "-" | "E";

/** Names of layers in lists, older ones included. */
const LETTERS = {
  linear_attention: "M",
  mamba: "M",
  full_attention: "*",
  attention: "*",
  mlp: "-",
  moe: "E",
} as const satisfies Record<string, LayerLetter>;

/** Names that transformers.js knows, and all versions of transformers. */
const WRITTEN_TYPES = { M: "mamba", "*": "attention", "-": "mlp", E: "moe" } as const;

const layerTypes = z
  .array(z.enum(Object.keys(LETTERS) as (keyof typeof LETTERS)[]))
  .min(1)
  .max(MAX_LAYERS);

/** Defaults are those of the class. */
const schema = z.object({
  hybrid_override_pattern: z
    .string()
    .regex(/^[M*E-]+$/)
    .max(MAX_LAYERS)
    .nullish(),
  layers_block_type: layerTypes.nullish(),
  layer_types: layerTypes.nullish(),
  mamba_num_heads: linearHeads.default(128),
  mamba_head_dim: linearHeadSize.default(64),
  n_groups: linearHeads.default(8),
  ssm_state_size: linearHeadSize.default(128),
  conv_kernel: filterLength.default(4),
  use_conv_bias: z.boolean().default(true),
  use_bias: z.boolean().default(false),
});
type NemotronConfig = z.infer<typeof schema>;

/**
 * The class of transformers raises the steps of Mamba 2 to `time_step_min`, those of prompts alone. NVIDIA's own class
 * with its kernels, vLLM and llama.cpp take steps as they are, and so do we. For untrained models the class takes the
 * logarithm, so that it cannot be zero.
 */
const LEAST_STEP = 1e-9;

/** Other names that the class takes for some of the keys, which count where both are there. */
const ALIASES = { mamba_n_groups: "n_groups", mamba_d_conv: "conv_kernel", mamba_conv_bias: "use_conv_bias" };

/** The keys of all models. */
const BLOCKS: OwnKeysFormat = {
  read: (config, where) => {
    const { layers_block_type: _, layer_types: __, ...others } = config;
    const aliased = Object.entries(ALIASES).flatMap(([alias, key]) =>
      config[alias] === undefined ? [] : [[key, config[alias]]],
    );
    const keys = parsedKeys(schema, { ...config, ...Object.fromEntries(aliased) }, where);
    const letters = lettersOf(keys);
    requireUnlimitedSteps(config, where);
    requireAttention(
      letters.map((letter) => letter === "*"),
      "other layers",
      where,
    );
    requireFfn(letters, where);
    const mamba = mambaOf(keys, where);
    return {
      usual: { ...others, hybrid_override_pattern: letters.join(""), num_hidden_layers: letters.length },
      complete: (spec) => ({
        ...spec,
        layers: spec.layers.map((layer, index) => blockOf(letters[index]!, layer, mamba)),
      }),
    };
  },
  write: ({ layers, normEps }) => {
    const [mamba] = linearAttentionsOf({ layers }) as readonly Mamba2Spec[];
    return {
      hybrid_override_pattern: layers.map(letterOf).join(""),
      layers_block_type: layers.map((layer) => WRITTEN_TYPES[letterOf(layer)]),
      time_step_min: LEAST_STEP,
      // The key that conversion to GGUF reads for RMSNorms.
      rms_norm_eps: normEps,
      ...(mamba !== undefined && {
        mamba_num_heads: mamba.valueHeads,
        mamba_head_dim: mamba.valueDim,
        n_groups: mamba.keyHeads,
        ssm_state_size: mamba.keyDim,
        conv_kernel: mamba.length,
        use_conv_bias: mamba.filterBiases,
        use_bias: mamba.biases,
      }),
    };
  },
};

const WITH_EXPERTS = both(
  BLOCKS,
  expertKeys({
    ...SIGMOID_EXPERTS,
    defaults: { ...SIGMOID_EXPERTS.defaults, count: 8, active: 2 },
    shared: { key: "moe_shared_expert_intermediate_size", usual: 7688 },
    own: {
      neurons: 7688,
      layers: {
        read: (config, where) => {
          const letters = lettersOf(parsedKeys(schema, config, where));
          return (layer) => letters[layer] === "E";
        },
        write: () => ({}),
      },
    },
  }),
);

export const NEMOTRON_H_KEYS: OwnKeysFormat = byExperts(
  (config, where) => lettersOf(parsedKeys(schema, config, where)).includes("E"),
  {
    withExperts: {
      ...WITH_EXPERTS,
      read: (config, where) => {
        refuseOtherExperts(config, where);
        return WITH_EXPERTS.read(config, where);
      },
    },
    without: BLOCKS,
  },
);

/** What each layer is. */
function lettersOf({
  layers_block_type,
  layer_types,
  hybrid_override_pattern: pattern,
}: NemotronConfig): readonly LayerLetter[] {
  const types = layers_block_type ?? layer_types;
  if (types) return types.map((type) => LETTERS[type]);
  return [...(pattern ?? "ME*-")] as LayerLetter[];
}

function letterOf({ mixer, experts }: LayerSpec): LayerLetter {
  if (mixer === undefined) return "*";
  if (mixer.type !== "none") return "M";
  return experts === undefined ? "-" : "E";
}

/** A layer with attention and FFN as the one block that it is. */
function blockOf(letter: LayerLetter, layer: LayerSpec, mamba: Mamba2Spec): LayerSpec {
  if (letter === "*") return withoutFfn(layer);
  if (letter === "M") return withoutFfn(mixerLayer(mamba, layer));
  return mixerLayer({ type: "none" }, layer);
}

/** @throws GpruneError BAD_CONFIG for value heads that key heads cannot share equally */
function mambaOf(config: NemotronConfig, where: string): Mamba2Spec {
  const { mamba_num_heads: valueHeads, n_groups: keyHeads } = config;
  requireFullGroups({ valueHeads, keyHeads }, ["mamba_num_heads", "n_groups"], where);
  return {
    type: "mamba2",
    ...{ length: config.conv_kernel, keyHeads, valueHeads },
    ...{ keyDim: config.ssm_state_size, valueDim: config.mamba_head_dim },
    biases: config.use_bias,
    filterBiases: config.use_conv_bias,
  };
}

/** @throws GpruneError BAD_CONFIG where no layer is an FFN */
function requireFfn(letters: readonly LayerLetter[], where: string): void {
  if (letters.some((letter) => letter === "-" || letter === "E")) return;
  throw new GpruneError("BAD_CONFIG", `${where}: expected a layer with an FFN, got ${letters.join("")}`);
}

/**
 * @throws GpruneError UNSUPPORTED for experts that read and write latents (Nemotron 3 Super), BAD_CONFIG for biases,
 *   which the class gives to the shared expert but not to others
 */
function refuseOtherExperts(config: JsonObject, where: string): void {
  const others = [
    ["moe_latent_size", null, "UNSUPPORTED"] as const,
    ["mlp_bias", false, "BAD_CONFIG"] as const,
  ];
  for (const [key, usual, code] of others) {
    const value = config[key] ?? usual;
    if (value === usual) continue;
    const got = plainName(JSON.stringify(value));
    throw new GpruneError(code, `${where}: expected ${key} ${usual} in a model with experts, got ${got}`);
  }
}
