/**
 * Cache of the last pruned model that a worker has made. Consecutive units mostly have the same recipe: the model is
 * made once, and tensors that were read from the store stay in memory while there is room.
 */
import type { ModelRecipe } from "../calibrate/passes.ts";
import { collectGarbage } from "../io/files/machine.ts";
import type { Digest } from "../io/files/stage_file.ts";
import type { Store } from "../io/store/store.ts";
import type { Model } from "../model/model.ts";
import { makeModel } from "../recover/recipe.ts";
import { type AnyTensor, StoredFloats } from "../tensor/stash.ts";
import { keptRecipe } from "./recipes.ts";

/** The store of recipes, and whether a tensor that was read may stay in memory. */
interface Sources {
  readonly store: Store;
  readonly hasRoom: () => boolean;
}

/** Makes models of recipes, and remembers the last one. */
export class LastMadeModel {
  readonly #sources: Sources;
  #last: { readonly recipe: string; readonly dense: Model; readonly model: Model } | null = null;

  constructor(sources: Sources) {
    this.#sources = sources;
  }

  /** The model that a recipe makes of the dense one. @throws GpruneError STORE_FAILED; BAD_PLAN as `makeModel` */
  async of(dense: Model, recipe: Digest): Promise<Model> {
    if (this.#last?.recipe === recipe.sha256 && this.#last.dense === dense) return this.#last.model;
    this.forget();
    const { store, hasRoom } = this.#sources;
    const { model } = makeModel(dense, remembering(await keptRecipe(store, recipe), hasRoom));
    this.#last = { recipe: recipe.sha256, dense, model };
    return model;
  }

  /** Drops the model and frees its memory. */
  forget(): void {
    if (this.#last === null) return;
    this.#last = null;
    collectGarbage();
  }
}

/** The recipe with stored tensors that stay in memory once they were read, while there is room. */
function remembering({ tensors, ...rest }: ModelRecipe, hasRoom: () => boolean): ModelRecipe {
  if (tensors === undefined) return rest;
  const cached = Array.from(tensors, ([name, { shape, data }]): [string, AnyTensor] => {
    if (!(data instanceof StoredFloats)) return [name, { shape, data }];
    let inMemory: Float32Array | undefined;
    const read = async (): Promise<Float32Array> => {
      if (inMemory !== undefined) return inMemory;
      const values = await data.read();
      if (hasRoom()) inMemory = values;
      return values;
    };
    return [name, { shape, data: new StoredFloats(data.length, read) }];
  });
  return { ...rest, tensors: new Map(cached) };
}
