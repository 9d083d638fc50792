/**
 * The cache of huggingface_hub on the disk, shared with it in both directions:
 *
 *     models--ORG--NAME/blobs/ETAG                 the bytes, once
 *                       snapshots/COMMIT/FILE      a link to them
 *                       refs/REVISION              the commit a branch or tag was at
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
/** A hash in practice; it becomes a file name. */
const ETAG = /^[A-Za-z0-9][A-Za-z0-9_-]{5,127}$/;
const MAX_REF_BYTES = 256;

export function isCommit(text: string): boolean {
  return COMMIT.test(text);
}

export function isEtag(text: string): boolean {
  return ETAG.test(text);
}

/** What the cache holds of one repository. */
export class RepoCache {
  readonly directory: string;

  constructor(cacheDirectory: string, { kind, id }: HubRepo) {
    this.directory = join(cacheDirectory, [`${kind}s`, ...id.split("/")].join("--"));
  }

  /** The directory with the files of a commit. */
  snapshot(commit: string): string {
    return join(this.directory, "snapshots", requireName(commit, isCommit));
  }

  blob(etag: string): string {
    return join(this.directory, "blobs", requireName(etag, isEtag));
  }

  /** Where a file of a commit is; null when it is not there. */
  async find(commit: string, file: string): Promise<string | null> {
    const path = join(this.snapshot(commit), requireName(file, isSafeFile));
    return (await kindOfPath(path)) === "file" ? path : null;
  }

  /** The commit a revision is or was at when it was last asked for; null when that is not known. */
  async commitOf(revision: string): Promise<string | null> {
    if (isCommit(revision)) return revision;
    const path = this.#ref(revision);
    if ((await kindOfPath(path)) !== "file") return null;
    const commit = new TextDecoder().decode(await readSmallFile(path, MAX_REF_BYTES)).trim();
    return isCommit(commit) ? commit : null;
  }

  /** @throws GpruneError OUTPUT_FAILED */
  async remember(revision: string, commit: string): Promise<void> {
    if (isCommit(revision) || (await this.commitOf(revision)) === commit) return;
    await writeFileAtomically(this.#ref(revision), commit);
  }

  /**
   * Makes a blob a file of a commit, in place of a link that may be there.
   * @throws GpruneError OUTPUT_FAILED
   */
  async place(etag: string, commit: string, file: string): Promise<string> {
    const blob = this.blob(etag);
    const path = join(this.snapshot(commit), requireName(file, isSafeFile));
    const temporary = `${path}.${randomBytes(4).toString("hex")}.tmp`;
    try {
      await mkdir(dirname(path), { recursive: true });
      await symlink(relative(dirname(path), blob), temporary).catch((cause: unknown) => {
        // Windows asks for a privilege that many do not have.
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
