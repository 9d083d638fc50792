/**
 * Which tensors have a copy on the device. Whoever loads weights says that they are kept; the first run that is fed
 * them copies them, later ones find the copy, and it goes with the last who kept them, or when nobody has the tensor
 * any more. A tensor must not change while it is kept. Knows nothing of ONNX Runtime.
 */
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
  readonly #forgotten = new FinalizationRegistry<Entry<D>>((entry) => this.#free(entry));

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
    this.#forgotten.register(tensor, fresh, fresh);
  }

  release(tensor: Tensor): void {
    const entry = this.#entries.get(tensor);
    if (entry === undefined || --entry.keepers > 0) return;
    this.#entries.delete(tensor);
    this.#forgotten.unregister(entry);
    this.#free(entry);
  }

  /** The copy of a tensor that is kept; undefined of any other. */
  copyOf(tensor: Tensor, type: CopyType): Promise<D> | undefined {
    const entry = this.#entries.get(tensor);
    if (entry === undefined) return undefined;
    let copy = entry.copies.get(type);
    if (copy === undefined) {
      copy = this.#upload(tensor, type);
      entry.copies.set(type, copy);
      this.#live.add(copy);
    }
    return copy;
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
    // The call that asked for the copy has got the error.
    const tensor = await copy.catch(() => undefined);
    tensor?.dispose();
  }
}
