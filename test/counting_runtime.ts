import { POSITION_INPUTS } from "../src/graph/decoder/position_feeds.ts";
import { type Feeds, Runtime } from "../src/graph/runtime/runtime.ts";

/**
 * A runtime that counts the weights which are kept and not yet released, as many as a device would have copies of.
 * Angles and masks do not count: their cache keeps them for later passes.
 */
export class CountingRuntime extends Runtime {
  readonly #keepers = new Map<Feeds[string], number>();
  /** The most weights that were kept at once. */
  most = 0;

  constructor() {
    super({ threads: 1 });
  }

  /** Number of weights that are kept now. */
  get kept(): number {
    return [...this.#keepers.values()].filter((keepers) => keepers > 0).length;
  }

  override keep(weights: Feeds): void {
    this.#count(weights, 1);
    this.most = Math.max(this.most, this.kept);
    super.keep(weights);
  }

  override release(weights: Feeds): void {
    this.#count(weights, -1);
    super.release(weights);
  }

  #count(weights: Feeds, by: number): void {
    for (const [name, tensor] of Object.entries(weights)) {
      if (POSITION_INPUTS.has(name) || name === "past_mask") continue;
      this.#keepers.set(tensor, (this.#keepers.get(tensor) ?? 0) + by);
    }
  }
}
