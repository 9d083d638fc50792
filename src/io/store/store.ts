/**
 * Storage through which processes on several machines exchange data: objects, named by the SHA-256 of their bytes, and
 * short records, of which the first one written under a name stays. Readers check what they get.
 */
import { randomUUID } from "node:crypto";
import { codeOf, GpruneError, reasonOf } from "../../errors.ts";
import { writeHint, writeNewFile } from "../files/output_file.ts";
import { type Digest, readValue, writeValue } from "../files/stage_file.ts";

/** A store that all machines reach. */
export interface Store {
  /** For messages; without secrets. */
  readonly name: string;
  /**
   * Keeps the file that `fill` writes, under its hash.
   * @throws GpruneError STORE_FAILED; errors of `fill` pass through
   */
  keep(fill: (path: string) => Promise<Digest>): Promise<Digest>;
  /**
   * Passes an object to `use` as a file, which may be gone afterwards; null when there is no such object.
   * @throws GpruneError STORE_FAILED, or OUTPUT_FAILED when this machine has no place for the file
   */
  read<T>(object: Digest, use: (path: string) => Promise<T>): Promise<T | null>;
  /** Whether an object of this size exists; its content is not read. */
  has(object: Digest): Promise<boolean>;
  /** Removes an object, if it exists; a reader that finds it damaged does so, so that it is computed again. */
  discard(object: Digest): Promise<void>;
  /**
   * Writes a record unless one of this name exists.
   * @returns whether it was written, be it by an attempt of this claim whose answer was lost
   */
  claim(name: string, text: string): Promise<boolean>;
  /** A record; null when there is none. */
  record(name: string): Promise<string | null>;
  /** Removes a record, if it exists. */
  forget(name: string): Promise<void>;
}

/** Bytes of a record, at most. */
export const MAX_RECORD: number = 2 ** 16;

/** Stores a plain value, in the format of io/files/stage_file.ts. */
export function keepValue(store: Store, value: unknown): Promise<Digest> {
  return store.keep(async (path) => {
    let digest: Digest | undefined;
    await writeNewFile(path, async (file) => {
      digest = await writeValue(file, value);
    });
    return digest!;
  });
}

/**
 * Reads a stored value. An object that does not have its hash is removed, so that it is computed again.
 * @returns undefined when there is no such object or it was removed
 * @throws GpruneError STORE_FAILED
 */
export async function keptValue(store: Store, object: Digest): Promise<unknown> {
  const value = await store.read(object, (path) => readValue(path, object));
  if (value === undefined) await store.discard(object);
  return value ?? undefined;
}

/** Reads a stored value. @throws GpruneError STORE_FAILED when there is no such object or it does not have its hash */
export async function requireValue(store: Store, object: Digest): Promise<unknown> {
  const value = await keptValue(store, object);
  if (value !== undefined) return value;
  throw new GpruneError(
    "STORE_FAILED",
    `${store.name}: expected the object ${object.sha256}, got a different one or none`,
    { hint: "The object was removed or changed; repeat the run, which computes it again." },
  );
}

/** Name of the record that holds the store's identity. */
const IDENTITY = "store";

/**
 * A random identifier of a store, the same on all machines, whatever path each reaches it by.
 * @throws GpruneError STORE_FAILED
 */
export async function storeIdentity(store: Store): Promise<string> {
  const identity = await store.record(IDENTITY);
  if (identity !== null) return identity;
  await store.claim(IDENTITY, randomUUID());
  return (await store.record(IDENTITY))!;
}

/** A failure of a store that may be over at a later attempt. */
export class StoreAway extends GpruneError {}

/** Error codes of failures that last until somebody changes something. */
const PERMANENT: ReadonlySet<string> = new Set([
  ...["EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG"],
  ...["ENOENT", "EEXIST", "ENOTDIR", "EISDIR", "ELOOP", "ENAMETOOLONG"],
]);

/** The error class of a failure: `StoreAway` when it may be over later. @param code - of the system error, if any */
export function storeError(code: string | undefined): typeof GpruneError {
  return PERMANENT.has(code ?? "") ? GpruneError : StoreAway;
}

/**
 * Error STORE_FAILED for a store that cannot be used.
 * @param type - the error class; chosen by the code of `cause` when absent
 */
export function storeFailed(
  name: string,
  cause: unknown,
  type: typeof GpruneError = storeError(codeOf(cause)),
): GpruneError {
  const reason = codeOf(cause) ?? reasonOf(cause);
  const shared =
    "All machines must be able to read and write it: use a shared directory or s3://BUCKET/PREFIX.";
  return new type("STORE_FAILED", `${name}: expected a writable store, got ${reason}`, {
    hint: [writeHint(cause) ?? [], shared].flat().join(" "),
    cause,
  });
}
