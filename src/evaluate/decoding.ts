/** Decoding token by token with a key/value cache, several sequences at once. All weights stay in memory meanwhile. */
import { multipliesBlocks } from "../graph/block_check.ts";
import { loadBlockHead, loadBlockLayer, storesBlocks } from "../graph/block_weights.ts";
import type { DecoderRunner, LoadedHead, LoadedLayer } from "../graph/decoder_runner.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A model with all its weights in memory. */
export interface LoadedDecoder {
  readonly runner: DecoderRunner;
  readonly layers: readonly LoadedLayer[];
  readonly head: LoadedHead;
}

/**
 * Reads all weights of a model: matrices that are stored in blocks as they are, where this processor multiplies blocks fast,
 * and all others as float32. For one sequence, and to be freed with `closeDecoder`.
 */
export async function loadStoredDecoder(runner: DecoderRunner): Promise<LoadedDecoder> {
  const { runtime, model } = runner;
  const inBlocks = storesBlocks(runner) && runtime.device.name === "cpu" && (await multipliesBlocks(runtime));
  if (!inBlocks) return loadDecoder(runner);
  const layers: LoadedLayer[] = [];
  try {
    for (const index of model.spec.layers.keys()) layers.push(await loadBlockLayer(runner, index));
    return { runner, layers, head: await loadBlockHead(runner) };
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

/** Sequences of equal length that grow together. */
export class Decoding {
  readonly #decoder: LoadedDecoder;
  /** By layer. */
  readonly #caches: readonly { readonly keys: Cache; readonly values: Cache }[];
  readonly #batch: number;
  #length = 0;

  /** `batch` empty sequences. */
  constructor(decoder: LoadedDecoder, batch: number) {
    this.#decoder = decoder;
    this.#batch = batch;
    const { headDim } = decoder.runner.model.spec;
    this.#caches = decoder.layers.map(({ spec: { kvGroups } }) => {
      const token = [batch, kvGroups, headDim] as const;
      return { keys: new Cache(token), values: new Cache(token) };
    });
  }

  /**
   * Appends the same number of tokens to every sequence.
   * @param ids - [B, T], row by row
   * @returns logits of the tokens that come next, [B, V]
   */
  async append(ids: Int32Array): Promise<Tensor> {
    const { runner, head } = this.#decoder;
    const tokens = ids.length / this.#batch;
    let start = 0;
    if (tokens > PASS_TOKENS) {
      for (; start + PIECE_TOKENS < tokens; start += PIECE_TOKENS) {
        await this.#pass(this.#columns(ids, start, start + PIECE_TOKENS));
        // The event loop stands still during a run; let timers and signals in between two of them.
        await new Promise(setImmediate);
      }
    }
    const hidden = await this.#pass(this.#columns(ids, start, tokens));
    return (await runner.runHead("logits", head, { hidden: lastRows(hidden) })).logits!;
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

  /** Takes tokens through all layers. @returns the stream after the last one, [B, T, C] */
  async #pass(ids: Int32Array): Promise<Tensor> {
    const { runner, layers } = this.#decoder;
    const tokens = ids.length / this.#batch;
    let hidden = await runner.embed(ids, [this.#batch, tokens]);
    for (const [index, layer] of layers.entries()) {
      const { keys, values } = this.#caches[index]!;
      const feeds = { past_keys: keys.past, past_values: values.past };
      const outputs = await runner.runLayer("cached", layer, { hidden, offset: this.#length, feeds });
      keys.append(outputs.keys!);
      values.append(outputs.values!);
      hidden = outputs.hidden!;
    }
    this.#length += tokens;
    return hidden;
  }
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
 * Keys or values of one layer, [B, K, P, H], in an array with more places P than there are tokens. New arrays for every token would
 * keep the garbage collector busy, which marks on a core that has to compute.
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
