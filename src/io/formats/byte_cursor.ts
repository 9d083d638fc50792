/**
 * Buffered sequential reading from the start of a file, for headers whose length is known only once they are parsed.
 * Never holds more than one chunk or one requested item. Numbers are little-endian.
 */

import { plainName } from "../../base/plain_text.ts";
import { GpruneError } from "../../errors.ts";
import type { PositionalFile } from "../files/file.ts";

/** Bytes read at a time: a vocabulary has a few hundred kilobytes, and a small header costs one read. */
const CHUNK_BYTES = 2 ** 18;

/** A position in a file. `need` reads ahead; the other methods consume bytes that it made available. */
export class ByteCursor {
  readonly #file: PositionalFile;
  #buffer: Buffer = Buffer.alloc(0);
  /** File offset of the buffer's first byte. */
  #start = 0;
  /** Next byte, relative to the buffer. */
  #next = 0;

  constructor(file: PositionalFile) {
    this.#file = file;
  }

  /** Offset in the file of the next byte. */
  get offset(): number {
    return this.#start + this.#next;
  }

  /** Bytes from here to the end of the file. */
  get remaining(): number {
    return this.#file.size - this.offset;
  }

  /**
   * Makes the next `length` bytes available.
   * @param what - the item to be read, for the message
   * @throws GpruneError BAD_FILE when the file ends before it
   */
  async need(length: number, what: string): Promise<void> {
    if (this.#buffer.length - this.#next >= length) return;
    if (length > this.remaining) {
      throw new GpruneError(
        "BAD_FILE",
        `${this.#file.path}: expected ${length} bytes of ${plainName(what)} at offset ${this.offset}, got ${this.remaining}`,
        { hint: "The file is truncated or not a GGUF; copy or download it again." },
      );
    }
    const start = this.offset;
    const bytes = await this.#file.read(start, Math.min(Math.max(length, CHUNK_BYTES), this.remaining));
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#start = start;
    this.#next = 0;
  }

  u32(): number {
    return this.#buffer.readUInt32LE(this.#advance(4));
  }

  u64(): bigint {
    return this.#buffer.readBigUInt64LE(this.#advance(8));
  }

  /** A view of the next bytes, valid until the next `need`. */
  bytes(length: number): DataView {
    const at = this.#advance(length);
    return new DataView(this.#buffer.buffer, this.#buffer.byteOffset + at, length);
  }

  /** UTF-8 text; invalid sequences become U+FFFD. */
  text(length: number): string {
    const at = this.#advance(length);
    return this.#buffer.toString("utf8", at, at + length);
  }

  #advance(length: number): number {
    const at = this.#next;
    this.#next += length;
    return at;
  }
}
