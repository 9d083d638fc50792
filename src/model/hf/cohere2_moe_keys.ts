/**
 * Keys of Cohere 2 MoE's class (configuration_cohere2_moe.py): experts, how the shared one joins them, which norms there
 * are, and which layers have windows and are rotated.
 */
import { z } from "zod";
import { plainName } from "../../base/plain_text.ts";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import type { ExpertsSpec } from "../experts_spec.ts";
import { expertNeurons, type LayerSpec, type ModelSpec } from "../spec.ts";
import { expertKeys } from "./experts_keys.ts";
import { MAX_LAYERS, size } from "./limits.ts";
import { requireEveryLayer } from "./mixer_keys.ts";
import { type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";
import { BY_TYPE_OR_SAID_NUMBER } from "./sparse_layers.ts";

const WINDOWED = "sliding_attention";
const UNWINDOWED = "full_attention";

/** Neurons of experts, or of all layers. */
const NEURONS = 22_528;

/** Defaults are those of the class. */
const schema = z.object({
  num_hidden_layers: size.max(MAX_LAYERS).default(40),
  intermediate_size: size.default(NEURONS),
  prefix_dense_intermediate_size: size.nullish(),
  expert_selection_fn: z.enum(["softmax", "sigmoid"]).default("softmax"),
  shared_expert_combination_strategy: z.enum(["average", "sum"]).default("average"),
  layer_types: z.array(z.enum([WINDOWED, UNWINDOWED])).nullish(),
  sliding_window_pattern: size.default(4),
  prefix_dense_sliding_window_pattern: size.default(1),
  first_k_dense_replace: z.int().nonnegative().max(MAX_LAYERS).default(0),
  rms_norm_eps: z.number().nonnegative().nullish(),
  rope_scaling: z.looseObject({ rope_type: z.string().optional(), type: z.string().optional() }).nullish(),
});

type Cohere2MoeConfig = z.infer<typeof schema>;

/** Layers without experts have an FFN as wide as a key of its own says. */
const EXPERTS: OwnKeysFormat = expertKeys({
  count: "num_experts",
  defaults: { count: 8, active: 2, normalised: true },
  normalises: true,
  shared: { key: "num_shared_experts", usual: 0 },
  own: { neurons: NEURONS, layers: BY_TYPE_OR_SAID_NUMBER },
});

export const COHERE2_MOE_KEYS: OwnKeysFormat = { read: readKeys, write: keysOf };

/**
 * @throws GpruneError BAD_CONFIG for values out of range, or lists that do not name all layers; UNSUPPORTED for a scaling
 *   of rotary frequencies that the class ignores
 */
function readKeys(config: JsonObject, where: string): OwnKeys {
  const own = parsedKeys(schema, config, where);
  requireEveryLayer({ layer_types: own.layer_types }, own.num_hidden_layers, where);
  requireUnscaled(own, where);
  const { rms_norm_eps: _, rope_scaling: __, ...settings } = config;
  const others = { ...settings, num_hidden_layers: own.num_hidden_layers };
  const hasExperts = BY_TYPE_OR_SAID_NUMBER.read(others, where);
  const types = Array.from({ length: own.num_hidden_layers }, (_, layer) => typeOf(layer, own));
  const turnsDense = own.prefix_dense_sliding_window_pattern === 1;
  const isTurned = types.map((type, layer) => type === WINDOWED || (turnsDense && !hasExperts(layer)));
  const experts = EXPERTS.read(
    {
      ...others,
      intermediate_size: own.prefix_dense_intermediate_size ?? own.intermediate_size,
      moe_intermediate_size: own.intermediate_size,
      // To the family's rules, layers that turn are those with a window.
      layer_types: isTurned.map((turned) => (turned ? WINDOWED : UNWINDOWED)),
    },
    where,
  );
  return {
    usual: experts.usual,
    complete: (spec) => {
      const { layers, ...completed } = experts.complete(spec);
      return {
        ...completed,
        ...(own.rms_norm_eps != null && { normType: "rms", normEps: own.rms_norm_eps }),
        layers: layers.map((layer, index) => completeLayer(layer, types[index]!, own)),
      };
    },
  };
}

/** The class takes `rope_parameters` alone. @throws GpruneError UNSUPPORTED for a scaling in the older key */
function requireUnscaled({ rope_scaling: scaling }: Cohere2MoeConfig, where: string): void {
  const type = scaling?.rope_type ?? scaling?.type ?? "default";
  if (type === "default") return;
  throw new GpruneError(
    "UNSUPPORTED",
    `${where}: expected no rope_scaling, got one of type ${plainName(type)}`,
    {
      hint: "transformers ignores this scaling. Move it to rope_parameters to have it, or remove rope_scaling.",
    },
  );
}

/** Where no list says it, each n-th layer has no window, counted anew from the first with experts. */
function typeOf(layer: number, own: Cohere2MoeConfig): typeof WINDOWED | typeof UNWINDOWED {
  const { layer_types: types, first_k_dense_replace: dense } = own;
  if (types) return types[layer]!;
  const [index, every] =
    layer < dense
      ? [layer, own.prefix_dense_sliding_window_pattern]
      : [layer - dense, own.sliding_window_pattern];
  return (index + 1) % every === 0 ? UNWINDOWED : WINDOWED;
}

function completeLayer(layer: LayerSpec, type: string, own: Cohere2MoeConfig): LayerSpec {
  const window = type === WINDOWED ? layer.window : null;
  const { experts } = layer;
  return experts === undefined ? { ...layer, window } : { ...layer, window, experts: scored(experts, own) };
}

/** The class has a softmax over the scores of the picked experts, which is over all of them divided by its sum. */
function scored(
  experts: ExpertsSpec,
  { expert_selection_fn: scores, shared_expert_combination_strategy: joins }: Cohere2MoeConfig,
): ExpertsSpec {
  return {
    ...experts,
    ...(scores === "sigmoid" ? { sigmoid: true } : { normalised: true }),
    ...(experts.shared !== undefined && joins === "average" && { averaged: true }),
  };
}

function keysOf(spec: ModelSpec, remoteCode: boolean): JsonObject {
  const { moe_intermediate_size: neurons, ...keys } = EXPERTS.write(spec, remoteCode);
  const dense = spec.layers.filter((layer) => layer.experts === undefined);
  const experts = spec.layers.find((layer) => layer.experts !== undefined)?.experts;
  return {
    ...keys,
    intermediate_size: neurons,
    prefix_dense_intermediate_size: dense.length > 0 ? Math.max(...dense.map(expertNeurons)) : null,
    // Any other number says that layers without a window do not turn, as `layer_types` says which those are.
    prefix_dense_sliding_window_pattern: dense.every(({ rope }) => rope !== null) ? 1 : 2,
    expert_selection_fn: experts?.sigmoid ? "sigmoid" : "softmax",
    shared_expert_combination_strategy: experts?.averaged ? "average" : "sum",
    rms_norm_eps: spec.normType === "rms" ? spec.normEps : null,
  };
}
