/**
 * The on-disk cache of huggingface_hub; either program reads what the other downloaded:
 *
 *     models--ORG--NAME/blobs/ETAG                 file contents, stored once
 *                       snapshots/COMMIT/FILE      a link to a blob
 *                       refs/REVISION              the commit that a branch or tag pointed to
 */
import { randomBytes } from "node:crypto";
import { link, mkdir, rename, rm, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { internalError } from "../../errors.ts";
import { kindOfPath, readSmallFile } from "../files/file.ts";
import { writeFileAtomically } from "../files/output_directory.ts";
import { errnoOf, outputFailed } from "../files/output_file.ts";
import { type HubRepo, isSafeFile } from "./address.ts";

const COMMIT = /^[0-9a-f]{40}$/;
/** A hash in practice. It becomes the file name of a blob. */
const ETAG = /^[A-Za-z0-9][A-Za-z0-9_-]{5,127}$/;
const MAX_REF_BYTES = 256;

/** Whether a text is a full commit hash, 40 hexadecimal digits. */
export function isCommit(text: string): boolean {
  return COMMIT.test(text);
}

/** Whether an ETag is safe as the file name of a blob. */
export function isEtag(text: string): boolean {
  return ETAG.test(text);
}

/** The part of the cache that belongs to one repository. */
export class RepoCache {
  readonly directory: string;

  constructor(cacheDirectory: string, { kind, id }: HubRepo) {
    this.directory = join(cacheDirectory, [`${kind}s`, ...id.split("/")].join("--"));
  }

  /** The directory with the files of a commit. */
  snapshot(commit: string): string {
    return join(this.directory, "snapshots", requireName(commit, isCommit));
  }

  /** The path of a blob, present or not. */
  blob(etag: string): string {
    return join(this.directory, "blobs", requireName(etag, isEtag));
  }

  /** The path of a cached file of a commit; null when it is not cached. */
  async find(commit: string, file: string): Promise<string | null> {
    const path = join(this.snapshot(commit), requireName(file, isSafeFile));
    return (await kindOfPath(path)) === "file" ? path : null;
  }

  /** The commit that a revision pointed to at the last download; null when none is recorded. A commit is its own. */
  async commitOf(revision: string): Promise<string | null> {
    if (isCommit(revision)) return revision;
    const path = this.#ref(revision);
    if ((await kindOfPath(path)) !== "file") return null;
    const commit = new TextDecoder().decode(await readSmallFile(path, MAX_REF_BYTES)).trim();
    return isCommit(commit) ? commit : null;
  }

  /** Records the commit that a branch or tag points to. @throws GpruneError OUTPUT_FAILED */
  async remember(revision: string, commit: string): Promise<void> {
    if (isCommit(revision) || (await this.commitOf(revision)) === commit) return;
    await writeFileAtomically(this.#ref(revision), commit);
  }

  /**
   * Links a blob into the snapshot of a commit, replacing an existing link.
   * @returns the path of the link
   * @throws GpruneError OUTPUT_FAILED
   */
  async place(etag: string, commit: string, file: string): Promise<string> {
    const blob = this.blob(etag);
    const path = join(this.snapshot(commit), requireName(file, isSafeFile));
    const temporary = `${path}.${randomBytes(4).toString("hex")}.tmp`;
    try {
      await mkdir(dirname(path), { recursive: true });
      await symlink(relative(dirname(path), blob), temporary).catch((cause: unknown) => {
        // Symbolic links on Windows need a privilege that most users lack.
        if (errnoOf(cause) !== "EPERM") throw cause;
        return link(blob, temporary);
      });
      await rename(temporary, path);
    } catch (cause) {
      await rm(temporary, { force: true });
      throw outputFailed(path, cause);
    }
    return path;
  }

  #ref(revision: string): string {
    return join(this.directory, "refs", requireName(revision, isSafeFile));
  }
}

/** The last guard before a name becomes a path; callers have refused bad names with a better message. */
function requireName(name: string, isGood: (name: string) => boolean): string {
  if (isGood(name)) return name;
  throw internalError(`expected a name for the cache, got ${JSON.stringify(name)}`);
}
