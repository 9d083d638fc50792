/**
 * A file that is being downloaded, and what an earlier attempt left of it. While somebody writes it has a name of its
 * own, so two processes never write the same bytes; what is given up goes back to a common name, from which the next
 * attempt takes it by renaming it, which only one can do.
 */
import { createHash, type Hash, randomBytes } from "node:crypto";
import { existsSync, renameSync } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { errnoOf, outputFailed, writeAll } from "./output_file.ts";

/** Bytes read at a time of what is already there. */
const READ_BYTES = 2 ** 20;

/** The first part of a file, growing. */
export class PartialFile {
  readonly #target: string;
  readonly #own: string;
  readonly #handle: FileHandle;
  readonly #onExit: () => void;
  #size = 0;
  #hash: Hash = createHash("sha256");

  private constructor(target: string, own: string, handle: FileHandle) {
    this.#target = target;
    this.#own = own;
    this.#handle = handle;
    // An interrupted process keeps what it has, for the next one.
    this.#onExit = () => {
      if (existsSync(own)) renameSync(own, leftover(target));
    };
    process.on("exit", this.#onExit);
  }

  /**
   * Takes over what is left of an earlier attempt at `target`, or begins anew.
   * @throws GpruneError OUTPUT_FAILED
   */
  static async claim(target: string): Promise<PartialFile> {
    const own = `${target}.${randomBytes(4).toString("hex")}.incomplete`;
    try {
      await mkdir(dirname(target), { recursive: true });
      await rename(leftover(target), own).catch((cause: unknown) => {
        if (errnoOf(cause) !== "ENOENT") throw cause;
      });
      const file = new PartialFile(target, own, await open(own, existsSync(own) ? "r+" : "wx+"));
      await file.#readBack().catch(async (cause: unknown) => {
        await file.discard().catch(() => {});
        throw cause;
      });
      return file;
    } catch (cause) {
      throw outputFailed(target, cause);
    }
  }

  /** Bytes so far. */
  get size(): number {
    return this.#size;
  }

  /** SHA-256 of the bytes so far, hexadecimal. */
  sha256(): string {
    return this.#hash.copy().digest("hex");
  }

  /** @throws GpruneError OUTPUT_FAILED */
  async append(bytes: Uint8Array): Promise<void> {
    await writeAll(this.#handle, bytes, { path: this.#own, offset: this.#size });
    this.#size += bytes.length;
    this.#hash.update(bytes);
  }

  /** Drops all bytes. */
  async restart(): Promise<void> {
    await this.#handle.truncate(0);
    this.#size = 0;
    this.#hash = createHash("sha256");
  }

  /** Gives the complete file its name. @throws GpruneError OUTPUT_FAILED */
  async finish(): Promise<void> {
    try {
      await this.#handle.sync();
      await this.#close();
      await rename(this.#own, this.#target);
    } catch (cause) {
      throw outputFailed(this.#target, cause);
    }
  }

  /** Leaves the bytes to the next attempt. */
  async giveUp(): Promise<void> {
    await this.#close();
    if (this.#size === 0) await rm(this.#own, { force: true });
    else await rename(this.#own, leftover(this.#target));
  }

  /** Removes the bytes. */
  async discard(): Promise<void> {
    await this.#close();
    await rm(this.#own, { force: true });
  }

  async #close(): Promise<void> {
    process.off("exit", this.#onExit);
    await this.#handle.close();
  }

  /** The hash of what is there already. */
  async #readBack(): Promise<void> {
    const buffer = new Uint8Array(READ_BYTES);
    for (;;) {
      const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, this.#size);
      if (bytesRead === 0) return;
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.#size += bytesRead;
    }
  }
}

function leftover(target: string): string {
  return `${target}.gprune.incomplete`;
}
