/**
 * Storage for tensors between their uses, in memory or in a file (io/files/spill_file.ts). The float32 bits that go in
 * come out again, so no result depends on the kind of storage.
 */
import { internalError } from "../errors.ts";
import type { Tensor } from "./tensor.ts";

/** Float32 values that are read on demand, each time anew. */
export class StoredFloats {
  readonly length: number;
  readonly read: () => Promise<Float32Array>;

  constructor(length: number, read: () => Promise<Float32Array>) {
    this.length = length;
    this.read = read;
  }
}

/** A tensor whose values are read on demand. */
export interface StoredTensor {
  readonly shape: readonly number[];
  readonly data: StoredFloats;
}

/** A tensor in memory, or one that is read on demand. */
export type AnyTensor = Tensor | StoredTensor;

/** Tensors by slot. The stash owns what is put there: the caller must not change it afterwards. */
export interface Stash {
  /**
   * Replaces the tensor of a slot.
   * @param room - the most elements that the slot will hold, told with its first tensor; as many as that when absent
   */
  put(slot: number, tensor: Tensor, room?: number): Promise<void>;
  /** @param next - the slot that will be read next, which may be read ahead */
  get(slot: number, next?: number): Promise<Tensor>;
  /** The tensor of a slot, perhaps still to be read; valid until the slot's next `put`. */
  entry(slot: number): AnyTensor;
  /** Drops all tensors. */
  close(): Promise<void>;
}

/** Opens stashes outside memory. */
export interface Scratch {
  /** @param name - of the contents; becomes part of a file's name */
  openStash(name: string): Promise<Stash>;
}

/** A stash in memory. */
export class MemoryStash implements Stash {
  readonly #tensors = new Map<number, Tensor>();

  async put(slot: number, tensor: Tensor): Promise<void> {
    this.#tensors.set(slot, tensor);
  }

  async get(slot: number): Promise<Tensor> {
    return this.entry(slot);
  }

  entry(slot: number): Tensor {
    const tensor = this.#tensors.get(slot);
    if (tensor === undefined) throw internalError(`nothing in slot ${slot}`);
    return tensor;
  }

  async close(): Promise<void> {
    this.#tensors.clear();
  }
}

/** Tensors by name, kept in a stash and read on demand. A state that has the map has references, not values. */
export class StashedTensors {
  readonly tensors: Map<string, StoredTensor> = new Map();
  readonly #open: () => Promise<Stash>;
  #stash: Stash | undefined;

  /** @param open - opens the stash, when the first tensor is set */
  constructor(open: () => Promise<Stash>) {
    this.#open = open;
  }

  /** @throws GpruneError INTERNAL for a name that is set already */
  async set(name: string, tensor: AnyTensor): Promise<void> {
    if (this.tensors.has(name)) throw internalError(`two tensors ${name}`);
    const slot = this.tensors.size;
    this.#stash ??= await this.#open();
    const stash = this.#stash;
    await stash.put(slot, await loaded(tensor));
    const { shape, data } = stash.entry(slot);
    const read = async (): Promise<Float32Array> => (await stash.get(slot)).data;
    this.tensors.set(name, { shape, data: new StoredFloats(data.length, read) });
  }
}

/** The tensor in memory, read if it is not there. */
export async function loaded(tensor: AnyTensor): Promise<Tensor> {
  return isStored(tensor) ? { shape: tensor.shape, data: await tensor.data.read() } : tensor;
}

/** The tensor as one that is read on demand, even if it is in memory. */
export function stored(tensor: AnyTensor): StoredTensor {
  if (isStored(tensor)) return tensor;
  const { shape, data } = tensor;
  return { shape, data: new StoredFloats(data.length, async () => data) };
}

function isStored(tensor: AnyTensor): tensor is StoredTensor {
  return tensor.data instanceof StoredFloats;
}
