/**
 * A file that is being downloaded, resumed from what earlier attempts left. Each attempt writes under a name of its
 * own, so that two processes never write the same file; one that gives up renames its file to a common name, from which
 * the next attempt claims it by a rename, which only one can win. A killed process gives nothing up, but the name of
 * its file identifies it, so that the next attempt can tell that it is gone.
 */
import { createHash, type Hash, randomBytes } from "node:crypto";
import { existsSync, renameSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { errnoOf, outputFailed, writeAll } from "./output_file.ts";
import { ownMark, processOfMark } from "./process_identity.ts";

/** Bytes read at a time. */
const READ_BYTES = 2 ** 20;

/** File names are `TARGET.gprune-MARK-RANDOM.incomplete`, and `TARGET.gprune.incomplete` once given up. */
const KIND = ".gprune";
const ENDING = ".incomplete";
/** The mark of the process, and a random part for each of its attempts. */
const ATTEMPT = /^-(.*)-[0-9a-f]+$/;

/**
 * Seconds without a write after which a process whose state is unknown, for example in another container, counts as
 * gone.
 */
const SILENT_SECONDS = 3600;

/** The downloaded beginning of a file. */
export class PartialFile {
  readonly #target: string;
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #onExit: () => void;
  #size = 0;
  #hash: Hash = createHash("sha256");

  private constructor(target: string, path: string, handle: FileHandle) {
    this.#target = target;
    this.#path = path;
    this.#handle = handle;
    // An interrupted process leaves its bytes to the next attempt.
    this.#onExit = () => {
      if (existsSync(path)) renameSync(path, givenUpPath(target));
    };
    process.on("exit", this.#onExit);
  }

  /**
   * Takes over the file of an earlier attempt at `target`, or starts a new one.
   * @throws GpruneError OUTPUT_FAILED
   */
  static async claim(target: string): Promise<PartialFile> {
    const path = `${target}${KIND}-${ownMark()}-${randomBytes(4).toString("hex")}${ENDING}`;
    try {
      await mkdir(dirname(target), { recursive: true });
      await takeOver(target, path);
      const file = new PartialFile(target, path, await open(path, existsSync(path) ? "r+" : "wx+"));
      await file.#hashExisting().catch(async (cause: unknown) => {
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

  /**
   * SHA-1 of a text and the bytes so far, hexadecimal. Reads the bytes back, as only small files need it.
   * @throws GpruneError OUTPUT_FAILED
   */
  async sha1(before = ""): Promise<string> {
    const hash = createHash("sha1").update(before);
    try {
      for await (const piece of this.#pieces()) hash.update(piece);
    } catch (cause) {
      throw outputFailed(this.#target, cause);
    }
    return hash.digest("hex");
  }

  /** Appends bytes. @throws GpruneError OUTPUT_FAILED */
  async append(bytes: Uint8Array): Promise<void> {
    await writeAll(this.#handle, bytes, { path: this.#path, offset: this.#size });
    this.#size += bytes.length;
    this.#hash.update(bytes);
  }

  /** Drops all bytes. @throws GpruneError OUTPUT_FAILED */
  async restart(): Promise<void> {
    try {
      await this.#handle.truncate(0);
    } catch (cause) {
      throw outputFailed(this.#target, cause);
    }
    this.#size = 0;
    this.#hash = createHash("sha256");
  }

  /** Flushes the complete file and renames it to the target. @throws GpruneError OUTPUT_FAILED */
  async finish(): Promise<void> {
    try {
      await this.#handle.sync();
      await this.#close();
      await rename(this.#path, this.#target);
    } catch (cause) {
      throw outputFailed(this.#target, cause);
    }
  }

  /** Ends the attempt and leaves its bytes to the next one. */
  async giveUp(): Promise<void> {
    await this.#close();
    if (this.#size === 0) await rm(this.#path, { force: true });
    else await rename(this.#path, givenUpPath(this.#target));
  }

  /** Ends the attempt and removes its file. */
  async discard(): Promise<void> {
    await this.#close();
    await rm(this.#path, { force: true });
  }

  async #close(): Promise<void> {
    process.off("exit", this.#onExit);
    await this.#handle.close();
  }

  /** Hashes and counts the bytes of an earlier attempt. */
  async #hashExisting(): Promise<void> {
    for await (const piece of this.#pieces()) {
      this.#hash.update(piece);
      this.#size += piece.length;
    }
  }

  /** The bytes in the file. A piece is valid until the next one. */
  async *#pieces(): AsyncGenerator<Uint8Array> {
    const buffer = new Uint8Array(READ_BYTES);
    for (let offset = 0; ; ) {
      const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, offset);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
      offset += bytesRead;
    }
  }
}

function givenUpPath(target: string): string {
  return `${target}${KIND}${ENDING}`;
}

/** The file of an attempt that has ended. */
interface Leftover {
  readonly path: string;
  readonly bytes: number;
  /** Whether its bytes are as written; after a power failure some may not be. */
  readonly isIntact: boolean;
}

/** Renames the longest intact leftover to `path`, and removes the others. */
async function takeOver(target: string, path: string): Promise<void> {
  let isClaimed = false;
  for (const { path: leftover, isIntact } of await findLeftovers(target)) {
    if (isClaimed || !isIntact) await rm(leftover, { force: true });
    else isClaimed = await tryRename(leftover, path);
  }
}

/** The files of attempts that have ended, the longest first. */
async function findLeftovers(target: string): Promise<readonly Leftover[]> {
  const start = `${basename(target)}${KIND}`;
  const leftovers: Leftover[] = [];
  for (const name of await readdir(dirname(target))) {
    if (!name.startsWith(start) || !name.endsWith(ENDING)) continue;
    const path = join(dirname(target), name);
    // Another attempt may have claimed it since.
    const found = await stat(path).catch(() => null);
    if (found === null) continue;
    const mark = name.slice(start.length, -ENDING.length);
    const { isGone, isOfThisStart } = processOfMark(mark.replace(ATTEMPT, "$1"));
    const isSilent = Date.now() - found.mtimeMs > 1000 * SILENT_SECONDS;
    const isGivenUp = mark === "";
    if (isGivenUp || (isGone ?? isSilent)) {
      leftovers.push({ path, bytes: found.size, isIntact: isGivenUp || isOfThisStart });
    }
  }
  return leftovers.sort((a, b) => b.bytes - a.bytes);
}

/** @returns false when another attempt was faster */
async function tryRename(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (cause) {
    if (errnoOf(cause) === "ENOENT") return false;
    throw cause;
  }
}
