/**
 * Models whose factors on embeddings, on logits, and of blocks (`BlockMultipliers`, `MixerMultipliers`) are part of
 * their weights, as GGUF files of some architectures have them (modify_tensors of conversion/falcon_h1.py in
 * llama.cpp). Products are rounded to float32 once.
 */
import { elementCount, type Tensor, type TensorSource } from "../../tensor/tensor.ts";
import { partMultipliers } from "../mixer_weights.ts";
import type { LayerSpec, ModelSpec } from "../spec.ts";
import { EMBEDDING, HEAD } from "../weight_names.ts";
import type { GgufArchitecture } from "./architecture.ts";

/**
 * The spec as files of the architecture have it. Where factors on the embedding and on logits differ, the output matrix
 * is no longer the embedding.
 */
export function foldedSpec(spec: ModelSpec, { folded }: GgufArchitecture): ModelSpec {
  if (!folded) return spec;
  const { multipliers: _, ...others } = spec;
  return {
    ...others,
    layers: spec.layers.map(withoutMultipliers),
    tiedEmbeddings: spec.tiedEmbeddings && spec.embeddingScale * spec.logitDivisor === 1,
    embeddingScale: 1,
    logitDivisor: 1,
  };
}

function withoutMultipliers(layer: LayerSpec): LayerSpec {
  if (layer.beside?.multipliers === undefined) return layer;
  const { multipliers: _, ...beside } = layer.beside;
  return { ...layer, beside };
}

/** The weights of a model as files of the architecture have them, by the names of its folded spec. */
export function foldedWeights(
  source: TensorSource,
  spec: ModelSpec,
  { folded }: GgufArchitecture,
): TensorSource {
  if (!folded) return source;
  const storedName = (name: string): string => (name === HEAD && spec.tiedEmbeddings ? EMBEDDING : name);
  return {
    names: source.names,
    info: (name) => source.info(storedName(name)),
    read: async (name, rows) =>
      multiplied(await source.read(storedName(name), rows), factorsOf(name, spec), rows?.start ?? 0),
    close: () => source.close(),
  };
}

/** Factors on what a module gives, for all of its rows or each of them, and on what it reads. */
interface Factors {
  readonly outputs?: number | Float32Array | null | undefined;
  readonly inputs?: number | undefined;
}

/** The factors of modules of layers, by name. */
const FACTORS: Readonly<Record<string, (spec: ModelSpec, layer: LayerSpec) => Factors>> = {
  "self_attn.q_proj": ({ multipliers }) => ({ inputs: multipliers?.attentionInput }),
  "self_attn.k_proj": ({ multipliers }) => ({
    inputs: multipliers?.attentionInput,
    outputs: multipliers?.keys,
  }),
  "self_attn.v_proj": ({ multipliers }) => ({ inputs: multipliers?.attentionInput }),
  "self_attn.o_proj": ({ multipliers }) => ({ outputs: multipliers?.attentionOutput }),
  "mlp.gate_proj": ({ multipliers }) => ({ outputs: multipliers?.gates }),
  "mlp.down_proj": ({ multipliers }) => ({ outputs: multipliers?.ffnOutput }),
  "mamba.in_proj": (_, { beside }) => ({
    inputs: beside?.multipliers?.input,
    outputs: beside && partMultipliers(beside),
  }),
  "mamba.out_proj": (_, { beside }) => ({ outputs: beside?.multipliers?.output }),
};

const LAYER_WEIGHT = /^model\.layers\.(?<layer>\d+)\.(?<module>.+)\.(?<part>weight|bias)$/;

/** The factors on a weight; biases are added to what a module gives, and so have no factors on what it reads. */
function factorsOf(name: string, spec: ModelSpec): Factors {
  if (name === EMBEDDING) return { outputs: spec.embeddingScale };
  if (name === HEAD) return { outputs: 1 / spec.logitDivisor };
  const { layer, module = "", part } = LAYER_WEIGHT.exec(name)?.groups ?? {};
  if (layer === undefined) return {};
  const factors = FACTORS[module]?.(spec, spec.layers[Number(layer)]!) ?? {};
  return part === "weight" ? factors : { outputs: factors.outputs };
}

/** @param first - number of the tensor's first row */
function multiplied(tensor: Tensor, { outputs, inputs = 1 }: Factors, first: number): Tensor {
  const ofRows = typeof outputs === "number" || !outputs ? null : outputs;
  const factor = inputs * (typeof outputs === "number" ? outputs : 1);
  if (ofRows === null && factor === 1) return tensor;
  const { shape } = tensor;
  const width = elementCount(shape.slice(1));
  const data = tensor.data.map((value, index) => {
    return value * factor * (ofRows?.[first + Math.floor(index / width)] ?? 1);
  });
  return { shape, data };
}
