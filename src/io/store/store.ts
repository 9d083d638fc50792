/**
 * Where processes on several machines keep what they give each other: objects that are named by the SHA-256 of their
 * bytes, and short records, of which the first one of a name stays. What comes back is checked by its reader.
 */
import { randomUUID } from "node:crypto";
import { codeOf, GpruneError, reasonOf } from "../../errors.ts";
import { writeNewFile } from "../files/output_file.ts";
import { type Digest, readValue, writeValue } from "../files/stage_file.ts";

/** A place that all of them reach. */
export interface Store {
  /** For messages; without secrets. */
  readonly name: string;
  /**
   * Keeps the file that `fill` writes, under its hash.
   * @throws GpruneError STORE_FAILED; errors of `fill` pass through
   */
  keep(fill: (path: string) => Promise<Digest>): Promise<Digest>;
  /**
   * Has `use` read an object from a file, which may be gone afterwards; null when there is none.
   * @throws GpruneError STORE_FAILED
   */
  read<T>(object: Digest, use: (path: string) => Promise<T>): Promise<T | null>;
  /** Whether an object is there, as far as that can be told without reading it. */
  has(object: Digest): Promise<boolean>;
  /** Removes an object, if there is one: whoever finds that it is damaged has it made again so. */
  discard(object: Digest): Promise<void>;
  /** Writes a record unless there is one of the name. @returns whether it was written */
  claim(name: string, text: string): Promise<boolean>;
  /** A record; null when there is none. */
  record(name: string): Promise<string | null>;
  /** Removes a record, if there is one. */
  forget(name: string): Promise<void>;
}

/** Characters of a record at most. */
export const MAX_RECORD: number = 2 ** 16;

/** Keeps a plain value, as io/files/stage_file.ts writes it. */
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
 * A value that was kept. What turns out not to be what was kept is removed, so that nobody takes it for the object any
 * more.
 * @returns undefined when it is not there, or not what was kept
 * @throws GpruneError STORE_FAILED
 */
export async function keptValue(store: Store, object: Digest): Promise<unknown> {
  const value = await store.read(object, (path) => readValue(path, object));
  if (value === undefined) await store.discard(object);
  return value ?? undefined;
}

/** @throws GpruneError STORE_FAILED when it is not there, or not what was kept */
export async function requireValue(store: Store, object: Digest): Promise<unknown> {
  const value = await keptValue(store, object);
  if (value !== undefined) return value;
  throw new GpruneError(
    "STORE_FAILED",
    `${store.name}: expected the object ${object.sha256}, got another one or none`,
    { hint: "Something removed or changed it; repeat the run, which makes again what is missing." },
  );
}

/** The name of the record that says which store it is. */
const IDENTITY = "store";

/** What tells a store from all others, whatever it is called where it is seen from. @throws GpruneError STORE_FAILED */
export async function storeIdentity(store: Store): Promise<string> {
  const known = await store.record(IDENTITY);
  if (known !== null) return known;
  await store.claim(IDENTITY, randomUUID());
  return (await store.record(IDENTITY))!;
}

/** The failure of a store that may be over when it is asked again later. */
export class StoreAway extends GpruneError {}

/** What a system says of a place where the same would fail again, until somebody changes something. */
const LASTING: ReadonlySet<string> = new Set([
  ...["EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG"],
  ...["ENOENT", "EEXIST", "ENOTDIR", "EISDIR", "ELOOP", "ENAMETOOLONG"],
]);

/** The class of errors of stores for a failure. @param code - of the system, if it has one */
export function storeError(code: string | undefined): typeof GpruneError {
  return LASTING.has(code ?? "") ? GpruneError : StoreAway;
}

/**
 * The error of a store that cannot be used; a `StoreAway` when that may be over later.
 * @param type - the class of the error; by what the system says when absent
 */
export function storeFailed(
  name: string,
  cause: unknown,
  type: typeof GpruneError = storeError(codeOf(cause)),
): GpruneError {
  const reason = codeOf(cause) ?? reasonOf(cause);
  return new type("STORE_FAILED", `${name}: expected a store that can be written, got ${reason}`, {
    hint: "All machines need to read and write it: a directory that they share, or s3://BUCKET/PREFIX.",
    cause,
  });
}
