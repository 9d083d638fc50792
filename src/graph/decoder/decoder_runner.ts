/**
 * Runs a model's decoder piece by piece: embeddings, one layer at a time, the head in chunks. Holds at most the
 * weights its caller has loaded; nothing is rebuilt when widths change, since weights are inputs of the graphs.
 */

import { badArgument, requireCount } from "../../base/arguments.ts";
import { mapValues } from "../../base/map_values.ts";
import { internalError } from "../../errors.ts";
import type { Model } from "../../model/model.ts";
import type { LayerSpec, ModelSpec } from "../../model/spec.ts";
import { EMBEDDING, EMBEDDING_NORM, POSITION_EMBEDDING } from "../../model/weight_names.ts";
import { layerWeightsOf, NORM_PARTS, type NormPart } from "../../model/weights.ts";
import { readNamed, type Tensor } from "../../tensor/tensor.ts";
import { requireFiniteResult } from "../runtime/finite.ts";
import { collectIfGrown, headRows, type MemoryPolicy } from "../runtime/memory_policy.ts";
import type { Feeds, FilledProgram, Runtime } from "../runtime/runtime.ts";
import { embeddingRows, requireFiniteRows } from "./embedding_rows.ts";
import { weightsByExpert } from "./experts.ts";
import { headStructure, headWeights } from "./head.ts";
import { HEAD_PROGRAMS, type HeadProgram } from "./head_programs.ts";
import { layerStructure } from "./layer_structure.ts";
import { OwnInputs } from "./own_inputs.ts";
import { forestFeeds, PositionFeeds } from "./position_feeds.ts";
import { batchPositions } from "./positions.ts";
import { LAYER_PROGRAMS, type LayerProgram, structureFor } from "./programs.ts";
import { expertOfFeed } from "./weight_supply.ts";

/** A layer's weights, ready to be fed. */
export interface LoadedLayer {
  readonly index: number;
  readonly spec: LayerSpec;
  /** By their names in the graph; on the CPU the matrices of each expert (`weightsByExpert`). */
  readonly weights: Feeds;
  /** The program `cached` of this layer, where it holds some of the weights itself (block_weights.ts). */
  readonly program?: FilledProgram;
}

/** Final norm and vocabulary projection, ready to be fed. */
export interface LoadedHead {
  readonly weights: Feeds;
  /** The program `logits` of this head, where it holds some of the weights itself. */
  readonly program?: FilledProgram;
}

/** Hidden states for a layer, the positions of their tokens, and other inputs of the program. */
export interface LayerInput {
  /** [B, T, C], or more channels (`SharedStream`). */
  readonly hidden: Tensor;
  /** Token ids, B*T, which only models with inputs of layers need. */
  readonly ids?: Int32Array | undefined;
  /** Position of the first token in its sequence; 0 when absent. */
  readonly offset?: number;
  /** Length of the whole sequence; `offset` + T when absent, where no tokens follow in later runs. */
  readonly sequence?: number;
  /** The token before each one of its row, [B*T], for the program `forest` (prefix_forest.ts). */
  readonly parents?: Int32Array | undefined;
  readonly feeds?: Feeds;
}

/** Outputs of a program by name. */
export type Outputs = Readonly<Record<string, Tensor>>;

/** Loads the layers and the head of one model and runs programs on them. */
export class DecoderRunner {
  readonly model: Model;
  readonly runtime: Runtime;
  readonly #holdsWeights: boolean;
  readonly #positions: PositionFeeds;
  readonly #ownInputs: OwnInputs;

  /**
   * @param options - `holdsWeights`: whether the model's weights stay in memory, so that a finished layer leaves no
   *   garbage
   */
  constructor(
    model: Model,
    runtime: Runtime,
    { holdsWeights = false }: { readonly holdsWeights?: boolean } = {},
  ) {
    this.model = model;
    this.runtime = runtime;
    this.#holdsWeights = holdsWeights;
    this.#positions = new PositionFeeds(runtime);
    this.#ownInputs = new OwnInputs(model, runtime);
  }

  /**
   * Token embeddings, times the family's `embeddingScale`, with those of positions where these are learned, and with a
   * norm where the model has one.
   * @param ids - token ids, B*T
   * @param positions - of the tokens in their sequences, B*T; from 0 in every row when absent
   * @returns shape [B, T, C]
   * @throws GpruneError BAD_TEXT for an id outside the vocabulary, BAD_ARGUMENT for another number of ids, NOT_FINITE
   *   for an embedding that is not finite
   */
  async embed(
    ids: Int32Array,
    [batch, tokens]: readonly [number, number],
    positions: Int32Array = batchPositions(batch, { tokens, offset: 0 }),
  ): Promise<Tensor> {
    const { hiddenSize, vocabSize, embeddingScale } = this.model.spec;
    if (ids.length !== batch * tokens) throw badArgument("ids", `${batch} x ${tokens} tokens`, ids.length);
    const table = { name: EMBEDDING, rows: vocabSize, size: hiddenSize };
    const data = await embeddingRows(this.model.weights, table, ids);
    if (embeddingScale !== 1) for (let i = 0; i < data.length; i++) data[i]! *= embeddingScale;
    await this.#addPositions(data, positions);
    await this.#normEmbeddings(data);
    return { shape: [batch, tokens, hiddenSize], data };
  }

  /** Adds the learned embeddings of positions, if the model has any, to embeddings [B*T, C]. */
  async #addPositions(embeddings: Float32Array, positions: Int32Array): Promise<void> {
    const { learnedPositions, maxPositions, hiddenSize } = this.model.spec;
    if (learnedPositions === null || positions.length === 0) return;
    const last = positions.reduce((most, position) => Math.max(most, position), 0);
    if (last >= maxPositions) {
      throw badArgument(
        "tokens",
        `sequences of at most ${maxPositions} tokens, as the model has positions`,
        last + 1,
      );
    }
    const { offset } = learnedPositions;
    const range = { start: offset, end: offset + last + 1 };
    const { data } = await this.model.weights.read(POSITION_EMBEDDING, range);
    requireFiniteRows(data, { name: POSITION_EMBEDDING, size: hiddenSize, rowOf: (place) => offset + place });
    for (const [place, position] of positions.entries()) {
      const [to, from] = [place * hiddenSize, position * hiddenSize];
      for (let c = 0; c < hiddenSize; c++) embeddings[to + c]! += data[from + c]!;
    }
  }

  /** Norms embeddings [B*T, C], in place, if the model norms them. */
  async #normEmbeddings(embeddings: Float32Array): Promise<void> {
    const { spec, weights } = this.model;
    if (!spec.embeddingNorm) return;
    const parts = NORM_PARTS[spec.normParameters].map(
      async (part) => [part, (await weights.read(`${EMBEDDING_NORM}.${part}`)).data] as const,
    );
    normRows(embeddings, spec, Object.fromEntries(await Promise.all(parts)));
  }

  /** Whether experts compute for their own tokens alone; devices compute all faster. */
  get #isSparse(): boolean {
    return this.runtime.device.name === "cpu";
  }

  /** The runtime's memory policy. */
  get memory(): MemoryPolicy {
    return this.runtime.memory;
  }

  /**
   * Layers `first` to `end` (exclusive), in descending order when `end` is smaller; with `prefetch` each is read while
   * the one before is computed. A layer loses its weights when the next one is requested.
   */
  async *loadLayers(first: number, end: number): AsyncGenerator<LoadedLayer> {
    const step = first <= end ? 1 : -1;
    const load = (index: number): Promise<LoadedLayer> | null => {
      if (index === end) return null;
      const layer = this.loadLayer(index);
      // The error is thrown where the layer is awaited.
      layer.catch(() => {});
      return layer;
    };
    let next = load(first);
    try {
      for (let index = first; next !== null; index += step) {
        const layer = await next;
        next = this.memory.prefetch ? load(index + step) : null;
        try {
          yield layer;
        } finally {
          this.runtime.release(layer.weights);
        }
        // The caller still holds this layer when it asks for the next one.
        const weights = layer.weights as Record<string, Feeds[string]>;
        for (const name of Object.keys(weights)) delete weights[name];
        if (!this.#holdsWeights) collectIfGrown(this.memory);
        next ??= load(index + step);
      }
    } finally {
      // What was read ahead for a caller that wants no more.
      next?.then(({ weights }) => this.runtime.release(weights)).catch(() => {});
    }
  }

  /**
   * Reads the weights of layer `index` as float32. @throws GpruneError BAD_ARGUMENT for a layer that the model does not
   * have
   */
  async loadLayer(index: number): Promise<LoadedLayer> {
    const { layers } = this.model.spec;
    const spec = layers[index];
    if (spec === undefined) throw badArgument("layer", `one of 0 to ${layers.length - 1}`, index);
    const prefix = `model.layers.${index}.`;
    const weights: Record<string, Feeds[string]> = {};
    for (const { name } of layerWeightsOf(this.model.spec, index)) {
      const weight = { [name.slice(prefix.length)]: await this.model.weights.read(name) };
      Object.assign(weights, this.#isSparse ? weightsByExpert(spec, weight) : weight);
    }
    this.runtime.keep(weights);
    return { index, spec, weights };
  }

  /**
   * Runs one program on one layer.
   * @param input - `hidden`, the positions of its tokens, and in `feeds` the other inputs of the program
   * @throws GpruneError NOT_FINITE when the layer's output is not finite, naming the tensor at fault
   */
  async runLayer(program: LayerProgram, layer: LoadedLayer, input: LayerInput): Promise<Outputs> {
    const { hidden, offset = 0, parents, feeds = {} } = input;
    const [batch, tokens] = hidden.shape as readonly [number, number, number];
    const { sequence = offset + tokens } = input;
    const { window } = layer.spec;
    const structure = structureFor(program, layerStructure(this.model.spec, layer.index), {
      tokens,
      window,
      sparse: this.#isSparse,
    });
    const key = `${program} ${JSON.stringify(structure)}`;
    const compiled =
      filledFor(layer, program, "cached") ??
      (await this.runtime.program(key, () => LAYER_PROGRAMS[program](structure)));
    const span = { tokens, offset, sequence, places: feeds.past_keys?.shape[2] };
    const positions =
      parents === undefined
        ? this.#positions.of(layer.spec, span, structure)
        : forestFeeds(layer.spec, parents, batch);
    const own = await this.#ownInputs.of(layer.index, input.ids, [batch, tokens]);
    const outputs = await compiled.run({ ...layer.weights, ...positions, ...own, ...feeds, hidden });
    requireFiniteResult(outputs.hidden!, {
      what: `${program} of layer ${layer.index}`,
      get weights() {
        return weightsByExpert(layer.spec, layer.weights);
      },
      dtype: this.runtime.device.dtype,
      nameOf: (feed) => `model.layers.${layer.index}.${expertOfFeed(feed)?.name ?? feed}`,
      expertOf: (feed) => expertOfFeed(feed)?.expert ?? null,
    });
    return outputs;
  }

  /** Reads final norm and vocabulary projection as float32. */
  async loadHead(): Promise<LoadedHead> {
    const { spec, weights } = this.model;
    const feeds = await readNamed(weights, headWeights(spec));
    this.runtime.keep(feeds);
    return { weights: feeds };
  }

  /**
   * Runs one program of the head over the rows of `hidden` in chunks (`headRows`), so that few logits exist at once.
   * @param rows - `hidden` [M, C] and the other inputs of the program, all with M rows
   * @returns the outputs, joined along the rows
   * @throws GpruneError BAD_ARGUMENT without rows; NOT_FINITE when logits or losses are not finite, naming the tensor
   *   at fault
   */
  async runHead(
    program: HeadProgram,
    head: LoadedHead,
    rows: { readonly hidden: Tensor } & Feeds,
  ): Promise<Outputs> {
    const { spec } = this.model;
    const key = `head ${program} ${JSON.stringify(headStructure(spec))}`;
    const compiled =
      filledFor(head, program, "logits") ??
      (await this.runtime.program(key, () => HEAD_PROGRAMS[program](spec)));
    const count = rows.hidden.shape[0]!;
    requireCount("rows", count);
    const chunk = headRows(spec.vocabSize, this.memory);
    const parts: Outputs[] = [];
    for (let start = 0; start < count; start += chunk) {
      const part: Feeds = mapValues(rows as Feeds, (value) =>
        sliceRows(value, start, Math.min(count, start + chunk)),
      );
      const outputs = await compiled.run({ ...head.weights, ...part });
      requireFiniteResult((outputs.logits ?? outputs.nll)!, {
        what: `${program} of the head`,
        weights: head.weights,
        dtype: this.runtime.device.dtype,
        nameOf: (feed) => nameOfHeadWeight(spec, feed),
      });
      parts.push(outputs);
    }
    return joinRows(parts, count);
  }
}

/** Name in the checkpoint of a weight of the head, or of a teacher's, by its name in the graph. */
function nameOfHeadWeight(spec: ModelSpec, feed: string): string {
  const names: Readonly<Record<string, string>> = headWeights(spec);
  return names[feed.replace(/^teacher[.]/, "")] ?? feed;
}

/** The program that a loaded layer or head brings along, if any, which can only be `only`. */
function filledFor<P extends string>(
  { program }: LoadedLayer | LoadedHead,
  wanted: P,
  only: P,
): FilledProgram | undefined {
  if (program !== undefined && wanted !== only) throw internalError(`${wanted} with weights for ${only}`);
  return program;
}

function sliceRows({ shape, data }: Feeds[string], start: number, end: number): Feeds[string] {
  const width = data.length / shape[0]!;
  const rows = data.subarray(start * width, end * width);
  return { shape: shape.with(0, end - start), data: rows } as Feeds[string];
}

function joinRows(parts: readonly Outputs[], rows: number): Outputs {
  if (parts.length === 1) return parts[0]!;
  return mapValues(parts[0]!, ({ shape, data }, name) => {
    const joined = new Float32Array((data.length / shape[0]!) * rows);
    let offset = 0;
    for (const part of parts) {
      joined.set(part[name]!.data, offset);
      offset += part[name]!.data.length;
    }
    return { shape: shape.with(0, rows), data: joined };
  });
}

/** A model's norm over every row of C elements, in place. */
function normRows(
  data: Float32Array,
  { hiddenSize, normType, normEps, normOffset }: ModelSpec,
  { weight, bias }: Readonly<Partial<Record<NormPart, Float32Array>>>,
): void {
  for (let start = 0; start < data.length; start += hiddenSize) {
    const row = data.subarray(start, start + hiddenSize);
    const mean = normType === "layer" ? row.reduce((sum, x) => sum + x, 0) / hiddenSize : 0;
    const meanSquare = row.reduce((sum, x) => sum + (x - mean) ** 2, 0) / hiddenSize;
    const root = Math.sqrt(meanSquare + normEps);
    for (let c = 0; c < hiddenSize; c++) {
      const factor = weight === undefined ? 1 : normOffset + weight[c]!;
      row[c] = ((row[c]! - mean) / root) * factor + (bias?.[c] ?? 0);
    }
  }
}
