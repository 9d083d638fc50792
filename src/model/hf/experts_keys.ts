/**
 * Keys of classes with experts (configuration_mixtral.py, configuration_qwen3_moe.py, configuration_olmoe.py,
 * configuration_granitemoe.py, configuration_qwen2_moe.py, configuration_qwen3_5_moe.py): the number of experts, those
 * of a token, their widths, the layers without, and the expert of all tokens.
 */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { type ExpertsSpec, expertNeurons, type LayerSpec, type ModelSpec } from "../spec.ts";
import { layerKey, MAX_LAYERS, size } from "./limits.ts";
import { type OwnKeys, parsedKeys } from "./own_keys.ts";

type CountKey = "num_experts" | "num_local_experts";
const OTHER: Readonly<Record<CountKey, CountKey>> = {
  num_experts: "num_local_experts",
  num_local_experts: "num_experts",
};

/** The keys of a class, and its values where config.json has none. */
interface ExpertKeys {
  /** The key of the number of experts that is written. */
  readonly count: CountKey;
  /** The class reads the other key of that number, too. */
  readonly readsBoth: boolean;
  readonly defaults: ExpertsSpec;
  /** `norm_topk_prob` says whether the numbers of a token's experts add up to 1. */
  readonly normalises: boolean;
  /**
   * The width of experts is `moe_intermediate_size`, this where it is absent, and perhaps there are layers without
   * experts; null where it is `intermediate_size`, in all layers.
   */
  readonly own: { readonly neurons: number; readonly mixed: boolean } | null;
}

/** Layers of experts whose numbers are more than this would be no model that anyone has made. */
const MAX_EXPERTS = 4096;

/**
 * Grouped products, by which transformers 5 computes experts unless config.json says otherwise, want rows of a multiple
 * of 16 bytes: so many numbers of 16 bits (`grouped_mm` of PyTorch).
 */
const GROUPED_MULTIPLE = 8;

const count = size.max(MAX_EXPERTS).nullish();

const schema = z.object({
  num_experts: count,
  num_local_experts: count,
  num_experts_per_tok: count,
  norm_topk_prob: z.boolean().nullish(),
  moe_intermediate_size: size.nullish(),
  decoder_sparse_step: size.default(1),
  mlp_only_layers: z.array(z.int().nonnegative().max(MAX_LAYERS)).max(MAX_LAYERS).nullish(),
  num_hidden_layers: size.max(MAX_LAYERS).nullish(),
  per_layer_config: z.record(layerKey, z.looseObject({})).nullish(),
});
/** Files of classes without an expert of all tokens may have 0. */
const sharedSchema = z.object({ shared_expert_intermediate_size: size.nullish() });
type Config = z.infer<typeof schema>;

/** Reads and writes the keys of a class. */
export interface ExpertKeysFormat {
  /**
   * @throws GpruneError BAD_CONFIG for values out of range, two numbers of experts, or more experts of a token than
   *   there are
   */
  read(config: JsonObject, where: string): OwnKeys;
  write(spec: ModelSpec): JsonObject;
}

/** The format of a class. */
export function expertKeys(keys: ExpertKeys): ExpertKeysFormat {
  return {
    read: (config, where) => readKeys(keys, config, where),
    write: (spec) => writtenKeys(keys, spec),
  };
}

function readKeys(keys: ExpertKeys, config: JsonObject, where: string): OwnKeys {
  const parsed = parsedKeys(schema, config, where);
  const experts = { ...expertsOf(keys, parsed, where), ...sharedOf(keys, config, where) };
  const hasExperts = (layer: number): boolean => !keys.own?.mixed || isSparse(parsed, layer);
  const { own } = keys;
  return {
    usual:
      own === null
        ? config
        : {
            ...(!own.mixed && { intermediate_size: own.neurons }),
            ...withoutZeroWindow(config),
            per_layer_config: widthsOf(own.neurons, parsed, hasExperts),
          },
    complete: (spec) => ({
      ...spec,
      layers: spec.layers.map((layer, index): LayerSpec => {
        if (!hasExperts(index)) return layer;
        return { ...layer, neurons: layer.neurons * experts.count, experts };
      }),
    }),
  };
}

function expertsOf(keys: ExpertKeys, config: Config, where: string): ExpertsSpec {
  const { defaults, normalises } = keys;
  const experts = {
    count: countOf(keys, config, where) ?? defaults.count,
    active: config.num_experts_per_tok ?? defaults.active,
    normalised: (normalises ? config.norm_topk_prob : null) ?? defaults.normalised,
  };
  if (experts.active <= experts.count) return experts;
  const expected = `num_experts_per_tok of at most ${experts.count}, the number of experts`;
  throw new GpruneError("BAD_CONFIG", `${where}: expected ${expected}, got ${experts.active}`);
}

function sharedOf(
  { defaults: { shared } }: ExpertKeys,
  config: JsonObject,
  where: string,
): Pick<ExpertsSpec, "shared"> {
  if (shared === undefined) return {};
  return { shared: parsedKeys(sharedSchema, config, where).shared_expert_intermediate_size ?? shared };
}

/** Versions of transformers differ in which of two keys counts. */
function countOf({ count: key, readsBoth }: ExpertKeys, config: Config, where: string): number | null {
  const [own, other] = [config[key] ?? null, (readsBoth ? config[OTHER[key]] : null) ?? null];
  if (own === null || other === null || own === other) return own ?? other;
  const expected = `${key} and ${OTHER[key]} alike`;
  throw new GpruneError("BAD_CONFIG", `${where}: expected ${expected}, got ${own} and ${other}`);
}

/** `Qwen2MoeConfig` has 0 for no window. */
function withoutZeroWindow({ sliding_window: window, ...others }: JsonObject): JsonObject {
  return window === 0 ? others : { ...others, sliding_window: window };
}

/** `Qwen3MoeDecoderLayer` */
function isSparse({ mlp_only_layers: dense, decoder_sparse_step: step }: Config, layer: number): boolean {
  return !dense?.includes(layer) && (layer + 1) % step === 0;
}

/** The widths of layers with experts, by layer, as other classes have widths that are not those of all layers. */
function widthsOf(neurons: number, config: Config, hasExperts: (layer: number) => boolean): JsonObject {
  const { num_hidden_layers: layers = 0, moe_intermediate_size: width, per_layer_config: given } = config;
  const entries = Array.from({ length: layers ?? 0 }, (_, layer) => {
    const usual = hasExperts(layer) ? { intermediate_size: width ?? neurons } : {};
    return [String(layer), { ...usual, ...given?.[String(layer)] }] as const;
  });
  return Object.fromEntries(entries);
}

function writtenKeys({ count: key, own, defaults }: ExpertKeys, { layers }: ModelSpec): JsonObject {
  const sparse = layers.filter(({ experts }) => experts !== undefined);
  const { count: number, active, normalised, shared } = sparse[0]?.experts ?? defaults;
  const widths = sparse.map(expertNeurons);
  const dense = layers.flatMap(({ experts }, index) => (experts === undefined ? [index] : []));
  return {
    [key]: number,
    num_experts_per_tok: active,
    // vLLM's backend for transformers' classes reads it for all of them.
    norm_topk_prob: normalised,
    ...(widths.some((width) => width % GROUPED_MULTIPLE !== 0) && { experts_implementation: "eager" }),
    ...(shared !== undefined && { shared_expert_intermediate_size: shared }),
    ...(own !== null && { moe_intermediate_size: widths.length > 0 ? Math.max(...widths) : own.neurons }),
    ...(own?.mixed && { decoder_sparse_step: 1, mlp_only_layers: dense }),
  };
}
