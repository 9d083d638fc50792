/**
 * Places where tensors wait until they are needed again: in memory, or where the opener of a stash puts them
 * (io/files/spill_file.ts). Float32 goes in and the same bits come out, so no result depends on the place.
 */
import { internalError } from "../errors.ts";
import type { Tensor } from "./tensor.ts";

/** Numbers that are not in memory and are read on demand, each time anew. */
export class StoredFloats {
  readonly length: number;
  readonly read: () => Promise<Float32Array>;

  constructor(length: number, read: () => Promise<Float32Array>) {
    this.length = length;
    this.read = read;
  }
}

/** A tensor whose numbers are somewhere else. */
export interface StoredTensor {
  readonly shape: readonly number[];
  readonly data: StoredFloats;
}

/** A tensor, wherever its numbers are. */
export type AnyTensor = Tensor | StoredTensor;

/** Tensors by slot. Who puts a tensor gives it away: it is not changed afterwards. */
export interface Stash {
  /** Puts a tensor in place of what was there; one of the same slot has the same number of elements. */
  put(slot: number, tensor: Tensor): Promise<void>;
  /** @param next - the slot that is asked for next, which may be read already */
  get(slot: number, next?: number): Promise<Tensor>;
  /** What is in a slot, until something else is put there. */
  entry(slot: number): AnyTensor;
  /** Forgets all of it. */
  close(): Promise<void>;
}

/** Opens stashes outside memory. */
export interface Scratch {
  /** @param name - what is kept there, as a part of a file's name */
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

/**
 * Tensors by name, kept in a stash and read when they are asked for. A state that holds the map holds references, not
 * values.
 */
export class StashedTensors {
  readonly tensors: Map<string, StoredTensor> = new Map();
  readonly #open: () => Promise<Stash>;
  #stash: Stash | undefined;

  /** @param open - opens the stash, once there is something to put there */
  constructor(open: () => Promise<Stash>) {
    this.#open = open;
  }

  /** @throws GpruneError INTERNAL for a name that is there already */
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

/** The tensor, read if it is somewhere else. */
export async function loaded(tensor: AnyTensor): Promise<Tensor> {
  return isStored(tensor) ? { shape: tensor.shape, data: await tensor.data.read() } : tensor;
}

/** The tensor as one that is read on demand, though it may be in memory. */
export function stored(tensor: AnyTensor): StoredTensor {
  if (isStored(tensor)) return tensor;
  const { shape, data } = tensor;
  return { shape, data: new StoredFloats(data.length, async () => data) };
}

function isStored(tensor: AnyTensor): tensor is StoredTensor {
  return tensor.data instanceof StoredFloats;
}
