/**
 * Which layers of a Hugging Face checkpoint have a sliding window, and which are rotated: as config.json names them or,
 * in files older than such keys, as transformers derives it.
 */
import { z } from "zod";
import { plainName } from "../../base/plain_text.ts";
import { MAX_LAYERS, size } from "./limits.ts";
import { badConfig, type Context } from "./rope.ts";

/** Types of layers in turn, each list repeated (`attention_types` of configuration_gpt_neo.py). */
type AttentionTypes = readonly (readonly [readonly ("global" | "local")[], number])[];

/** Keys of config.json for windows and for layers that are not rotated. */
interface LayerTypeConfig {
  readonly sliding_window: number | null | undefined;
  readonly use_sliding_window: boolean | undefined;
  readonly layer_types: readonly ("full_attention" | "sliding_attention")[] | null | undefined;
  readonly attention_types: AttentionTypes;
  readonly attention_layers: readonly ("global" | "local")[] | null | undefined;
  readonly sliding_window_pattern: number | string | null | undefined;
  readonly no_rope_layers: readonly number[] | null | undefined;
  readonly no_rope_layer_interval: number | undefined;
  readonly max_window_layers: number | undefined;
}

/** Schemas of those keys. */
export const LAYER_TYPE_KEYS: { readonly [K in keyof LayerTypeConfig]: z.ZodType<LayerTypeConfig[K]> } = {
  sliding_window: size.nullish(),
  use_sliding_window: z.boolean().optional(),
  layer_types: z.array(z.enum(["full_attention", "sliding_attention"])).nullish(),
  attention_types: z
    .array(z.tuple([z.array(z.enum(["global", "local"])).max(MAX_LAYERS), z.int().min(0).max(MAX_LAYERS)]))
    .max(MAX_LAYERS)
    .default([[["global", "local"], 12]]),
  // What the class of GPT-Neo makes of the key above, and reads where a file has both.
  attention_layers: z
    .array(z.enum(["global", "local"]))
    .max(MAX_LAYERS)
    .nullish(),
  // EXAONE 4 also has texts, and 0, beside `layer_types`, which then counts.
  sliding_window_pattern: z.union([size, z.literal(0), z.string()]).nullish(),
  no_rope_layers: z.array(z.int()).max(MAX_LAYERS).nullish(),
  no_rope_layer_interval: size.optional(),
  max_window_layers: z.int().nonnegative().optional(),
};

type Config = LayerTypeConfig & { readonly num_hidden_layers: number };

/**
 * Tokens that a layer sees, its own included; null for all.
 * @throws GpruneError BAD_CONFIG for keys that contradict each other or do not name all layers
 */
export function windowOf(config: Config, context: Context, index: number): number | null {
  const { computes, defaults, config: keys } = context.family;
  if (computes.windows === "none") return null;
  const { sliding_window: window = defaults.window } = config;
  if (computes.windows === "attention_types") return isLocal(config, context, index) ? window : null;
  if (computes.windows === "all" && keys.windowSwitch && config.use_sliding_window !== true) return null;
  const isAll = computes.windows === "all" || (computes.windows !== "layer_types" && !config.layer_types);
  if (!isAll && !isWindowed(config, context, index)) return null;
  const { use_sliding_window: used } = config;
  if (window !== null && keys.windowSwitch && used !== true) {
    const expected = `use_sliding_window true, since layer_types gives layer ${index} a window`;
    throw badConfig(context, expected, used ?? "none");
  }
  return window;
}

function isLocal(config: Config, context: Context, index: number): boolean {
  const { attention_types: lists, attention_layers: kinds, num_hidden_layers: layers } = config;
  if (kinds) {
    if (kinds.length === layers) return kinds[index] === "local";
    throw badConfig(context, "attention_layers with an entry for every layer", kinds.length);
  }
  // Counted before they are repeated: a file may ask for any number.
  const count = lists.reduce((sum, [types, times]) => sum + types.length * times, 0);
  if (count !== layers) throw badConfig(context, "attention_types with an entry for every layer", count);
  const types = lists.flatMap(([some, times]) => Array<typeof some>(times).fill(some).flat());
  return types[index] === "local";
}

/** Whether a layer has a window: as `layer_types` says or, in files older than that key, as transformers derives it. */
function isWindowed(config: Config, context: Context, index: number): boolean {
  const { computes, defaults, config: keys } = context.family;
  const { layer_types: types, use_sliding_window: used, max_window_layers: firstWindowed } = config;
  if (types) {
    if (types[index] === undefined)
      throw badConfig(context, "layer_types with an entry for every layer", types.length);
    return types[index] === "sliding_attention";
  }
  if (computes.unrotated === "flags") return used === true && !isRotated(config, context, index);
  const pattern = (keys.readsWindowPattern ? config.sliding_window_pattern : null) ?? defaults.windowPattern;
  if (typeof pattern === "string" || pattern === 0)
    throw badConfig(context, "layer_types", `the pattern ${plainName(String(pattern))} alone`);
  if (pattern !== undefined) return (defaults.firstUnwindowed ? index : index + 1) % pattern !== 0;
  return keys.windowSwitch && used === true && index >= (firstWindowed ?? defaults.firstWindowed ?? 0);
}

/** Whether a layer is rotated. @throws GpruneError BAD_CONFIG as `windowOf` */
export function isRotated(config: Config, context: Context, index: number): boolean {
  const { computes, defaults } = context.family;
  const { unrotated } = computes;
  if (unrotated === "none" || unrotated === "all") return unrotated === "none";
  if (unrotated === "unwindowed") {
    const { sliding_window: window = defaults.window } = config;
    return window === null || isWindowed(config, context, index);
  }
  if (unrotated === "full_attention") {
    if (config.sliding_window === null) throw badConfig(context, "a length as sliding_window", null);
    return isWindowed(config, context, index);
  }
  const flags = config.no_rope_layers;
  const every = config.no_rope_layer_interval ?? defaults.unrotatedEvery;
  if (!flags) return every === undefined || (index + 1) % every !== 0;
  const flag = flags[index];
  if (flag === undefined)
    throw badConfig(context, "no_rope_layers with an entry for every layer", flags.length);
  return flag !== 0;
}
