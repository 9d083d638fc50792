/**
 * Sequential writing of files, the counterpart of `PositionalFile`, and the translation of failed system calls into
 * errors that a user can act on. Atomicity is the task of output_directory.ts.
 */
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { codeOf, GpruneError } from "../../errors.ts";
import { bytesToMove, failPoint } from "./fail_points.ts";

/** Bytes of one system call, at most; Node refuses 2 GiB, and just below that the kernel makes short writes. */
const MAX_WRITE_BYTES = 2 ** 30;

/** Hints for failed writes, by POSIX errno name. */
const WRITE_HINTS: ReadonlyMap<string, string> = new Map([
  ["ENOSPC", "The disk is full; free some space or write to another disk."],
  ["EDQUOT", "The disk quota is used up; free some space or write to another disk."],
  ["EFBIG", "The file system or a ulimit does not allow files of this size; write to another disk."],
  ["EACCES", "You have no permission to write there; choose another place or change the permissions."],
  ["EPERM", "You have no permission to write there; choose another place or change the permissions."],
  ["EROFS", "The file system is read-only; choose another place."],
  ["ENAMETOOLONG", "Choose a shorter name."],
  ["ENOTDIR", "A parent of the path is a file; choose another place."],
  ["EISDIR", "The path is a directory; choose another name."],
  ["EEXIST", "The name is in use; choose another one."],
  ["EMFILE", "Too many files are open; raise the limit with `ulimit -n`."],
  ["EBUSY", "It is a mount point or in use; choose another place, such as a directory inside it."],
  ["EIO", "The disk reported an error; check it, or write to another disk."],
]);

/** The errno name of a failed system call, or undefined when `cause` is something else. */
export function errnoOf(cause: unknown): string | undefined {
  return cause instanceof Error && "errno" in cause ? codeOf(cause) : undefined;
}

/**
 * Error codes of `link` on file systems without hard links, such as FAT and mounted buckets; EISDIR for exFAT on
 * Windows (nodejs/node#65817).
 */
const NO_LINKS: ReadonlySet<string> = new Set([
  ...["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK", "EISDIR"],
]);

/** Whether a call of `link` failed because the file system has no hard links. */
export function lacksHardLinks(cause: unknown): boolean {
  return NO_LINKS.has(errnoOf(cause) ?? "");
}

/** The hint for a failed system call; undefined when there is none. */
export function writeHint(cause: unknown): string | undefined {
  return WRITE_HINTS.get(errnoOf(cause) ?? "");
}

/** Error OUTPUT_FAILED for a failed file system call on an output; a `GpruneError` is returned unchanged. */
export function outputFailed(path: string, cause: unknown): GpruneError {
  if (cause instanceof GpruneError) return cause;
  const hint = writeHint(cause);
  const message = `${path}: expected a writable path, got ${errnoOf(cause) ?? String(cause)}`;
  return new GpruneError("OUTPUT_FAILED", message, { hint, cause });
}

/**
 * Writes all of `bytes`, in as many system calls as needed.
 * @param place - the file's path for messages, and the offset; the current position when absent
 * @throws GpruneError OUTPUT_FAILED
 */
export async function writeAll(
  handle: FileHandle,
  bytes: Uint8Array,
  { path, offset }: { readonly path: string; readonly offset?: number },
): Promise<void> {
  try {
    for (let done = 0; done < bytes.length; ) {
      const point = done === 0 ? "before-write" : "mid-write";
      const length = bytesToMove(point, path, Math.min(MAX_WRITE_BYTES, bytes.length - done));
      const position = offset === undefined ? null : offset + done;
      done += (await handle.write(bytes, done, length, position)).bytesWritten;
    }
  } catch (cause) {
    throw outputFailed(path, cause);
  }
}

/** A new file, written sequentially. */
export class OutputFile {
  readonly path: string;
  readonly #handle: FileHandle;

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  /** Creates the file. @throws GpruneError OUTPUT_FAILED when it exists or cannot be created */
  static async create(path: string): Promise<OutputFile> {
    const handle = await open(path, "wx").catch((cause: unknown) => {
      throw outputFailed(path, cause);
    });
    return new OutputFile(path, handle);
  }

  /** Appends all of `bytes`. @throws GpruneError OUTPUT_FAILED */
  async write(bytes: Uint8Array): Promise<void> {
    await writeAll(this.#handle, bytes, { path: this.path });
  }

  /** Flushes the file to the disk. @throws GpruneError OUTPUT_FAILED */
  async sync(): Promise<void> {
    try {
      failPoint("before-fsync", this.path);
      await this.#handle.sync();
    } catch (cause) {
      throw outputFailed(this.path, cause);
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/**
 * Creates a file, has `fill` write it, and flushes it to the disk.
 * @throws GpruneError OUTPUT_FAILED when the file exists or the file system refuses; errors of `fill` pass through
 */
export async function writeNewFile(path: string, fill: (file: OutputFile) => Promise<void>): Promise<void> {
  const file = await OutputFile.create(path);
  try {
    await fill(file);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Creates a directory in an existing one. @throws GpruneError OUTPUT_FAILED when the file system refuses */
export async function makeDirectory(path: string): Promise<void> {
  await mkdir(path).catch((cause: unknown) => {
    throw outputFailed(path, cause);
  });
}
