/**
 * Keys of classes with experts (configuration files of transformers by the names in own_keys_formats.ts): the number of
 * experts, those of a token, what their scores count, their widths, the layers without, and the shared expert.
 */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import type { ExpertsSpec } from "../experts_spec.ts";
import { REMOTE_CODE_PREFIX } from "../families/families.ts";
import { expertNeurons, type LayerSpec, type ModelSpec } from "../spec.ts";
import { type ExpertGroups, readGroups, writtenGroups } from "./expert_groups.ts";
import { layerKey, MAX_LAYERS, MAX_SIZE, size } from "./limits.ts";
import { type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";
import type { SparseLayers } from "./sparse_layers.ts";

type CountKey = "num_experts" | "num_local_experts" | "n_routed_experts" | "moe_num_experts";
type ActiveKey = typeof ACTIVE | "moe_k" | "moe_topk";
type NumberKey = CountKey | ActiveKey;
/** Keys of the width of the shared expert, and of its width in widths of other experts. */
type WidthKey = typeof OWN_WIDTH | UngatedWidthKey;
type UngatedWidthKey = (typeof UNGATED_WIDTHS)[number];
type RatioKey = "n_shared_experts" | "num_shared_experts" | "moe_num_shared_experts";

/** The keys of a class, and its values where config.json has none. */
export interface ExpertKeys {
  /** The key of the number of experts. */
  readonly count: CountKey;
  /** Another key of that number, which some versions of the class read. */
  readonly alias?: CountKey;
  /** The key of the number of experts of a token; `num_experts_per_tok` where absent, and another key for it else. */
  readonly active?: ActiveKey;
  readonly defaults: ExpertsSpec;
  /** `norm_topk_prob` says whether routing weights add up to 1. */
  readonly normalises: boolean;
  /** Only experts of some groups may be picked; absent in classes without groups. */
  readonly groups?: ExpertGroups;
  /** Scores are corrected: always, or unless this flag says otherwise. */
  readonly corrects?: "always" | "use_expert_bias";
  /** The key of the factor on the numbers; absent in classes without. */
  readonly scales?: "routed_scaling_factor" | "route_scale" | "moe_routed_scaling_factor";
  /** The key of what the sum of the numbers is at least. */
  readonly least?: { readonly key: "moe_norm_min"; readonly usual: number };
  /**
   * The key of the shared expert, which has a gate where its key is `OWN_WIDTH`; null in classes where it is `usual`
   * times as wide as the others. Absent in classes without.
   */
  readonly shared?: {
    readonly key: WidthKey | RatioKey | null;
    readonly usual: number;
    /** It has no gate, unlike those of other classes with the same key. */
    readonly ungated?: true;
  };
  /**
   * The width of experts is `moe_intermediate_size`, this where it is absent, and perhaps there are layers without
   * experts; null where it is `intermediate_size`, in all layers.
   */
  readonly own: { readonly neurons: number; readonly layers: SparseLayers | null } | null;
}

const ACTIVE = "num_experts_per_tok";

/** The width of the shared expert in Qwen2 MoE, and in all classes for our modelling file. */
const OWN_WIDTH = "shared_expert_intermediate_size";

/** The same in classes whose shared expert has no gate. */
const UNGATED_WIDTHS = ["shared_intermediate_size", "moe_shared_expert_intermediate_size"] as const;

/** Layers of experts whose numbers are more than this would be no model that anyone has made. */
export const MAX_EXPERTS = 4096;

/**
 * Grouped products, by which transformers 5 computes experts unless config.json says otherwise, want rows of a multiple
 * of 16 bytes: so many numbers of 16 bits (`grouped_mm` of PyTorch).
 */
const GROUPED_MULTIPLE = 8;

const count = size.max(MAX_EXPERTS).nullish();
const ratio = z.int().nonnegative().max(MAX_EXPERTS).nullish();

const schema = z.object({
  model_type: z.string().optional(),
  num_experts: count,
  num_local_experts: count,
  n_routed_experts: count,
  moe_num_experts: count,
  num_experts_per_tok: count,
  moe_k: count,
  moe_topk: count,
  norm_topk_prob: z.boolean().nullish(),
  use_expert_bias: z.boolean().nullish(),
  routed_scaling_factor: z.number().positive().nullish(),
  route_scale: z.number().positive().nullish(),
  moe_routed_scaling_factor: z.number().positive().nullish(),
  moe_norm_min: z.number().positive().nullish(),
  intermediate_size: size.nullish(),
  moe_intermediate_size: size.nullish(),
  num_hidden_layers: size.max(MAX_LAYERS).nullish(),
  per_layer_config: z.record(layerKey, z.looseObject({})).nullish(),
});
/** Files of classes without a shared expert may have 0 and others. */
const sharedSchema = z.object({
  shared_expert_intermediate_size: size.nullish(),
  shared_intermediate_size: z.union([z.literal(0), size]).nullish(),
  moe_shared_expert_intermediate_size: size.nullish(),
  n_shared_experts: ratio,
  num_shared_experts: ratio,
  moe_num_shared_experts: ratio,
});
type Config = z.infer<typeof schema>;

/** The format of a class. */
export function expertKeys(keys: ExpertKeys): OwnKeysFormat {
  return {
    read: (config, where) => readKeys(keys, config, where),
    write: (spec, remoteCode) => writtenKeys(keys, spec, remoteCode),
  };
}

/**
 * @throws GpruneError BAD_CONFIG for values out of range, two numbers of experts or of those of a token, more of the
 *   latter than of the former, or groups that do not fit them
 */
function readKeys(keys: ExpertKeys, config: JsonObject, where: string): OwnKeys {
  const parsed = parsedKeys(schema, config, where);
  const experts = {
    ...expertsOf(keys, parsed, { source: config, where }),
    ...sharedOf(keys, { config, parsed }, where),
  };
  const { own } = keys;
  const hasExperts = own?.layers?.read(config, where) ?? (() => true);
  return {
    usual:
      own === null
        ? config
        : {
            ...(own.layers === null && { intermediate_size: own.neurons }),
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

/** A config.json, and its name for messages. */
interface Read {
  readonly source: JsonObject;
  readonly where: string;
}

function expertsOf(keys: ExpertKeys, config: Config, { source, where }: Read): ExpertsSpec {
  const { defaults, normalises, active: activeKey = ACTIVE, corrects, scales, least } = keys;
  const corrected = corrects === "always" || (corrects !== undefined && (config[corrects] ?? true));
  const { scale: usualScale = 1, ...others } = defaults;
  const scale = (scales && config[scales]) ?? usualScale;
  const experts: ExpertsSpec = {
    ...others,
    count: eitherOf(config, [keys.count, keys.alias], where) ?? defaults.count,
    active: eitherOf(config, [activeKey, ACTIVE], where) ?? defaults.active,
    normalised: (normalises ? config.norm_topk_prob : null) ?? defaults.normalised,
    ...(corrected && { corrected: true }),
    ...(scale !== 1 && { scale }),
    ...(least && { divisor: { least: config[least.key] ?? least.usual } }),
  };
  requireExperts(experts, activeKey, where);
  const { groups } = keys;
  return groups ? { ...experts, ...readGroups(groups, { config: source, experts }, where) } : experts;
}

/** @throws GpruneError BAD_CONFIG for more experts of a token than there are. @param key - of the former */
export function requireExperts({ count, active }: ExpertsSpec, key: string, where: string): void {
  if (active <= count) return;
  const expected = `${key} of at most ${count}, the number of experts`;
  throw new GpruneError("BAD_CONFIG", `${where}: expected ${expected}, got ${active}`);
}

/** The shared expert; its width has a key of its own in configurations for our modelling file. */
function sharedOf(
  { shared: keys, own }: ExpertKeys,
  { config, parsed }: { readonly config: JsonObject; readonly parsed: Config },
  where: string,
): Pick<ExpertsSpec, "shared" | "sharedUngated"> {
  if (keys === undefined) return {};
  const values = parsedKeys(sharedSchema, config, where);
  const given = (keys.key && values[keys.key]) ?? keys.usual;
  if (keys.key === OWN_WIDTH) return { shared: given, ...(keys.ungated && { sharedUngated: true }) };
  if (given === 0) return {};
  if (isUngatedWidth(keys.key)) return { shared: given, sharedUngated: true };
  const isOurs = parsed.model_type?.startsWith(REMOTE_CODE_PREFIX) ?? false;
  const width = own === null ? parsed.intermediate_size : (parsed.moe_intermediate_size ?? own.neurons);
  const usual = given * (width ?? 1);
  if (usual > MAX_SIZE) {
    const expected = `a shared expert of at most ${MAX_SIZE} neurons`;
    throw new GpruneError("BAD_CONFIG", `${where}: expected ${expected}, got ${given} times ${width}`);
  }
  return { shared: (isOurs ? values[OWN_WIDTH] : null) ?? usual, sharedUngated: true };
}

function isUngatedWidth(key: string | null): key is UngatedWidthKey {
  return UNGATED_WIDTHS.some((name) => name === key);
}

/**
 * The number that two keys have: programs, and versions of transformers, differ in which of them counts.
 * @throws GpruneError BAD_CONFIG where they have two
 */
function eitherOf(
  config: Config,
  [key, alias]: readonly [NumberKey, NumberKey | undefined],
  where: string,
): number | null {
  const [own, other] = [config[key] ?? null, (alias && config[alias]) ?? null];
  if (own === null || other === null || own === other) return own ?? other;
  const expected = `${key} and ${alias} alike`;
  throw new GpruneError("BAD_CONFIG", `${where}: expected ${expected}, got ${own} and ${other}`);
}

/** `Qwen2MoeConfig` has 0 for no window. */
function withoutZeroWindow({ sliding_window: window, ...others }: JsonObject): JsonObject {
  return window === 0 ? others : { ...others, sliding_window: window };
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

function writtenKeys(keys: ExpertKeys, { layers }: ModelSpec, remoteCode: boolean): JsonObject {
  const { count: key, active: activeKey = ACTIVE, own, defaults, corrects, scales } = keys;
  const sparse = layers.filter(({ experts }) => experts !== undefined);
  const experts = sparse[0]?.experts;
  const { count: number, active, normalised, corrected = false, scale = 1, divisor } = experts ?? defaults;
  const widths = sparse.map(expertNeurons);
  const width = widths.length > 0 ? Math.max(...widths) : (own?.neurons ?? 1);
  return {
    [key]: number,
    [activeKey]: active,
    // vLLM's backend for transformers' classes reads it for all of them.
    norm_topk_prob: normalised,
    ...ungroupedKey(widths),
    ...(corrects === "use_expert_bias" && { [corrects]: corrected }),
    ...(scales && { [scales]: scale }),
    ...(keys.groups && writtenGroups(keys.groups, experts ?? defaults)),
    ...(keys.least && divisor && "least" in divisor && { [keys.least.key]: divisor.least }),
    ...writtenShared(keys.shared, { experts, width, remoteCode }),
    ...(own !== null && { moe_intermediate_size: width }),
    ...own?.layers?.write(layers.map((layer) => layer.experts !== undefined)),
  };
}

/** The key without which transformers would compute experts of some widths in products that it cannot have. */
export function ungroupedKey(widths: readonly number[]): JsonObject {
  return widths.some((each) => each % GROUPED_MULTIPLE !== 0) ? { experts_implementation: "eager" } : {};
}

/** What is written of the shared expert in a model. */
interface WrittenShared {
  readonly experts: ExpertsSpec | undefined;
  /** Neurons of other experts. */
  readonly width: number;
  readonly remoteCode: boolean;
}

function writtenShared(
  keys: ExpertKeys["shared"],
  { experts, width, remoteCode }: WrittenShared,
): JsonObject {
  if (keys === undefined) return {};
  const { key, usual } = keys;
  const { shared = 0 } = experts ?? {};
  if (key === null) return remoteCode ? { [OWN_WIDTH]: shared } : {};
  if (experts === undefined) return { [key]: usual };
  if (key === OWN_WIDTH || isUngatedWidth(key) || shared === 0) return { [key]: shared };
  return {
    [key]: Math.max(1, Math.floor(shared / width)),
    ...(remoteCode && { [OWN_WIDTH]: shared }),
  };
}
