/**
 * Git LFS pointers: small text files that stand in for large files when a repository, often one of the hub, was cloned
 * without git-lfs.
 *
 * Format: docs/spec.md of git-lfs/git-lfs.
 */
import { GpruneError } from "../../errors.ts";
import type { PositionalFile } from "./file.ts";

const FIRST_LINE = Buffer.from("version https://git-lfs.github.com/spec/v1");
/** Pointers are shorter, by their specification. */
const MAX_BYTES = 1024;

/** Whether the content of a file is a Git LFS pointer. */
export function isLfsPointer(bytes: Uint8Array): boolean {
  return bytes.length < MAX_BYTES && FIRST_LINE.equals(bytes.subarray(0, FIRST_LINE.length));
}

/**
 * Refuses the content of a Git LFS pointer.
 * @param expected - the kind of file expected, for the message
 * @throws GpruneError BAD_FILE for a pointer
 */
export function refuseLfsPointer(
  bytes: Uint8Array,
  { where, expected }: { readonly where: string; readonly expected: string },
): void {
  if (!isLfsPointer(bytes)) return;
  throw new GpruneError("BAD_FILE", `${where}: expected ${expected}, got a Git LFS pointer`, {
    hint: "The file itself was not downloaded: run `git lfs pull` in its directory.",
  });
}

/** Refuses an open file that is a Git LFS pointer. @throws GpruneError BAD_FILE as `refuseLfsPointer` */
export async function refuseLfsPointerFile(file: PositionalFile, expected: string): Promise<void> {
  if (file.size >= MAX_BYTES) return;
  refuseLfsPointer(await file.read(0, file.size), { where: file.path, expected });
}
