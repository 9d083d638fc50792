/** What decoding keeps of the past in every layer: keys and values, or states. */
import type { Outputs } from "../graph/decoder/decoder_runner.ts";
import type { Feeds } from "../graph/runtime/runtime.ts";
import { mixerOf } from "../model/mixer_layers.ts";
import { isActive, linearChannels, stateShape } from "../model/mixer_spec.ts";
import { headDimOf, type LayerSpec, type ModelSpec, valueDimOf } from "../model/spec.ts";
import { elementCount, type Tensor } from "../tensor/tensor.ts";

/** What a layer keeps of the past. */
export interface LayerCache {
  /** Inputs of the program `cached`. */
  readonly feeds: Feeds;
  /** Adds what the program gave for more tokens. */
  append(outputs: Outputs): void;
}

/** Caches of all layers of a model for `batch` sequences without a past. */
export function emptyCaches({ layers, ...spec }: ModelSpec, batch: number): readonly LayerCache[] {
  const caches: LayerCache[] = [];
  for (const layer of layers) {
    const { kvSharing } = layer;
    const isReader = kvSharing?.role === "reader";
    caches.push(isReader ? new ReadPast(caches[kvSharing.source]!) : ownPast(layer, spec, batch));
  }
  return caches;
}

/** What a layer keeps of its own attention, and of what it has in place of that or beside it. */
function ownPast(
  layer: LayerSpec,
  spec: Pick<ModelSpec, "headDim" | "hiddenSize" | "latent">,
  batch: number,
): LayerCache {
  const fixed = (): LayerCache =>
    new FixedPast(stateShapes(layer, spec).map(([name, shape]) => [name, [batch, ...shape]]));
  if (layer.mixer !== undefined) return fixed();
  const sizes = { keyDim: headDimOf(spec, layer), valueDim: valueDimOf(spec, layer) };
  const attention = new AttentionPast([batch, layer.kvGroups], sizes);
  return layer.beside === undefined ? attention : new JoinedPasts([attention, fixed()]);
}

/** Numbers that the caches of all layers hold for a sequence: for each token of it, and however long it is. */
export function cacheSizes({ layers, ...spec }: ModelSpec): {
  readonly token: number;
  readonly fixed: number;
} {
  const own = layers.filter(({ kvSharing }) => kvSharing?.role !== "reader");
  const states = layers.flatMap((layer) => stateShapes(layer, spec));
  const fixed = states.reduce((sum, [, shape]) => sum + elementCount(shape), 0);
  return { token: own.reduce((sum, layer) => sum + cachedChannels(spec, layer), 0), fixed };
}

/** Channels of the keys and values of a token in a layer. */
function cachedChannels(spec: Pick<ModelSpec, "headDim" | "latent">, layer: LayerSpec): number {
  return layer.kvGroups * (headDimOf(spec, layer) + valueDimOf(spec, layer));
}

/** Shapes of the states of what a layer has in place of attention, or beside it, by name, for one sequence. */
function stateShapes(
  layer: LayerSpec,
  { hiddenSize }: Pick<ModelSpec, "hiddenSize">,
): readonly (readonly [name: "state" | "recurrent", shape: readonly number[]])[] {
  const mixer = mixerOf(layer);
  if (!isActive(mixer)) return [];
  const before = mixer.length - 1;
  if (mixer.type === "convolution") return [["state", [before, hiddenSize]]];
  return [
    ["state", [before, linearChannels(mixer).filtered]],
    ["recurrent", stateShape(mixer)],
  ];
}

/** Several pasts of one layer. */
class JoinedPasts implements LayerCache {
  readonly #parts: readonly LayerCache[];

  constructor(parts: readonly LayerCache[]) {
    this.#parts = parts;
  }

  get feeds(): Feeds {
    return Object.assign({}, ...this.#parts.map(({ feeds }) => feeds));
  }

  append(outputs: Outputs): void {
    for (const part of this.#parts) part.append(outputs);
  }
}

class AttentionPast implements LayerCache {
  readonly #keys: TokenCache;
  readonly #values: TokenCache;

  /** @param heads - B, K */
  constructor(
    heads: readonly [number, number],
    { keyDim, valueDim }: { readonly keyDim: number; readonly valueDim: number },
  ) {
    this.#keys = new TokenCache([...heads, keyDim]);
    this.#values = new TokenCache([...heads, valueDim]);
  }

  get feeds(): Feeds {
    return { past_keys: this.#keys.past, past_values: this.#values.past };
  }

  append({ keys, values }: Outputs): void {
    this.#keys.append(keys!);
    this.#values.append(values!);
  }
}

/** The past of another layer, whose cache also has the present tokens by now; a mask hides those. */
class ReadPast implements LayerCache {
  readonly #source: LayerCache;

  constructor(source: LayerCache) {
    this.#source = source;
  }

  get feeds(): Feeds {
    return this.#source.feeds;
  }

  append(): void {}
}

/** States whose size does not depend on the number of tokens. */
class FixedPast implements LayerCache {
  readonly #states: Map<string, Tensor>;

  /** @param shapes - by name */
  constructor(shapes: readonly (readonly [string, readonly number[]])[]) {
    this.#states = new Map(
      shapes.map(([name, shape]) => [name, { shape, data: new Float32Array(elementCount(shape)) }]),
    );
  }

  get feeds(): Feeds {
    return Object.fromEntries(Array.from(this.#states, ([name, state]) => [`past_${name}`, state]));
  }

  append(outputs: Outputs): void {
    for (const name of this.#states.keys()) this.#states.set(name, outputs[name]!);
  }
}

/** Least growth of a cache, in places: more would be read in vain for every token, fewer would be copied more often. */
const FEWEST_PLACES = 128;

/**
 * Keys or values of one layer, [B, K, P, H], with capacity for P tokens, more than there are. A new array for every
 * token would keep the garbage collector busy, which takes a core from the computation.
 */
class TokenCache {
  /** B * K. */
  readonly #rows: number;
  /** H. */
  readonly #size: number;
  /** [B, K]. */
  readonly #shape: readonly [number, number];
  /** P. */
  #places = 0;
  #data = new Float32Array(0);
  #tokens = 0;

  constructor([batch, groups, size]: readonly [number, number, number]) {
    this.#shape = [batch, groups];
    this.#rows = batch * groups;
    this.#size = size;
    this.#grow(1);
  }

  /** The whole array; places after the tokens so far hold zeros. */
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

  /** Makes room for `tokens` tokens, and at least a quarter more than before. */
  #grow(tokens: number): void {
    const [data, places] = [this.#data, this.#places];
    const wanted = Math.max(tokens, places + Math.max(FEWEST_PLACES, places / 4));
    this.#places = Math.ceil(wanted / FEWEST_PLACES) * FEWEST_PLACES;
    this.#data = new Float32Array(this.#rows * this.#places * this.#size);
    this.#put(data, { places, tokens: this.#tokens, at: 0 });
  }

  /** Copies the first `tokens` tokens of an array [B, K, `places`, H] to the place `at`. */
  #put(
    data: Float32Array,
    { places, tokens, at }: { readonly places: number; readonly tokens: number; readonly at: number },
  ): void {
    for (let row = 0; row < this.#rows; row++) {
      const start = row * places * this.#size;
      const source = data.subarray(start, start + tokens * this.#size);
      this.#data.set(source, (row * this.#places + at) * this.#size);
    }
  }
}
