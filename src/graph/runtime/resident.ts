/**
 * Copies of tensors on the device, by reference counting. The loader of weights keeps them; the first run that is fed a
 * kept tensor uploads it, and later runs reuse the copy, until the last keeper releases the tensor or it is garbage
 * collected. A tensor must not change while it is kept. Independent of ONNX Runtime.
 */
import { getOrMakeAsync } from "../../base/map_values.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** A tensor on the device. */
export interface DeviceTensor {
  dispose(): void;
}

/** Number formats of copies. */
export type CopyType = "float32" | "float16";

interface Entry<D> {
  keepers: number;
  readonly copies: Map<CopyType, Promise<D>>;
}

export class ResidentTensors<D extends DeviceTensor> {
  readonly #upload: (tensor: Tensor, type: CopyType) => Promise<D>;
  readonly #entries = new WeakMap<Tensor, Entry<D>>();
  readonly #live = new Set<Promise<D>>();
  readonly #registry = new FinalizationRegistry<Entry<D>>((entry) => this.#free(entry));

  constructor(upload: (tensor: Tensor, type: CopyType) => Promise<D>) {
    this.#upload = upload;
  }

  keep(tensor: Tensor): void {
    const entry = this.#entries.get(tensor);
    if (entry !== undefined) {
      entry.keepers++;
      return;
    }
    const fresh: Entry<D> = { keepers: 1, copies: new Map() };
    this.#entries.set(tensor, fresh);
    this.#registry.register(tensor, fresh, fresh);
  }

  release(tensor: Tensor): void {
    const entry = this.#entries.get(tensor);
    if (entry === undefined || --entry.keepers > 0) return;
    this.#entries.delete(tensor);
    this.#registry.unregister(entry);
    this.#free(entry);
  }

  /** The copy of a kept tensor, uploaded by the first call; undefined for any other tensor. */
  copyOf(tensor: Tensor, type: CopyType): Promise<D> | undefined {
    const entry = this.#entries.get(tensor);
    if (entry === undefined) return undefined;
    return getOrMakeAsync(entry.copies, type, () => {
      const copy = this.#upload(tensor, type);
      this.#live.add(copy);
      copy.catch(() => this.#live.delete(copy));
      return copy;
    });
  }

  /** Frees all copies. */
  async close(): Promise<void> {
    await Promise.all([...this.#live].map((copy) => this.#dispose(copy)));
  }

  #free({ copies }: Entry<D>): void {
    for (const copy of copies.values()) void this.#dispose(copy);
    copies.clear();
  }

  async #dispose(copy: Promise<D>): Promise<void> {
    if (!this.#live.delete(copy)) return;
    // The error of a failed upload went to the caller of `copyOf`.
    const tensor = await copy.catch(() => undefined);
    tensor?.dispose();
  }
}
