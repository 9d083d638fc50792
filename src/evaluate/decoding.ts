/** Token-by-token decoding of a batch of sequences with a key/value cache. All weights stay in memory meanwhile. */

import { everyMatrix, hasBlocks, loadBlockHead, loadBlockLayer } from "../graph/decoder/block_weights.ts";
import type { DecoderRunner, LoadedHead, LoadedLayer } from "../graph/decoder/decoder_runner.ts";
import { hasSameFrequencies } from "../graph/decoder/frequencies.ts";
import { batchPositions } from "../graph/decoder/positions.ts";
import { multipliesBlocks } from "../graph/runtime/block_check.ts";
import { memoryLimit } from "../io/files/machine.ts";
import type { Model } from "../model/model.ts";
import { parameterCount } from "../model/parameter_counts.ts";
import { longropeSwitch } from "../model/rope_layers.ts";
import type { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { emptyCaches, type LayerCache } from "./layer_cache.ts";

/**
 * Ids that end generation: the tokenizer's EOS ids and, where there is no generation_config.json, those of config.json,
 * as in transformers (`GenerationConfig.from_model_config`).
 */
export function endingIds({ spec, files }: Model, { eosIds }: Tokenizer): readonly number[] {
  if (files.some(({ name }) => name === "generation_config.json")) return eosIds;
  const configIds = [spec.extra.eos_token_id].flat().filter((id) => typeof id === "number");
  return [...new Set([...eosIds, ...configIds])];
}

/** A model with all its weights in memory. */
export interface LoadedDecoder {
  readonly runner: DecoderRunner;
  readonly layers: readonly LoadedLayer[];
  readonly head: LoadedHead;
}

/** Decoded tokens that repay the time of quantising all matrices (docs/PERFORMANCE.md). */
const LONG_TEXT = 512;

/**
 * Loads all weights of a model for the fastest decoding of one sequence. Matrices stored in blocks of integers stay as
 * they are. Others are quantised where enough tokens repay that, or float32 would take more than half of the memory;
 * else they are float32. Integers are used only on processors that multiply them fast. Free with `closeDecoder`.
 * @param tokens - most tokens that will be decoded one by one
 */
export async function loadFastDecoder(runner: DecoderRunner, tokens: number): Promise<LoadedDecoder> {
  const { runtime, model } = runner;
  const isLarge = 4 * parameterCount(model.spec) > memoryLimit() / 2;
  const blocks = tokens >= LONG_TEXT || isLarge ? everyMatrix(model) : model.weights.blocks;
  const isPossible = runtime.device.name === "cpu" && blocks !== undefined && hasBlocks(model, blocks);
  if (!isPossible || !(await multipliesBlocks(runtime))) return loadDecoder(runner);
  const layers: LoadedLayer[] = [];
  try {
    for (const index of model.spec.layers.keys()) layers.push(await loadBlockLayer(runner, blocks, index));
    return { runner, layers, head: await loadBlockHead(runner, blocks) };
  } catch (error) {
    await free(runner, layers);
    throw error;
  }
}

/** Frees a decoder's programs, and the copies of its weights on the device; it cannot be used afterwards. */
export function closeDecoder({ runner, layers, head }: LoadedDecoder): Promise<void> {
  return free(runner, [...layers, head]);
}

async function free(runner: DecoderRunner, loaded: readonly (LoadedLayer | LoadedHead)[]): Promise<void> {
  for (const { weights, program } of loaded) {
    if (program === undefined) runner.runtime.release(weights);
    else await program.close();
  }
}

/** Loads all weights of a model as float32. Free with `closeDecoder`. */
export async function loadDecoder(runner: DecoderRunner): Promise<LoadedDecoder> {
  const layers = await Promise.all(runner.model.spec.layers.map((_, index) => runner.loadLayer(index)));
  return { runner, layers, head: await runner.loadHead() };
}

/** Most tokens of one pass: attention scores and masks of more would not fit into memory. */
const PASS_TOKENS = 2048;
/** Tokens of each piece into which a longer input is split. */
const PIECE_TOKENS = 256;
/** Tokens of an input for which loading float32 weights saves time (docs/PERFORMANCE.md). */
const MANY_TOKENS = 256;

/**
 * A batch of sequences of equal length that grow together. When they become long enough for LongRoPE to change its
 * frequencies, all tokens so far are recomputed, as in transformers' Phi-3 (`prepare_inputs_for_generation`).
 */
export class Decoding {
  readonly #decoder: LoadedDecoder;
  /** By layer. */
  #caches: readonly LayerCache[];
  readonly #batch: number;
  #length = 0;
  /** Appended tokens, [B, T] each; kept only where LongRoPE may require them again. */
  #ids: Int32Array[] = [];

  /** Starts `batch` empty sequences. */
  constructor(decoder: LoadedDecoder, batch: number) {
    this.#decoder = decoder;
    this.#batch = batch;
    this.#caches = emptyCaches(decoder.runner.model.spec, batch);
  }

  /**
   * Appends the same number of tokens to every sequence.
   * @param ids - [B, T], row by row
   * @returns logits of the next token of each sequence, [B, V]
   */
  async append(ids: Int32Array): Promise<Tensor> {
    const { runner, head } = this.#decoder;
    const inputs = this.#inputsFor(ids);
    const pieces = await this.#embedded(inputs);
    const length = this.#length + inputs.length / this.#batch;
    for await (const layer of this.#layersFor(inputs.length)) await this.#pass(layer, pieces, length);
    this.#length = length;
    const { hidden } = pieces.at(-1)!;
    return (await runner.runHead("logits", head, { hidden: lastRows(hidden) })).logits!;
  }

  /** The tokens to compute: the new ones or, where LongRoPE's frequencies change, all; the caches are emptied then. */
  #inputsFor(ids: Int32Array): Int32Array {
    const { spec } = this.#decoder.runner.model;
    if (longropeSwitch(spec) === null) return ids;
    this.#ids.push(ids);
    const length = this.#length + ids.length / this.#batch;
    if (this.#length === 0 || hasSameFrequencies(spec, [this.#length, length])) return ids;
    this.#caches = emptyCaches(spec, this.#batch);
    this.#length = 0;
    this.#ids = [joinedRows(this.#ids, this.#batch)];
    return this.#ids[0]!;
  }

  /** Hidden states before the first layer, in pieces of one pass each. */
  async #embedded(ids: Int32Array): Promise<Piece[]> {
    const tokens = ids.length / this.#batch;
    const size = tokens > PASS_TOKENS ? PIECE_TOKENS : tokens;
    const pieces: Piece[] = [];
    for (let start = 0; start < tokens; start += size) {
      const end = Math.min(tokens, start + size);
      const span = { tokens: end - start, offset: this.#length + start };
      const positions = batchPositions(this.#batch, span);
      const columns = this.#columns(ids, start, end);
      const hidden = await this.#decoder.runner.embed(columns, [this.#batch, span.tokens], positions);
      pieces.push({ ids: columns, hidden });
    }
    return pieces;
  }

  /** For many tokens, float32 weights take less time than integers even though they have to be read again. */
  #layersFor(tokens: number): Iterable<LoadedLayer> | AsyncIterable<LoadedLayer> {
    const { runner, layers } = this.#decoder;
    const hasIntegers = layers.some(({ program }) => program !== undefined);
    return hasIntegers && tokens >= MANY_TOKENS ? runner.loadLayers(0, layers.length) : layers;
  }

  /** Tokens `start` to `end` (exclusive) of every sequence, [B, end - start]. */
  #columns(ids: Int32Array, start: number, end: number): Int32Array {
    const tokens = ids.length / this.#batch;
    const part = new Int32Array(this.#batch * (end - start));
    for (let b = 0; b < this.#batch; b++) {
      part.set(ids.subarray(b * tokens + start, b * tokens + end), b * (end - start));
    }
    return part;
  }

  /**
   * Runs all pieces through a layer and replaces them by its outputs.
   * @param sequence - length of each sequence after these pieces
   */
  async #pass(layer: LoadedLayer, pieces: readonly Piece[], sequence: number): Promise<void> {
    const cache = this.#caches[layer.index]!;
    let offset = this.#length;
    for (const piece of pieces) {
      const input = { ...piece, offset, sequence, feeds: cache.feeds };
      const outputs = await this.#decoder.runner.runLayer("cached", layer, input);
      cache.append(outputs);
      piece.hidden = outputs.hidden!;
      offset += piece.hidden.shape[1]!;
    }
  }
}

/** Tokens of every sequence that go through the layers together, B*T, and their hidden states, [B, T, C]. */
interface Piece {
  readonly ids: Int32Array;
  hidden: Tensor;
}

/** Concatenates pieces [B, T] along the sequences: [B, sum of T]. */
function joinedRows(pieces: readonly Int32Array[], batch: number): Int32Array {
  const rows = Array.from({ length: batch }, (_, b) =>
    pieces.flatMap((ids) => {
      const tokens = ids.length / batch;
      return [...ids.subarray(b * tokens, (b + 1) * tokens)];
    }),
  );
  return Int32Array.from(rows.flat());
}

/** Hidden state of the last token of every sequence, [B, C]. */
function lastRows({ shape, data }: Tensor): Tensor {
  const [batch, tokens, size] = shape as readonly [number, number, number];
  const rows = new Float32Array(batch * size);
  for (let b = 0; b < batch; b++) {
    const end = (b + 1) * tokens * size;
    rows.set(data.subarray(end - size, end), b * size);
  }
  return { shape: [batch, size], data: rows };
}
