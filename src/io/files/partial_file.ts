/**
 * A file that is being downloaded, and what an earlier attempt left of it. While somebody writes it has a name of its
 * own, so two processes never write the same bytes; what is given up goes back to a common name. The next attempt takes
 * it by renaming it, which only one can do. A process that is killed gives nothing up: its file's name says who it was,
 * so that the next attempt finds out that it is gone.
 */
import { createHash, type Hash, randomBytes } from "node:crypto";
import { existsSync, renameSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { errnoOf, outputFailed, writeAll } from "./output_file.ts";
import { ownMark, processOfMark } from "./process_identity.ts";

/** Bytes read at a time of what is already there. */
const READ_BYTES = 2 ** 20;

/** Between the target's name and what tells attempts apart, and at the end. */
const KIND = ".gprune";
const ENDING = ".incomplete";
/** The process's mark, and what tells its attempts apart. */
const OWN_PART = /^-(.*)-[0-9a-f]+$/;

/**
 * Seconds without a byte after which a process of which nothing can be known, as in another container, counts as gone.
 */
const SILENT_SECONDS = 3600;

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
    const own = `${target}${KIND}-${ownMark()}-${randomBytes(4).toString("hex")}${ENDING}`;
    try {
      await mkdir(dirname(target), { recursive: true });
      await takeOver(target, own);
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
  return `${target}${KIND}${ENDING}`;
}

/** What an attempt that is over left. */
interface Left {
  readonly path: string;
  readonly bytes: number;
  /** Whether all its bytes are as they were written; after a failure of power some may not be. */
  readonly isWhole: boolean;
}

/** Gives the longest file that was left the name `own`, and removes the others. */
async function takeOver(target: string, own: string): Promise<void> {
  let isTaken = false;
  for (const { path, isWhole } of await leftOf(target)) {
    if (isTaken || !isWhole) await rm(path, { force: true });
    else isTaken = await isRenamed(path, own);
  }
}

/** The longest first. */
async function leftOf(target: string): Promise<readonly Left[]> {
  const start = `${basename(target)}${KIND}`;
  const left: Left[] = [];
  for (const name of await readdir(dirname(target))) {
    if (!name.startsWith(start) || !name.endsWith(ENDING)) continue;
    const path = join(dirname(target), name);
    // Another attempt may have taken it meanwhile.
    const found = await stat(path).catch(() => null);
    if (found === null) continue;
    const mark = name.slice(start.length, -ENDING.length);
    const { isGone, isOfThisStart } = processOfMark(mark.replace(OWN_PART, "$1"));
    const isSilent = Date.now() - found.mtimeMs > 1000 * SILENT_SECONDS;
    const isGivenUp = mark === "";
    if (isGivenUp || (isGone ?? isSilent)) {
      left.push({ path, bytes: found.size, isWhole: isGivenUp || isOfThisStart });
    }
  }
  return left.sort((a, b) => b.bytes - a.bytes);
}

/** @returns false when another attempt was faster */
async function isRenamed(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (cause) {
    if (errnoOf(cause) === "ENOENT") return false;
    throw cause;
  }
}
