/**
 * Pointers of Git LFS: what lies in the place of a large file where a repository was cloned without git-lfs, as those
 * of the hub often are.
 *
 * Format: docs/spec.md of git-lfs/git-lfs.
 */
import { GpruneError } from "../../errors.ts";
import type { PositionalFile } from "./file.ts";

const FIRST_LINE = Buffer.from("version https://git-lfs.github.com/spec/v1");
/** A pointer has less, by its specification. */
const MAX_BYTES = 1024;

/**
 * @param expected - what the file should have been
 * @throws GpruneError BAD_FILE for a pointer
 */
export function refuseLfsPointer(
  bytes: Uint8Array,
  { where, expected }: { readonly where: string; readonly expected: string },
): void {
  if (bytes.length >= MAX_BYTES || !FIRST_LINE.equals(bytes.subarray(0, FIRST_LINE.length))) return;
  throw new GpruneError("BAD_FILE", `${where}: expected ${expected}, got a Git LFS pointer`, {
    hint: "The file itself is not there: run `git lfs pull` in its directory.",
  });
}

/** The same of an open file. */
export async function refuseLfsPointerFile(file: PositionalFile, expected: string): Promise<void> {
  if (file.size >= MAX_BYTES) return;
  refuseLfsPointer(await file.read(0, file.size), { where: file.path, expected });
}
