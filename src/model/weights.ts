/**
 * Every tensor of a model of some shape: its name, its sizes, and the space (spaces.ts) that each axis carries. Names
 * are those of Llama's checkpoints, which all families are read into.
 */
import { CORRECTION, EXPERT_NORMS, EXPERT_SCALES, routerParts, sharedExpertParts } from "./expert_weights.ts";
import { hasFfn } from "./ffn_layers.ts";
import { latentParts } from "./latent_spec.ts";
import { mixerOf } from "./mixer_layers.ts";
import { mixerParts } from "./mixer_weights.ts";
import { PROJECTIONS, type Projection } from "./projections.ts";
import {
  type Activation,
  headDimOf,
  type LayerSpec,
  type ModelSpec,
  type NormParameters,
  type NormPlacement,
  normsOf,
  ofLayer,
  ownKeyDimOf,
  valueDimOf,
} from "./spec.ts";
import { updateParts } from "./stream_updates.ts";
import {
  ATTENTION_GATES,
  activationParameterName,
  EMBEDDING,
  EMBEDDING_NORM,
  HEAD,
  HEAD_BIAS,
  LAYER_SCALAR,
  PER_LAYER,
  PER_LAYER_NORM,
  POSITION_EMBEDDING,
  projectionName,
  qkNormName,
  SINKS,
} from "./weight_names.ts";

/** Kind of units: FFN neurons, or key/value heads with the query heads that read them. */
export type SpaceKind = "ffn" | "kv";

/** Both kinds in the order of a layer: attention before FFN. */
export const SPACE_KINDS = ["kv", "ffn"] as const;

/** The kinds of units that a layer has. Keys and values that several layers share are no units of one of them. */
export function kindsOf({ mixer, kvSharing, neurons }: LayerSpec): readonly SpaceKind[] {
  const has = { kv: mixer === undefined && kvSharing === undefined, ffn: hasFfn({ neurons }) };
  return SPACE_KINDS.filter((kind) => has[kind]);
}

/** An axis of a weight: the space it carries (null if it is never pruned) and the number of indices per unit. */
export interface Axis {
  readonly space: string | null;
  readonly blockSize: number;
}

/** A tensor that a model of this shape must have. */
export interface WeightSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly axes: readonly Axis[];
}

const FREE: Axis = { space: null, blockSize: 1 };

const INPUT_PROJECTIONS: Readonly<Record<SpaceKind, readonly Projection[]>> = {
  ffn: ["gate_proj", "up_proj"],
  kv: ["q_proj", "k_proj", "v_proj"],
};

/** Norms on what enters a block of a layer and on its output, by name; null for none. */
interface BlockNorms {
  readonly input: string | null;
  readonly output: string | null;
}

/** The norms of attention (kv) and FFN for each placement. */
export const BLOCK_NORMS: Readonly<Record<NormPlacement, Readonly<Record<SpaceKind, BlockNorms>>>> = {
  before: {
    kv: { input: "input_layernorm", output: null },
    ffn: { input: "post_attention_layernorm", output: null },
  },
  around: {
    kv: { input: "input_layernorm", output: "post_attention_layernorm" },
    ffn: { input: "pre_feedforward_layernorm", output: "post_feedforward_layernorm" },
  },
  after: {
    kv: { input: null, output: "post_attention_layernorm" },
    ffn: { input: null, output: "post_feedforward_layernorm" },
  },
  shared: {
    kv: { input: "input_layernorm", output: null },
    ffn: { input: "input_layernorm", output: null },
  },
};

/** A tensor of a norm. */
export type NormPart = "weight" | "bias";

/** The tensors of norms. */
export const NORM_PARTS: Readonly<Record<NormParameters, readonly NormPart[]>> = {
  none: [],
  weight: ["weight"],
  weight_and_bias: ["weight", "bias"],
};

/**
 * Parameters of the activations that have some, by name, with the shapes of their tensors: those without axes are
 * constants of the class (`XIELUActivation` of activations.py of transformers), the others are learned.
 */
const ACTIVATION_PARAMETERS: Readonly<
  Partial<Record<Activation, Readonly<Record<string, readonly number[]>>>>
> = { xielu: { alpha_p: [1], alpha_n: [1], beta: [], eps: [] } };

/** The projections that a model's layers have, or one of them. */
export function projectionsOf(
  { gated }: Pick<ModelSpec, "gated">,
  layer: Parameters<typeof ofLayer>[1] = {},
): readonly Projection[] {
  const present = PROJECTIONS.filter((projection) => gated || projection !== "gate_proj");
  return ofLayer(present, layer);
}

/** The projections that write the channels of a space of a layer. */
export function inputProjections(
  spec: Pick<ModelSpec, "gated">,
  layer: LayerSpec,
  kind: SpaceKind,
): readonly Projection[] {
  const present = projectionsOf(spec, layer);
  return INPUT_PROJECTIONS[kind].filter((projection) => present.includes(projection));
}

/** `layers.3.ffn`. */
export function spaceId(layer: number, kind: SpaceKind): string {
  return `layers.${layer}.${kind}`;
}

/** Every tensor a model of this shape must have, under the Llama checkpoint names all families are read into. */
export function weightsOf(spec: ModelSpec): readonly WeightSpec[] {
  const head = plain(HEAD, [spec.vocabSize, spec.hiddenSize]);
  return [
    plain(EMBEDDING, [spec.vocabSize, spec.hiddenSize]),
    ...positionWeights(spec),
    ...perLayerWeights(spec),
    ...(spec.embeddingNorm ? normTensors(spec, EMBEDDING_NORM) : []),
    ...spec.layers.flatMap((_, index) => layerWeightsOf(spec, index)),
    ...normTensors(spec, "model.norm"),
    ...(spec.tiedEmbeddings ? [] : [head]),
    ...(spec.headBias ? [plain(HEAD_BIAS, [spec.vocabSize])] : []),
  ];
}

function positionWeights({ learnedPositions, maxPositions, hiddenSize }: ModelSpec): readonly WeightSpec[] {
  if (learnedPositions === null) return [];
  return [plain(POSITION_EMBEDDING, [learnedPositions.offset + maxPositions, hiddenSize])];
}

function perLayerWeights({ perLayerInputs, layers, hiddenSize }: ModelSpec): readonly WeightSpec[] {
  if (perLayerInputs === null) return [];
  const { size, vocabSize } = perLayerInputs;
  const channels = layers.length * size;
  return [
    plain(PER_LAYER.table, [vocabSize, channels]),
    plain(PER_LAYER.projection, [channels, hiddenSize]),
    plain(PER_LAYER.norm, [size]),
  ];
}

/** Every tensor of decoder layer `index`. */
export function layerWeightsOf(spec: ModelSpec, index: number): readonly WeightSpec[] {
  const layer = spec.layers[index]!;
  return [
    ...blockNormNames(spec, layer).flatMap((name) => normTensors(spec, `model.layers.${index}.${name}`)),
    ...qkNormWeights(spec, layer, index),
    ...sinkWeights(spec, layer, index),
    ...gateWeights(spec, layer, index),
    ...mixerWeights(spec, layer, index),
    ...latentWeights(spec, index),
    ...projectionWeights(spec, layer, index),
    ...routerWeights(spec, layer, index),
    ...activationWeights(spec, layer, index),
    ...updateWeights(spec, index),
    ...outputWeights(spec, index),
  ];
}

function activationWeights(spec: ModelSpec, layer: LayerSpec, index: number): readonly WeightSpec[] {
  const parameters = hasFfn(layer) ? activationParameters(spec) : [];
  return parameters.map(([name, shape]) => plain(activationParameterName(index, name), shape));
}

/** What a layer with experts has besides their projections: router, norms, and the shared expert with its gate. */
function routerWeights(spec: ModelSpec, { experts }: LayerSpec, index: number): readonly WeightSpec[] {
  if (experts === undefined) return [];
  const prefix = `model.layers.${index}.`;
  const ofParts = (parts: ReturnType<typeof routerParts>): readonly WeightSpec[] =>
    parts.map(([name, shape]) => plain(prefix + name, shape));
  const norms = experts.ownNorms ? Object.values(EXPERT_NORMS) : [];
  return [
    ...ofParts(routerParts(experts, spec.hiddenSize)),
    ...norms.flatMap((name) => normTensors(spec, prefix + name)),
    ...ofParts(sharedExpertParts(experts, spec)),
  ];
}

/** The corrections of all routers, and their shapes. */
export function correctionsOf({ layers }: Pick<ModelSpec, "layers">): readonly WeightSpec[] {
  return layers.flatMap(({ experts }, index) =>
    experts?.corrected ? [plain(`model.layers.${index}.${CORRECTION}`, [experts.count])] : [],
  );
}

/** The factors of experts' routing weights of all routers, and their shapes. */
export function expertScalesOf({ layers }: Pick<ModelSpec, "layers">): readonly WeightSpec[] {
  return layers.flatMap(({ experts }, index) =>
    experts?.ownScales ? [plain(`model.layers.${index}.${EXPERT_SCALES}`, [experts.count])] : [],
  );
}

/** What a layer does after its FFN: it adds what its own input gives, and multiplies its output by a number. */
function outputWeights(
  { perLayerInputs, layerScalars, hiddenSize }: ModelSpec,
  index: number,
): readonly WeightSpec[] {
  const scalars = layerScalars ? [plain(`model.layers.${index}.${LAYER_SCALAR}`, [1])] : [];
  if (perLayerInputs === null) return scalars;
  const { size } = perLayerInputs;
  return [
    plain(projectionName(index, "per_layer_input_gate"), [size, hiddenSize]),
    plain(projectionName(index, "per_layer_projection"), [hiddenSize, size]),
    plain(`model.layers.${index}.${PER_LAYER_NORM}.weight`, [hiddenSize]),
    ...scalars,
  ];
}

/** The parameters of a model's activation: shapes by name. */
export function activationParameters({
  activation,
}: Pick<ModelSpec, "activation">): readonly (readonly [string, readonly number[]])[] {
  return Object.entries(ACTIVATION_PARAMETERS[activation] ?? {});
}

/** The parameters of the norm that checkpoints call `name`. */
function normTensors({ normParameters, hiddenSize }: ModelSpec, name: string): readonly WeightSpec[] {
  return NORM_PARTS[normParameters].map((part) => plain(`${name}.${part}`, [hiddenSize]));
}

/** The norms of a layer's blocks by name, each once. */
function blockNormNames(spec: ModelSpec, layer: LayerSpec): readonly string[] {
  const has = { kv: layer.mixer?.type !== "none", ffn: hasFfn(layer) };
  const names = SPACE_KINDS.flatMap((kind) => {
    if (!has[kind]) return [];
    const { input, output } = BLOCK_NORMS[normsOf(spec, layer)][kind];
    return [input, output];
  });
  return [...new Set(names)].filter((name) => name !== null);
}

/** Norms on queries and keys; weights for each head, and for each channel of a projection, go with these. */
function qkNormWeights(spec: ModelSpec, layer: LayerSpec, index: number): readonly WeightSpec[] {
  if (spec.qkNorm === null || spec.qkNorm === "unweighted" || layer.mixer !== undefined) return [];
  const { queries, keys } = attentionAxes(spec, layer, index);
  const headDim = headDimOf(spec, layer);
  const ofQueries = ["q_norm", queries] as const;
  const isReader = layer.kvSharing?.role === "reader";
  const norms = isReader ? [ofQueries] : [ofQueries, ["k_norm", keys] as const];
  return norms.map(([norm, axis]) => {
    const name = qkNormName(index, norm);
    if (spec.qkNorm === "each_head") {
      const blockSize = axis.blockSize / headDim;
      const shape = [layer.kvGroups * blockSize, headDim];
      return { name, shape, axes: [{ ...axis, blockSize }, FREE] };
    }
    if (spec.qkNorm !== "projection") return plain(name, [headDim]);
    return { name, shape: [layer.kvGroups * axis.blockSize], axes: [axis] };
  });
}

/** The attention sinks of a layer's query heads. */
function sinkWeights(spec: ModelSpec, layer: LayerSpec, index: number): readonly WeightSpec[] {
  if (!spec.attentionSinks || layer.mixer !== undefined) return [];
  const { kvGroups, groupSize } = layer;
  const axis = { ...attentionAxes(spec, layer, index).queries, blockSize: groupSize };
  return [{ name: `model.layers.${index}.${SINKS}`, shape: [kvGroups * groupSize], axes: [axis] }];
}

/** The matrix of gates of attention's outputs, where they have one of their own. */
function gateWeights(spec: ModelSpec, layer: LayerSpec, index: number): readonly WeightSpec[] {
  const { gatedAttention: gates } = spec;
  if (gates === false || gates === "q_proj" || layer.mixer !== undefined) return [];
  const { outputs } = attentionAxes(spec, layer, index);
  const rows = gates === "head_gates" ? { ...outputs, blockSize: layer.groupSize } : outputs;
  const shape = [layer.kvGroups * rows.blockSize, spec.hiddenSize];
  return [{ name: `model.layers.${index}.${ATTENTION_GATES}.weight`, shape, axes: [rows, FREE] }];
}

/** The tensors of what a layer has in place of attention, or beside it. */
function mixerWeights(spec: ModelSpec, layer: LayerSpec, index: number): readonly WeightSpec[] {
  const mixer = mixerOf(layer);
  const parts = mixer === undefined ? [] : mixerParts(mixer, spec.hiddenSize);
  return parts.map(([name, shape]) => plain(`model.layers.${index}.${name}`, shape));
}

/** The tensors that make latents. */
function latentWeights({ latent, hiddenSize }: ModelSpec, index: number): readonly WeightSpec[] {
  const parts = latent === undefined ? [] : latentParts(latent, hiddenSize);
  return parts.map(([name, shape]) => plain(`model.layers.${index}.${name}`, shape));
}

/** The tensors that make, predict, correct and join streams. */
function updateWeights({ updates, hiddenSize, layers }: ModelSpec, index: number): readonly WeightSpec[] {
  if (updates === undefined) return [];
  const place = { isFirst: index === 0, isLast: index + 1 === layers.length };
  const parts = updateParts(updates, hiddenSize, place);
  return parts.map(([name, shape]) => plain(`model.layers.${index}.${name}`, shape));
}

/** The axes of queries, the rows of q_proj, keys, the rows of k_proj, values and outputs, whose unit is a KV group. */
function attentionAxes(
  spec: ModelSpec,
  layer: LayerSpec,
  index: number,
): Readonly<Record<"queries" | "queryRows" | "keys" | "keyRows" | "values" | "outputs", Axis>> {
  const space = kindsOf(layer).includes("kv") ? spaceId(index, "kv") : null;
  const headDim = headDimOf(spec, layer);
  const valueDim = valueDimOf(spec, layer);
  const channels = layer.groupSize * headDim;
  return {
    queries: { space, blockSize: channels },
    queryRows: { space, blockSize: spec.gatedAttention === "q_proj" ? 2 * channels : channels },
    keys: { space, blockSize: headDim },
    keyRows: { space, blockSize: ownKeyDimOf(spec, layer) },
    values: { space, blockSize: valueDim },
    outputs: { space, blockSize: layer.groupSize * valueDim },
  };
}

function projectionWeights(spec: ModelSpec, layer: LayerSpec, index: number): readonly WeightSpec[] {
  const neuron: Axis = { space: spaceId(index, "ffn"), blockSize: 1 };
  const { keyRows, queryRows, values, outputs } = attentionAxes(spec, layer, index);
  const [hidden, queryLatent, latent] = [{ ...FREE }, { ...FREE }, { ...FREE }];
  const axesOf: Readonly<Record<Projection, readonly [Axis, Axis]>> = {
    q_proj: [queryRows, queryLatent],
    k_proj: [keyRows, latent],
    v_proj: [values, latent],
    o_proj: [hidden, outputs],
    gate_proj: [neuron, hidden],
    up_proj: [neuron, hidden],
    down_proj: [hidden, neuron],
  };
  const sizes = new Map([
    [hidden, spec.hiddenSize],
    [queryLatent, spec.latent?.queryRank ?? spec.hiddenSize],
    [latent, spec.latent?.rank ?? spec.hiddenSize],
    [neuron, layer.neurons],
  ]);
  const size = (axis: Axis): number => sizes.get(axis) ?? layer.kvGroups * axis.blockSize;
  return projectionsOf(spec, layer).flatMap((projection) => {
    const axes = axesOf[projection];
    const weight = { name: projectionName(index, projection), shape: axes.map(size), axes };
    if (!layer.biases.includes(projection)) return [weight];
    const name = projectionName(index, projection, "bias");
    // Of what experts write, one for each of them.
    if (layer.experts !== undefined && projection === "down_proj")
      return [weight, plain(name, [layer.experts.count, spec.hiddenSize])];
    return [weight, { name, shape: [size(axes[0])], axes: [axes[0]] }];
  });
}

function plain(name: string, shape: readonly number[]): WeightSpec {
  return { name, shape, axes: shape.map(() => FREE) };
}
