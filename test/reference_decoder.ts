/**
 * The decoder in plain float64 JavaScript, one sequence at a time and row by row, as the papers and transformers'
 * modeling files define it. The naive twin of src/graph/decoder/decoder.ts; it shares no code with it.
 */

import type { Model } from "../src/model/model.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import { tensorsOf } from "./plans.ts";
import { attention } from "./reference_attention.ts";
import { ffn, scaled, withOwn } from "./reference_ffn.ts";
import {
  add,
  chunks,
  crossEntropy,
  linear,
  matrix,
  norm,
  type Row,
  type Rows,
  softcap,
  vector,
  type Weights,
} from "./reference_functions.ts";
import { type Attended, ReferenceLayer } from "./reference_layer.ts";
import { mamba2, mixed } from "./reference_mixers.ts";
import {
  corrected,
  expanded,
  joined as joinedStreams,
  predicted,
  type Streams,
  withResidual,
} from "./reference_streams.ts";

/** Results of the reference for one sequence. */
export interface ReferenceRun {
  /** Output of every layer, rows of C. */
  readonly hidden: readonly Rows[];
  /** Inputs of the output projections by space id, after edits. */
  readonly taps: ReadonlyMap<string, Rows>;
  /** Rows of V. */
  readonly logits: Rows;
  /** Mean next-token cross entropy, nats. */
  readonly loss: number;
}

/** Replaces the rows that enter an output projection. */
export type EditTap = (space: string, rows: Rows) => Rows;

/** Reads all weights once and returns the model as a function of token ids. */
export async function referenceDecoder(
  model: Model,
): Promise<(ids: ArrayLike<number>, edit?: EditTap) => ReferenceRun> {
  const weights = await tensorsOf(model);
  return (ids, edit = (_, rows) => rows) => run(model.spec, weights, { ids: Array.from(ids), edit });
}

function run(
  spec: ModelSpec,
  weights: Weights,
  { ids, edit }: { readonly ids: readonly number[]; readonly edit: EditTap },
): ReferenceRun {
  let stream = embedded(spec, weights, ids);
  const hidden: Rows[] = [];
  const taps = new Map<string, Rows>();
  const shared: Attended[] = [];
  const own = ownInputs(spec, weights, ids);
  let streams: Streams = [];
  for (const [index, layerSpec] of spec.layers.entries()) {
    const layer = new ReferenceLayer({
      spec,
      layerSpec,
      weights,
      prefix: `model.layers.${index}.`,
      attended: shared,
    });
    const gate = (kind: "kv" | "ffn", rows: Rows): Rows => {
      const id = `layers.${index}.${kind}`;
      taps.set(id, edit(id, rows));
      return taps.get(id)!;
    };
    const { mixer, beside } = layerSpec;
    const hasStreams = spec.updates !== undefined;
    const before = index === 0 && hasStreams ? expanded(layer, stream) : streams;
    const predictions = hasStreams ? predicted(layer, before) : [];
    const input = predictions[0] ?? stream;
    const attended =
      mixer === undefined ? attention(layer, input, (rows) => gate("kv", rows)) : mixed(layer, input, mixer);
    const first = hasStreams ? withResidual(layer, input, attended) : attended;
    const joined = beside === undefined ? first : mamba2(layer, beside, { stream, joined: first });
    const read = spec.parallel ? stream : joined;
    const passed =
      layerSpec.neurons === 0 ? joined : ffn(layer, { read, joined }, (rows) => gate("ffn", rows));
    if (hasStreams) {
      const ofLayer = own.map((rows) => rows[index]!);
      streams = corrected(layer, predictions, { activated: passed, own: ofLayer });
      stream = index + 1 < spec.layers.length ? streams[0]! : joinedStreams(layer, streams);
      hidden.push(stream);
      continue;
    }
    stream = scaled(
      layer,
      passed.map((row, t) => (spec.perLayerInputs === null ? row : withOwn(layer, row, own[t]![index]!))),
    );
    hidden.push(stream);
  }
  const logits = logitsOf(spec, weights, stream);
  return { hidden, taps, logits, loss: crossEntropy(logits, ids) };
}

/** The input of the first layer. */
function embedded(spec: ModelSpec, weights: Weights, ids: readonly number[]): Rows {
  const embeddings = matrix(weights, "model.embed_tokens.weight");
  let rows: Rows = ids.map((id) => embeddings[id]!.map((x) => x * spec.embeddingScale));
  if (spec.learnedPositions !== null) {
    const table = matrix(weights, "model.embed_positions.weight").slice(spec.learnedPositions.offset);
    rows = add(rows, table.slice(0, ids.length));
  }
  if (!spec.embeddingNorm) return rows;
  const parameters = normParameters(spec, weights, "model.embed_layernorm");
  return rows.map((row) => norm(row, parameters, spec));
}

function logitsOf(spec: ModelSpec, weights: Weights, stream: Rows): Rows {
  const finalNorm = normParameters(spec, weights, "model.norm");
  const biases = spec.headBias ? vector(weights, "lm_head.bias") : new Array<number>(spec.vocabSize).fill(0);
  const head = matrix(weights, spec.tiedEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight");
  return stream.map((row) =>
    softcap(
      linear(norm(row, finalNorm, spec), head).map((x, i) => (x + biases[i]!) / spec.logitDivisor),
      spec.logitSoftcap,
    ),
  );
}

/** The inputs of all layers by token. */
function ownInputs(spec: ModelSpec, weights: Weights, ids: readonly number[]): readonly Rows[] {
  if (spec.perLayerInputs === null) return [];
  const { size } = spec.perLayerInputs;
  const embeddings = matrix(weights, "model.embed_tokens.weight");
  const table = matrix(weights, "model.embed_tokens_per_layer.weight");
  const projection = matrix(weights, "model.per_layer_model_projection.weight");
  const weight = vector(weights, "model.per_layer_projection_norm.weight");
  return ids.map((id) => {
    const embedded = embeddings[id]!.map((x) => x * spec.embeddingScale);
    const projected = linear(embedded, projection).map((x) => x / Math.sqrt(spec.hiddenSize));
    const rows = chunks(table[id] ?? table[0]!, size);
    return chunks(projected, size).map((part, layer) =>
      norm(part, { weight, bias: null }, spec).map(
        (x, c) => (x + rows[layer]![c]! * Math.sqrt(size)) / Math.SQRT2,
      ),
    );
  });
}

function normParameters(
  spec: ModelSpec,
  weights: Weights,
  name: string,
): { readonly weight: Row | null; readonly bias: Row | null } {
  return {
    weight: spec.normParameters === "none" ? null : vector(weights, `${name}.weight`),
    bias: spec.normParameters === "weight_and_bias" ? vector(weights, `${name}.bias`) : null,
  };
}
