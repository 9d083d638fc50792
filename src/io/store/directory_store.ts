/**
 * A store in a directory that all machines share. Files are written under a temporary name, flushed, and then renamed,
 * so that no reader sees an incomplete one.
 */
import { randomUUID } from "node:crypto";
import { link, mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { GpruneError } from "../../errors.ts";
import { readSmallFile } from "../files/file.ts";
import { errnoOf, lacksHardLinks } from "../files/output_file.ts";
import type { Digest } from "../files/stage_file.ts";
import { MAX_RECORD, type Store, storeError, storeFailed } from "./store.ts";

/** Names of temporary files. Others may lie beside them, as in a store at `/`. */
const TEMPORARY = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.part$/;
/**
 * Milliseconds without a write after which a temporary file counts as left by a process that was killed: more than the
 * clocks of machines may differ, wrong time zones included.
 */
const ABANDONED_MS = 24 * 3600 * 1000;

/** Layout: `objects/XX/HASH` with the first two digits of the hash, `records/NAME`, `tmp/`. */
export class DirectoryStore implements Store {
  readonly name: string;
  readonly #root: string;

  private constructor(root: string) {
    this.name = root;
    this.#root = root;
  }

  /** Opens the store, and creates the directory if needed. @throws GpruneError STORE_FAILED */
  static async open(path: string): Promise<DirectoryStore> {
    const store = new DirectoryStore(resolve(path));
    await store.#guard(async () => {
      for (const part of ["objects", "records", "tmp"])
        await mkdir(join(store.#root, part), { recursive: true });
    });
    await store.#removeAbandoned();
    return store;
  }

  async keep(fill: (path: string) => Promise<Digest>): Promise<Digest> {
    const temporary = this.#temporaryPath();
    try {
      const digest = await fill(temporary);
      await this.#guard(async () => {
        await mkdir(join(this.#root, "objects", digest.sha256.slice(0, 2)), { recursive: true });
        await rename(temporary, this.#objectPath(digest));
      });
      return digest;
    } finally {
      await rm(temporary, { force: true });
    }
  }

  async read<T>(object: Digest, use: (path: string) => Promise<T>): Promise<T | null> {
    if (!(await this.has(object))) return null;
    const path = this.#objectPath(object);
    try {
      return await use(path);
    } catch (error) {
      if (!isSystemError(error)) throw error;
      // Another process may have removed it since.
      if (errnoOf(error.cause) === "ENOENT") return null;
      throw unreadable(path, error, "object");
    }
  }

  has(object: Digest): Promise<boolean> {
    return this.#guard(async () => {
      const bytes = await stat(this.#objectPath(object)).then(
        ({ size }) => size,
        (error: unknown) => {
          if (errnoOf(error) === "ENOENT") return null;
          throw error;
        },
      );
      return bytes === object.bytes;
    });
  }

  discard(object: Digest): Promise<void> {
    return this.#guard(() => rm(this.#objectPath(object), { force: true }));
  }

  claim(name: string, text: string): Promise<boolean> {
    return this.#guard(async () => {
      const temporary = this.#temporaryPath();
      try {
        await writeFile(temporary, text, { flag: "wx", flush: true });
        // Unlike a rename, a link never replaces an existing file.
        await link(temporary, this.#recordPath(name)).catch((cause: unknown) => {
          throw lacksHardLinks(cause) ? withoutLinks(this.name, cause) : cause;
        });
        return true;
      } catch (error) {
        if (errnoOf(error) !== "EEXIST") throw error;
        // A file server whose answer was lost is asked again, and finds the link that it has made.
        return (await stat(temporary)).nlink > 1;
      } finally {
        await rm(temporary, { force: true });
      }
    });
  }

  async record(name: string): Promise<string | null> {
    const path = this.#recordPath(name);
    try {
      // Malformed text is not refused here: the reader of the record checks it.
      return new TextDecoder().decode(await readSmallFile(path, MAX_RECORD));
    } catch (error) {
      if (errnoOf((error as GpruneError).cause) === "ENOENT") return null;
      throw unreadable(path, error as GpruneError, "record");
    }
  }

  forget(name: string): Promise<void> {
    return this.#guard(() => rm(this.#recordPath(name), { force: true }));
  }

  #objectPath({ sha256 }: Digest): string {
    return join(this.#root, "objects", sha256.slice(0, 2), sha256);
  }

  #recordPath(name: string): string {
    return join(this.#root, "records", name);
  }

  #temporaryPath(): string {
    return join(this.#root, "tmp", `${randomUUID()}.part`);
  }

  /** Removes temporary files that processes left when they were killed, as far as possible. */
  async #removeAbandoned(): Promise<void> {
    const directory = join(this.#root, "tmp");
    const names = await readdir(directory).catch(() => []);
    const oldest = Date.now() - ABANDONED_MS;
    for (const name of names.filter((name) => TEMPORARY.test(name))) {
      const path = join(directory, name);
      try {
        if ((await stat(path)).mtimeMs < oldest) await rm(path);
      } catch {
        // Another process has removed it, or it belongs to another user, whose processes remove it.
      }
    }
  }

  /** Turns failed system calls into errors of the store. */
  async #guard<T>(operation: () => Promise<T>): Promise<T> {
    try {
      return await operation();
    } catch (error) {
      throw error instanceof GpruneError ? error : storeFailed(this.name, error);
    }
  }
}

function withoutLinks(path: string, cause: unknown): GpruneError {
  const reason = errnoOf(cause);
  return new GpruneError("STORE_FAILED", `${path}: expected a file system with hard links, got ${reason}`, {
    hint: "Claims need them; FAT and mounted buckets have none. Use another shared directory or s3://BUCKET/PREFIX.",
    cause,
  });
}

/** Whether a file could not be opened or read because a system call failed. */
function isSystemError(error: unknown): error is GpruneError {
  if (!(error instanceof GpruneError) || errnoOf(error.cause) === undefined) return false;
  return ["NOT_FOUND", "FORBIDDEN", "BAD_FILE"].includes(error.code);
}

/** Error STORE_FAILED for an object or record that exists and cannot be read. */
function unreadable(path: string, error: GpruneError, what: string): GpruneError {
  const reason = errnoOf(error.cause);
  const message =
    reason === undefined ? error.message : `${path}: expected a readable ${what}, got ${reason}`;
  const hint =
    reason === "EACCES"
      ? "Runs and workers read each other's files: start them as one user, or give all of them read access (umask, chmod)."
      : "Check the shared disk; files there that gprune has not written can be removed.";
  const type = reason === undefined ? GpruneError : storeError(reason);
  return new type("STORE_FAILED", message, { hint, cause: error });
}
