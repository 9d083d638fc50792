/** Decoding token by token with a key/value cache, several sequences at once. All weights stay in memory meanwhile. */
import type { DecoderRunner, LoadedHead, LoadedLayer } from "../graph/decoder_runner.ts";
import type { Tensor } from "../tensor/tensor.ts";

interface Cache {
  keys: Tensor;
  values: Tensor;
}

/** A model with all its weights in memory. */
export interface LoadedDecoder {
  readonly runner: DecoderRunner;
  readonly layers: readonly LoadedLayer[];
  readonly head: LoadedHead;
}

/** Reads all weights of a model. */
export async function loadDecoder(runner: DecoderRunner): Promise<LoadedDecoder> {
  const layers = await Promise.all(runner.model.spec.layers.map((_, index) => runner.loadLayer(index)));
  return { runner, layers, head: await runner.loadHead() };
}

/** Sequences of equal length that grow together. */
export class Decoding {
  readonly #decoder: LoadedDecoder;
  readonly #caches: readonly Cache[];
  readonly #batch: number;
  #length = 0;

  /** `batch` empty sequences. */
  constructor(decoder: LoadedDecoder, batch: number) {
    this.#decoder = decoder;
    this.#batch = batch;
    const { headDim } = decoder.runner.model.spec;
    this.#caches = decoder.layers.map(({ spec }) => emptyCache([batch, spec.kvGroups, 0, headDim]));
  }

  /**
   * Appends the same number of tokens to every sequence.
   * @param ids - [B, T], row by row
   * @returns logits of the tokens that come next, [B, V]
   */
  async append(ids: Int32Array): Promise<Tensor> {
    const { runner, layers, head } = this.#decoder;
    const tokens = ids.length / this.#batch;
    let hidden = await runner.embed(ids, [this.#batch, tokens]);
    for (const [index, layer] of layers.entries()) {
      const cache = this.#caches[index]!;
      const feeds = { past_keys: cache.keys, past_values: cache.values };
      const outputs = await runner.runLayer("cached", layer, { hidden, offset: this.#length, feeds });
      cache.keys = outputs.keys!;
      cache.values = outputs.values!;
      hidden = outputs.hidden!;
    }
    this.#length += tokens;
    const last = lastRows(hidden);
    return (await runner.runHead("logits", head, { hidden: last })).logits!;
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

function emptyCache(shape: readonly number[]): Cache {
  const empty = { shape, data: new Float32Array(0) };
  return { keys: empty, values: empty };
}
