/**
 * The pruned model of a worker's units. Those that follow one another mostly have the same one: it is made once, and
 * its tensors stay in memory once they were read from the store, as long as there is room. They are the bits that the
 * store has, wherever they are.
 */
import type { ModelRecipe } from "../calibrate/passes.ts";
import { collectGarbage } from "../io/files/machine.ts";
import type { Digest } from "../io/files/stage_file.ts";
import type { Store } from "../io/store/store.ts";
import type { Model } from "../model/model.ts";
import { makeModel } from "../recover/recipe.ts";
import { type AnyTensor, StoredFloats } from "../tensor/stash.ts";
import { keptRecipe } from "./recipes.ts";

/** Where recipes lie, and whether a tensor that was read may stay in memory. */
interface Place {
  readonly store: Store;
  readonly hasRoom: () => boolean;
}

/** The last model that was asked for. */
export class LastMadeModel {
  readonly #place: Place;
  #last: { readonly recipe: string; readonly dense: Model; readonly model: Model } | null = null;

  constructor(place: Place) {
    this.#place = place;
  }

  /** The model that a recipe makes of the dense one. @throws GpruneError STORE_FAILED; BAD_PLAN as `makeModel` */
  async of(dense: Model, recipe: Digest): Promise<Model> {
    if (this.#last?.recipe === recipe.sha256 && this.#last.dense === dense) return this.#last.model;
    this.forget();
    const { store, hasRoom } = this.#place;
    const { model } = makeModel(dense, remembered(await keptRecipe(store, recipe), hasRoom));
    this.#last = { recipe: recipe.sha256, dense, model };
    return model;
  }

  /** Gives back what is in memory. */
  forget(): void {
    if (this.#last === null) return;
    this.#last = null;
    collectGarbage();
  }
}

/** The recipe with tensors that stay in memory once they were read, while there is room. */
function remembered({ tensors, ...rest }: ModelRecipe, hasRoom: () => boolean): ModelRecipe {
  if (tensors === undefined) return rest;
  const own = Array.from(tensors, ([name, { shape, data }]): [string, AnyTensor] => {
    if (!(data instanceof StoredFloats)) return [name, { shape, data }];
    let known: Float32Array | undefined;
    const read = async (): Promise<Float32Array> => {
      if (known !== undefined) return known;
      const values = await data.read();
      if (hasRoom()) known = values;
      return values;
    };
    return [name, { shape, data: new StoredFloats(data.length, read) }];
  });
  return { ...rest, tensors: new Map(own) };
}
