/** Decoding token by token with a key/value cache, several sequences at once. All weights stay in memory meanwhile. */

import { everyMatrix, hasBlocks, loadBlockHead, loadBlockLayer } from "../graph/decoder/block_weights.ts";
import type { DecoderRunner, LoadedHead, LoadedLayer } from "../graph/decoder/decoder_runner.ts";
import { hasSameFrequencies } from "../graph/decoder/frequencies.ts";
import { multipliesBlocks } from "../graph/runtime/block_check.ts";
import { memoryLimit } from "../io/files/machine.ts";
import type { Model } from "../model/model.ts";
import { parameterCount } from "../model/spaces.ts";
import { longropeSwitch } from "../model/spec.ts";
import type { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * Ids that end what a model says: the tokenizer's and, where there is no generation_config.json, those of config.json,
 * as in transformers (`GenerationConfig.from_model_config`).
 */
export function endingIds({ spec, files }: Model, { eosIds }: Tokenizer): readonly number[] {
  if (files.some(({ name }) => name === "generation_config.json")) return eosIds;
  const own = [spec.extra.eos_token_id].flat().filter((id) => typeof id === "number");
  return [...new Set([...eosIds, ...own])];
}

/** A model with all its weights in memory. */
export interface LoadedDecoder {
  readonly runner: DecoderRunner;
  readonly layers: readonly LoadedLayer[];
  readonly head: LoadedHead;
}

/** Tokens that make up for the time of turning all matrices into integers (docs/PERFORMANCE.md). */
const LONG_TEXT = 512;

/**
 * Reads all weights of a model as what takes least time: matrices that are stored in blocks of integers as they are,
 * others as integers too where enough tokens make up for the time that takes or float32 takes more than half of the
 * memory, else as float32. Integers on processors that multiply them fast alone. For one sequence, and to be freed with
 * `closeDecoder`.
 * @param tokens - to be decoded one by one, at most
 */
export async function loadFastDecoder(runner: DecoderRunner, tokens: number): Promise<LoadedDecoder> {
  const { runtime, model } = runner;
  const takesMuch = 4 * parameterCount(model.spec) > memoryLimit() / 2;
  const blocks = tokens >= LONG_TEXT || takesMuch ? everyMatrix(model) : model.weights.blocks;
  const isPossible = runtime.device.name === "cpu" && blocks !== undefined && hasBlocks(model, blocks);
  if (!isPossible || !(await multipliesBlocks(runtime))) return loadDecoder(runner);
  const layers: LoadedLayer[] = [];
  try {
    for (const index of model.spec.layers.keys()) layers.push(await loadBlockLayer(runner, blocks, index));
    return { runner, layers, head: await loadBlockHead(runner, blocks) };
  } catch (error) {
    await closePrograms(layers);
    throw error;
  }
}

/** Frees the programs that hold weights of a model. Nothing can be decoded with it afterwards. */
export function closeDecoder({ layers, head }: LoadedDecoder): Promise<void> {
  return closePrograms([...layers, head]);
}

async function closePrograms(loaded: readonly (LoadedLayer | LoadedHead)[]): Promise<void> {
  for (const { program } of loaded) await program?.close();
}

/** Reads all weights of a model as float32. */
export async function loadDecoder(runner: DecoderRunner): Promise<LoadedDecoder> {
  const layers = await Promise.all(runner.model.spec.layers.map((_, index) => runner.loadLayer(index)));
  return { runner, layers, head: await runner.loadHead() };
}

/** Tokens that one pass takes at most; scores and masks of a longer piece would not fit into memory. */
const PASS_TOKENS = 2048;
/** Tokens of a pass where there are more. */
const PIECE_TOKENS = 256;
/** Tokens from which on float32 weights are read for them (docs/PERFORMANCE.md). */
const MANY_TOKENS = 256;

/**
 * Sequences of equal length that grow together. Where LongRoPE changes its frequencies for a sequence that has become
 * long, all tokens so far are computed anew, as transformers' Phi-3 does (`prepare_inputs_for_generation`).
 */
export class Decoding {
  readonly #decoder: LoadedDecoder;
  /** By layer. */
  #caches: readonly { readonly keys: Cache; readonly values: Cache }[];
  readonly #batch: number;
  #length = 0;
  /** What was appended, [B, T] each, as long as it may be needed again. */
  #ids: Int32Array[] = [];

  /** `batch` empty sequences. */
  constructor(decoder: LoadedDecoder, batch: number) {
    this.#decoder = decoder;
    this.#batch = batch;
    this.#caches = emptyCaches(decoder, batch);
  }

  /**
   * Appends the same number of tokens to every sequence.
   * @param ids - [B, T], row by row
   * @returns logits of the tokens that come next, [B, V]
   */
  async append(ids: Int32Array): Promise<Tensor> {
    const { runner, head } = this.#decoder;
    const fresh = this.#withStale(ids);
    const pieces = await this.#embedded(fresh);
    const length = this.#length + fresh.length / this.#batch;
    for await (const layer of this.#layersFor(fresh.length)) await this.#pass(layer, pieces, length);
    this.#length = length;
    return (await runner.runHead("logits", head, { hidden: lastRows(pieces.at(-1)!) })).logits!;
  }

  /** New tokens; with all before them where those are to be computed anew, and forgotten so far. */
  #withStale(ids: Int32Array): Int32Array {
    const { spec } = this.#decoder.runner.model;
    if (longropeSwitch(spec) === null) return ids;
    this.#ids.push(ids);
    const length = this.#length + ids.length / this.#batch;
    if (this.#length === 0 || hasSameFrequencies(spec, [this.#length, length])) return ids;
    this.#caches = emptyCaches(this.#decoder, this.#batch);
    this.#length = 0;
    this.#ids = [joinedRows(this.#ids, this.#batch)];
    return this.#ids[0]!;
  }

  /** The stream before the first layer, in pieces that a pass can take, [B, T, C] each. */
  async #embedded(ids: Int32Array): Promise<Tensor[]> {
    const tokens = ids.length / this.#batch;
    const size = tokens > PASS_TOKENS ? PIECE_TOKENS : tokens;
    const pieces: Tensor[] = [];
    for (let start = 0; start < tokens; start += size) {
      const end = Math.min(tokens, start + size);
      pieces.push(
        await this.#decoder.runner.embed(this.#columns(ids, start, end), [this.#batch, end - start]),
      );
    }
    return pieces;
  }

  /**
   * Many tokens at once take less time with float32 weights than with integers, even if those have to be read once
   * more.
   */
  #layersFor(tokens: number): Iterable<LoadedLayer> | AsyncIterable<LoadedLayer> {
    const { runner, layers } = this.#decoder;
    const inBlocks = layers.some(({ program }) => program !== undefined);
    return inBlocks && tokens >= MANY_TOKENS ? runner.loadLayers(0, layers.length) : layers;
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
   * Takes all pieces through a layer, in place.
   * @param sequence - tokens that there are with them
   */
  async #pass(layer: LoadedLayer, pieces: Tensor[], sequence: number): Promise<void> {
    const { keys, values } = this.#caches[layer.index]!;
    let offset = this.#length;
    for (const [place, hidden] of pieces.entries()) {
      const feeds = { past_keys: keys.past, past_values: values.past };
      const input = { hidden, offset, sequence, feeds };
      const outputs = await this.#decoder.runner.runLayer("cached", layer, input);
      keys.append(outputs.keys!);
      values.append(outputs.values!);
      pieces[place] = outputs.hidden!;
      offset += hidden.shape[1]!;
    }
  }
}

function emptyCaches(
  { runner, layers }: LoadedDecoder,
  batch: number,
): readonly { readonly keys: Cache; readonly values: Cache }[] {
  const { headDim } = runner.model.spec;
  return layers.map(({ spec: { kvGroups } }) => {
    const token = [batch, kvGroups, headDim] as const;
    return { keys: new Cache(token), values: new Cache(token) };
  });
}

/** Pieces of sequences, [B, T] each, one after another: [B, sum of T]. */
function joinedRows(pieces: readonly Int32Array[], batch: number): Int32Array {
  const rows = Array.from({ length: batch }, (_, b) =>
    pieces.flatMap((ids) => {
      const tokens = ids.length / batch;
      return [...ids.subarray(b * tokens, (b + 1) * tokens)];
    }),
  );
  return Int32Array.from(rows.flat());
}

/** The last token of every sequence, [B, C]. */
function lastRows({ shape, data }: Tensor): Tensor {
  const [batch, tokens, size] = shape as readonly [number, number, number];
  const rows = new Float32Array(batch * size);
  for (let b = 0; b < batch; b++) {
    const end = (b + 1) * tokens * size;
    rows.set(data.subarray(end - size, end), b * size);
  }
  return { shape: [batch, size], data: rows };
}

/** Places that a cache grows by, at least: more would be read in vain for every token, fewer copied more often. */
const FEWEST_PLACES = 128;

/**
 * Keys or values of one layer, [B, K, P, H], in an array with more places P than there are tokens. New arrays for every
 * token would keep the garbage collector busy, which marks on a core that has to compute.
 */
class Cache {
  /** B * K, and H. */
  readonly #rows: number;
  readonly #size: number;
  readonly #shape: readonly [number, number];
  #places = 0;
  #data = new Float32Array(0);
  #tokens = 0;

  constructor([batch, groups, size]: readonly [number, number, number]) {
    this.#shape = [batch, groups];
    this.#rows = batch * groups;
    this.#size = size;
    this.#grow(1);
  }

  /** All places; those behind the tokens so far hold zeros. */
  get past(): Tensor {
    return { shape: [...this.#shape, this.#places, this.#size], data: this.#data };
  }

  /** @param present - [B, K, T, H] */
  append({ shape, data }: Tensor): void {
    const tokens = shape[2]!;
    if (this.#tokens + tokens > this.#places) this.#grow(this.#tokens + tokens);
    this.#put(data, { places: tokens, tokens, at: this.#tokens });
    this.#tokens += tokens;
  }

  /** Makes room for so many tokens, and a quarter more. */
  #grow(tokens: number): void {
    const [data, places] = [this.#data, this.#places];
    const wanted = Math.max(tokens, places + Math.max(FEWEST_PLACES, places / 4));
    this.#places = Math.ceil(wanted / FEWEST_PLACES) * FEWEST_PLACES;
    this.#data = new Float32Array(this.#rows * this.#places * this.#size);
    this.#put(data, { places, tokens: this.#tokens, at: 0 });
  }

  /** Copies the first tokens of an array with so many places to the place `at`. */
  #put(
    data: Float32Array,
    { places, tokens, at }: { readonly places: number; readonly tokens: number; readonly at: number },
  ): void {
    for (let row = 0; row < this.#rows; row++) {
      const start = row * places * this.#size;
      const own = data.subarray(start, start + tokens * this.#size);
      this.#data.set(own, (row * this.#places + at) * this.#size);
    }
  }
}
