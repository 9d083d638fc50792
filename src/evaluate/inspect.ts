/** What a model is, without running it. */
import { findGgufTarget } from "../export/gguf_target.ts";
import { readConfig } from "../model/hf_config.ts";
import { hasUniformWidths, writeConfig } from "../model/hf_config_writer.ts";
import type { Model } from "../model/model.ts";
import { parameterCount, prunableParameters, weightsOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";

/** Facts about a model, as `gprune inspect --json` prints them. */
export interface Inspection {
  readonly model: string;
  readonly format: string;
  readonly family: string;
  /** dtype of most parameters, as stored. */
  readonly dtype: string;
  readonly parameters: { readonly total: number; readonly prunable: number };
  readonly layers: number;
  readonly hidden_size: number;
  readonly head_dim: number;
  readonly vocab_size: number;
  readonly tied_embeddings: boolean;
  readonly widths: {
    readonly ffn: readonly number[];
    readonly kv: readonly number[];
    readonly heads: readonly number[];
  };
  /** Layers with biases at the output projections, as recovery adds them. */
  readonly output_biases: number;
  /** Which programs can hold these shapes. */
  readonly runtimes: Readonly<Record<string, string>>;
}

/** Reads no tensor. */
export function inspectModel({ spec, origin }: Model): Inspection {
  const { layers } = spec;
  return {
    model: origin.name,
    format: origin.format,
    family: spec.family,
    dtype: origin.dtype,
    parameters: { total: parameterCount(spec), prunable: prunableParameters(spec) },
    layers: layers.length,
    hidden_size: spec.hiddenSize,
    head_dim: spec.headDim,
    vocab_size: spec.vocabSize,
    tied_embeddings: spec.tiedEmbeddings,
    widths: {
      ffn: layers.map((layer) => layer.neurons),
      kv: layers.map((layer) => layer.kvGroups),
      heads: layers.map((layer) => layer.kvGroups * layer.groupSize),
    },
    output_biases: layers.filter(({ biases }) => biases.includes("o_proj") || biases.includes("down_proj"))
      .length,
    runtimes: { gprune: "yes", transformers: transformersAnswer(spec), "llama.cpp": llamaCppAnswer(spec) },
  };
}

/** As `gprune export` writes it for llama.cpp. */
function llamaCppAnswer(spec: ModelSpec): string {
  const answer = findGgufTarget(spec);
  if (answer.target === null) return `no: ${answer.reason}`;
  const { name, zeros, ignoredWindow } = answer.target;
  const percent = Math.max(1, Math.round((100 * zeros) / parameterCount(spec)));
  const notes = [
    zeros === 0 ? [] : [`with ${percent} % more parameters, which are zeros`],
    ignoredWindow === null ? [] : [`without the window of ${ignoredWindow} tokens`],
  ];
  return [`yes, as ${name}`, ...notes.flat()].join(", ");
}

/** Stock classes build what config.json says: the same widths in every layer, and the biases of the family. */
function transformersAnswer(spec: ModelSpec): string {
  if (!hasUniformWidths(spec)) return "no: stock classes build every layer alike";
  const built = new Set(
    weightsOf(readConfig(writeConfig(spec, "float32"), "config")).map(({ name }) => name),
  );
  const foreign = weightsOf(spec).find(({ name }) => !built.has(name));
  return foreign === undefined ? "yes" : `no: its ${spec.family} has no ${foreign.name}`;
}
