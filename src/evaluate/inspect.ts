/** Facts about a model that can be told without reading its weights. */

import { type ProgramSupport, programSupport } from "../export/program_support.ts";
import { ggufTokenizerObstacle } from "../model/gguf/vocabulary.ts";
import type { Model } from "../model/model.ts";
import { parameterCount } from "../model/parameter_counts.ts";
import { prunableParameters } from "../model/spaces.ts";
import { headDimOf, queryHeads } from "../model/spec.ts";
import { storedBytes } from "../model/stored_size.ts";

/** Facts about a model, as `gprune inspect --json` prints them. */
export interface Inspection {
  readonly model: string;
  readonly format: string;
  readonly family: string;
  /** dtype of most parameters, as stored. */
  readonly dtype: string;
  readonly parameters: { readonly total: number; readonly prunable: number };
  /** Bytes of the weights as stored. */
  readonly bytes: number;
  readonly layers: number;
  readonly hidden_size: number;
  readonly head_dim: number;
  /** By layer. */
  readonly head_dims: readonly number[];
  /** The layer whose keys and values each layer reads, most often itself. */
  readonly kv_sources: readonly number[];
  /** By layer; 0 where all neurons compute for every token. */
  readonly experts: readonly number[];
  /** Experts of a token, by layer. */
  readonly active_experts: readonly number[];
  readonly vocab_size: number;
  /** Whether the model has a tokenizer.json, without which no text can be tokenised. */
  readonly tokenizer: boolean;
  readonly tied_embeddings: boolean;
  /** By layer. Neurons are those of all experts together. */
  readonly widths: {
    readonly ffn: readonly number[];
    readonly kv: readonly number[];
    readonly heads: readonly number[];
  };
  /** Layers with biases at the output projections, as recovery adds them. */
  readonly output_biases: number;
  /** Which programs load it: the file or directory that it is, or else the directory that gprune makes of it. */
  readonly runtimes: ProgramSupport;
}

/** Describes a model; reads no tensor. */
export function inspectModel(model: Model): Inspection {
  const { spec, origin, files } = model;
  const { layers } = spec;
  return {
    model: origin.name,
    format: origin.format,
    family: spec.family,
    dtype: origin.dtype,
    parameters: { total: parameterCount(spec), prunable: prunableParameters(spec) },
    bytes: storedBytes(model),
    layers: layers.length,
    hidden_size: spec.hiddenSize,
    head_dim: spec.headDim,
    head_dims: layers.map((layer) => headDimOf(spec, layer)),
    kv_sources: layers.map(({ kvSharing }, index) =>
      kvSharing?.role === "reader" ? kvSharing.source : index,
    ),
    experts: layers.map(({ experts }) => experts?.count ?? 0),
    active_experts: layers.map(({ experts }) => experts?.active ?? 0),
    vocab_size: spec.vocabSize,
    tokenizer: files.some(({ name }) => name === "tokenizer.json"),
    tied_embeddings: spec.tiedEmbeddings,
    widths: {
      ffn: layers.map((layer) => layer.neurons),
      kv: layers.map((layer) => layer.kvGroups),
      heads: layers.map(queryHeads),
    },
    output_biases: layers.filter(({ biases }) => biases.includes("o_proj") || biases.includes("down_proj"))
      .length,
    runtimes: programSupport(spec, { ...origin, tokenizer: ggufTokenizerObstacle(model) }),
  };
}
