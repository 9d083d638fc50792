/**
 * A stash in a file, for tensors that do not fit into memory. Writes run in the background, and the tensor needed next
 * is read ahead; only a few tensors are in memory at a time. The file is private to this process and cannot be
 * reopened.
 */
import { type FileHandle, open, rm } from "node:fs/promises";
import { GpruneError, internalError } from "../../errors.ts";
import { type Stash, StoredFloats, type StoredTensor } from "../../tensor/stash.ts";
import { elementCount, type Tensor } from "../../tensor/tensor.ts";
import { outputFailed, writeAll } from "./output_file.ts";

/** Pending writes beyond which `put` waits. */
export const WRITES_BEHIND = 2;
/** Bytes read by one system call, at most. */
const MAX_READ_BYTES = 2 ** 30;

/** Location of a slot in the file, the bytes that it has room for, and the shape of its tensor. */
interface Place {
  readonly offset: number;
  readonly room: number;
  shape: readonly number[];
}

/** A stash of which every slot has a place in one file. */
export class SpillFile implements Stash {
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #places = new Map<number, Place>();
  /** Tensors that are being written, by slot. */
  readonly #pending = new Map<number, { readonly tensor: Tensor; readonly written: Promise<void> }>();
  #ahead: { readonly slot: number; readonly tensor: Promise<Tensor> } | null = null;
  #end = 0;
  #failure: GpruneError | null = null;

  private constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  /** Creates the file. @throws GpruneError OUTPUT_FAILED when it exists or cannot be created */
  static async create(path: string): Promise<SpillFile> {
    const handle = await open(path, "wx+").catch((cause: unknown) => {
      throw outputFailed(path, cause);
    });
    return new SpillFile(path, handle);
  }

  /** @throws GpruneError OUTPUT_FAILED when an earlier write failed */
  async put(slot: number, tensor: Tensor, room: number = tensor.data.length): Promise<void> {
    const place = this.#allocate(slot, tensor, room);
    if (this.#ahead?.slot === slot) this.#ahead = null;
    // Two pending writes of one slot could finish in either order.
    await this.#pending.get(slot)?.written;
    while (this.#pending.size >= WRITES_BEHIND) await [...this.#pending.values()][0]!.written;
    this.#throwIfFailed();
    const written = this.#write(place, tensor).then(() => void this.#pending.delete(slot));
    this.#pending.set(slot, { tensor, written });
  }

  /** @throws GpruneError OUTPUT_FAILED when the file cannot be read or an earlier write failed */
  async get(slot: number, next?: number): Promise<Tensor> {
    this.#throwIfFailed();
    const tensor = await (this.#ahead?.slot === slot ? this.#ahead.tensor : this.#read(slot));
    this.#ahead = null;
    if (next !== undefined && next !== slot && this.#places.has(next) && !this.#pending.has(next)) {
      const ahead = this.#read(next);
      // The error is reported when the slot is requested.
      ahead.catch(() => {});
      this.#ahead = { slot: next, tensor: ahead };
    }
    return tensor;
  }

  entry(slot: number): StoredTensor {
    const { shape } = this.#placeOf(slot);
    const read = async (): Promise<Float32Array> => (await this.get(slot)).data;
    return { shape, data: new StoredFloats(elementCount(shape), read) };
  }

  /** Removes the file. Never throws. */
  async close(): Promise<void> {
    await Promise.all(Array.from(this.#pending.values(), ({ written }) => written));
    await this.#ahead?.tensor.catch(() => {});
    this.#ahead = null;
    this.#places.clear();
    await this.#handle.close().catch(() => {});
    await rm(this.#path, { force: true }).catch(() => {});
  }

  #allocate(slot: number, { shape, data }: Tensor, room: number): Place {
    let place = this.#places.get(slot);
    if (place === undefined) {
      place = { offset: this.#end, room: room * Float32Array.BYTES_PER_ELEMENT, shape };
      this.#places.set(slot, place);
      this.#end += place.room;
    }
    if (data.byteLength > place.room) {
      throw internalError(`slot ${slot} of ${this.#path} holds ${place.room} bytes, got ${data.byteLength}`);
    }
    place.shape = shape;
    return place;
  }

  #placeOf(slot: number): Place {
    const place = this.#places.get(slot);
    if (place === undefined) throw internalError(`nothing in slot ${slot} of ${this.#path}`);
    return place;
  }

  /** Never rejects: the next `put` or `get` throws the error. */
  async #write({ offset }: Place, { data }: Tensor): Promise<void> {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    await writeAll(this.#handle, bytes, { path: this.#path, offset }).catch((cause: GpruneError) => {
      this.#failure ??= cause;
    });
  }

  async #read(slot: number): Promise<Tensor> {
    const pending = this.#pending.get(slot);
    if (pending !== undefined) return pending.tensor;
    const { offset, shape } = this.#placeOf(slot);
    const data = new Float32Array(elementCount(shape));
    const target = new Uint8Array(data.buffer);
    const bytes = target.length;
    try {
      for (let done = 0; done < bytes; ) {
        const length = Math.min(MAX_READ_BYTES, bytes - done);
        const { bytesRead } = await this.#handle.read(target, done, length, offset + done);
        if (bytesRead === 0)
          throw new GpruneError(
            "OUTPUT_FAILED",
            `${this.#path}: expected more data, got the end of the file (it shrank while being read)`,
          );
        done += bytesRead;
      }
    } catch (cause) {
      throw outputFailed(this.#path, cause);
    }
    return { shape, data };
  }

  #throwIfFailed(): void {
    if (this.#failure !== null) throw this.#failure;
  }
}
