/**
 * Positional reads of files of any size. One system call reads at most 1 GiB (Node aborts the process at 2 GiB and
 * returns short reads below that), so reads loop until they are complete or the file ends.
 */
import { createHash } from "node:crypto";
import { type FileHandle, open, stat } from "node:fs/promises";
import { extname } from "node:path";
import { codeOf, GpruneError } from "../../errors.ts";
import { bytesToMove } from "./fail_points.ts";
import { decodeUtf8 } from "./utf8.ts";

/** Bytes of one system call, at most. */
const MAX_READ_BYTES = 2 ** 30;
/** Bytes hashed at a time. */
const HASH_BYTES = 2 ** 26;
/** Error codes of a path without permission. */
const FORBIDDEN: ReadonlySet<string | undefined> = new Set(["EACCES", "EPERM"]);
/** Error codes of a path at which nothing exists or can exist. A failing disk or network has others. */
const MISSING: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "ENAMETOOLONG", "ERR_INVALID_ARG_VALUE"]);
/** Hint for a path without permission. */
const CHECK_PERMISSIONS = "Check its permissions, and those of the directories above it.";
/** Hint for a file that cannot be read. */
const CHECK_DISK = "Check the disk and whether the file still exists, then repeat the command.";

/** Hint for a read after `close`. */
const KEEP_OPEN =
  "Close a model only when neither it nor a model pruned from it is used any more: both read its files.";

/** Closes files that were garbage collected while open. Node would warn, and from version 25 on end the process. */
const UNCLOSED = new FinalizationRegistry<FileHandle>((handle) => void handle.close().catch(() => {}));

/** A regular file opened for reading at any offset. */
export class PositionalFile {
  readonly path: string;
  /** Bytes, as of opening. */
  readonly size: number;
  readonly #handle: FileHandle;
  #closed = false;

  private constructor(path: string, size: number, handle: FileHandle) {
    this.path = path;
    this.size = size;
    this.#handle = handle;
    UNCLOSED.register(this, handle, this);
  }

  /**
   * @throws GpruneError NOT_FOUND when there is no such regular file, as `unreadable`, and BAD_FILE as `kindOfPath`
   */
  static async open(path: string): Promise<PositionalFile> {
    // Checked before opening, because opening a named pipe waits for a writer.
    const kind = await kindOfPath(path);
    if (kind === "directory" || kind === "other") throw notRegular(path, kind === "directory");
    const handle = await open(path, "r").catch((cause: unknown) => {
      throw unreadable(path, "a readable file", cause);
    });
    const stat = await handle.stat();
    if (!stat.isFile()) {
      await handle.close();
      throw notRegular(path, stat.isDirectory());
    }
    return new PositionalFile(path, stat.size, handle);
  }

  /** Opens a file, passes it to `work`, and closes it. @throws GpruneError as `open`; errors of `work` pass through */
  static async use<T>(path: string, work: (file: PositionalFile) => Promise<T>): Promise<T> {
    const file = await PositionalFile.open(path);
    try {
      return await work(file);
    } finally {
      await file.close();
    }
  }

  /**
   * Exactly `length` bytes from `offset`. The span is checked against the file's size before memory is allocated.
   * @throws GpruneError BAD_FILE when the span is outside the file, the file shrank or the disk reports an error;
   *   BAD_ARGUMENT after `close`
   */
  async read(offset: number, length: number): Promise<Uint8Array> {
    this.#requireOpen();
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
      throw new GpruneError(
        "BAD_FILE",
        `${this.path}: expected a valid range, got ${length} bytes at offset ${offset}`,
      );
    }
    if (offset + length > this.size) {
      throw new GpruneError(
        "BAD_FILE",
        `${this.path}: expected ${length} bytes at offset ${offset}, got a file of ${this.size} bytes`,
        { hint: "The file is truncated; copy or download it again." },
      );
    }
    const bytes = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const chunk = Math.min(MAX_READ_BYTES, length - done);
      const bytesRead = await this.#readSome(bytes, { done, chunk, offset });
      if (bytesRead === 0)
        throw new GpruneError(
          "BAD_FILE",
          `${this.path}: expected more data, got the end of the file (it shrank while being read)`,
        );
      done += bytesRead;
    }
    return bytes;
  }

  /** SHA-256 of the whole file, hexadecimal. @param onBytes - called with the number of bytes of each chunk */
  async sha256(onBytes: (bytes: number) => void = () => {}): Promise<string> {
    const hash = createHash("sha256");
    for (let start = 0; start < this.size; start += HASH_BYTES) {
      const chunk = await this.read(start, Math.min(HASH_BYTES, this.size - start));
      hash.update(chunk);
      onBytes(chunk.length);
    }
    return hash.digest("hex");
  }

  async close(): Promise<void> {
    this.#closed = true;
    UNCLOSED.unregister(this);
    await this.#handle.close();
  }

  #requireOpen(): void {
    if (!this.#closed) return;
    const message = `${this.path}: expected an open file, got a closed one`;
    throw new GpruneError("BAD_ARGUMENT", message, { hint: KEEP_OPEN });
  }

  /** One system call. @returns bytes read, 0 at the end of the file */
  async #readSome(
    bytes: Uint8Array,
    { done, chunk, offset }: { readonly done: number; readonly chunk: number; readonly offset: number },
  ): Promise<number> {
    try {
      const length = bytesToMove("before-read", this.path, chunk);
      return (await this.#handle.read(bytes, done, length, offset + done)).bytesRead;
    } catch (cause) {
      this.#requireOpen();
      const reason = codeOf(cause) ?? String(cause);
      const message = `${this.path}: expected a readable file, got ${reason}`;
      throw new GpruneError("BAD_FILE", message, { hint: CHECK_DISK, cause });
    }
  }
}

/** Error of a path that cannot be opened: FORBIDDEN without permission, else NOT_FOUND. */
export function unreadable(path: string, expected: string, cause: unknown): GpruneError {
  const reason = codeOf(cause);
  const got = reason === "ENOENT" ? "no such file or directory" : (reason ?? String(cause));
  const message = `${path}: expected ${expected}, got ${got}`;
  const isForbidden = FORBIDDEN.has(reason);
  const hint = isForbidden ? CHECK_PERMISSIONS : undefined;
  return new GpruneError(isForbidden ? "FORBIDDEN" : "NOT_FOUND", message, { hint, cause });
}

function notRegular(path: string, isDirectory: boolean): GpruneError {
  const got = isDirectory ? "a directory" : "something else";
  return new GpruneError("NOT_FOUND", `${path}: expected a regular file, got ${got}`);
}

/**
 * The kind of file at a path; links are followed. `forbidden` when permission to look is missing.
 * @throws GpruneError BAD_FILE for any other failure, so that a failing disk is not taken for a missing file
 */
export async function kindOfPath(
  path: string,
): Promise<"file" | "directory" | "other" | "missing" | "forbidden"> {
  try {
    const found = await stat(path);
    if (found.isDirectory()) return "directory";
    return found.isFile() ? "file" : "other";
  } catch (cause) {
    const reason = codeOf(cause) ?? String(cause);
    if (FORBIDDEN.has(reason)) return "forbidden";
    if (MISSING.has(reason)) return "missing";
    const message = `${path}: expected a readable path, got ${reason}`;
    throw new GpruneError("BAD_FILE", message, { hint: CHECK_DISK, cause });
  }
}

/**
 * A fingerprint of the file at a path, which changes when it is written or replaced; links are followed. Empty when it
 * cannot be found.
 */
export async function stampOf(path: string): Promise<string> {
  const found = await stat(path, { bigint: true }).catch(() => null);
  return found === null ? "" : [found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join(" ");
}

/** The extension of a file name with its dot, in lower case: `.txt` of `NOTES.TXT`. */
export function endingOf(name: string): string {
  return extname(name).toLowerCase();
}

/**
 * Reads a whole file of at most `maxBytes`.
 * @throws GpruneError NOT_FOUND and FORBIDDEN when it cannot be opened, BAD_FILE when it is larger
 */
export async function readSmallFile(path: string, maxBytes: number): Promise<Uint8Array> {
  return PositionalFile.use(path, async (file) => {
    if (file.size <= maxBytes) return file.read(0, file.size);
    throw new GpruneError("BAD_FILE", `${path}: expected at most ${maxBytes} bytes, got ${file.size}`);
  });
}

/**
 * Reads a whole text file of at most `maxBytes`.
 * @throws GpruneError as `readSmallFile`, and BAD_FILE for invalid UTF-8
 */
export async function readSmallText(path: string, maxBytes: number): Promise<string> {
  const bytes = await readSmallFile(path, maxBytes);
  return decodeUtf8(bytes, { where: path, code: "BAD_FILE", expected: "text in UTF-8" });
}
