/**
 * Download of one file into the cache: its hash and size are requested first, an interrupted download is continued, the
 * bytes are checked, and only then is the blob linked into the snapshot.
 */
import { GpruneError, hasCode } from "../../errors.ts";
import { kindOfPath } from "../files/file.ts";
import { PartialFile } from "../files/partial_file.ts";
import { type HubRepo, hubName } from "./address.ts";
import { isCommit, isEtag, type RepoCache } from "./cache.ts";
import { type HubClient, MAX_ATTEMPTS, networkError, pauseBefore } from "./client.ts";

/** Identity and size of a file, as the hub reports them. */
export interface RemoteFile {
  readonly file: string;
  readonly commit: string;
  /** SHA-256 of the content for LFS files, the hash of the Git blob for small ones. */
  readonly etag: string;
  /** Bytes. */
  readonly size: number;
}

const SHA256 = /^[0-9a-f]{64}$/;
const SHA1 = /^[0-9a-f]{40}$/;
/** Requests per file; a connection that breaks more often is given up. */
const MAX_REQUESTS = 100;

/** A file to be described. */
export interface Wanted {
  readonly file: string;
  /** The repository's revision when absent. */
  readonly commit?: string;
}

/**
 * Requests a file's commit, hash and size.
 * @throws GpruneError as `HubClient.send`; BAD_FILE when the response lacks them
 */
export async function describeFile(client: HubClient, repo: HubRepo, wanted: Wanted): Promise<RemoteFile> {
  const { file, commit: revision = repo.revision } = wanted;
  const what = `${hubName(repo)}/${file}`;
  const { headers } = await client.send(fileUrl({ ...repo, revision }, file), what, {
    method: "HEAD",
  });
  const etag = unquoted(headers.get("x-linked-etag") ?? headers.get("etag") ?? "");
  const size = Number(headers.get("x-linked-size") ?? headers.get("content-length") ?? Number.NaN);
  const commit = headers.get("x-repo-commit") ?? revision;
  if (isCommit(commit) && isEtag(etag) && Number.isSafeInteger(size) && size >= 0) {
    return { file, commit, etag, size };
  }
  throw new GpruneError("BAD_FILE", `${what}: expected headers with commit, ETag and size, got others`, {
    hint: "Check that HF_ENDPOINT is the address of a hub.",
  });
}

/** `W/"abc"` and `"abc"` as `abc`. */
function unquoted(etag: string): string {
  return etag.replace(/^(?:W\/)?"(.*)"$/, "$1");
}

function fileUrl({ kind, id, revision }: HubRepo, file: string): string {
  const path = file.split("/").map(encodeURIComponent).join("/");
  return `/${kind === "dataset" ? "datasets/" : ""}${id}/resolve/${encodeURIComponent(revision)}/${path}`;
}

/**
 * Downloads a file into the cache unless its blob exists, and links it into the snapshot.
 * @param onSize - called with the bytes of the file present so far
 * @returns its path in the snapshot
 * @throws GpruneError as `HubClient.send`; BAD_FILE when size or hash differ from the announced ones; OUTPUT_FAILED
 */
export async function download(
  { client, repo, cache }: { readonly client: HubClient; readonly repo: HubRepo; readonly cache: RepoCache },
  remote: RemoteFile,
  onSize: (bytes: number) => void,
): Promise<string> {
  const { file, commit, etag, size } = remote;
  if ((await kindOfPath(cache.blob(etag))) !== "file") {
    const partial = await PartialFile.claim(cache.blob(etag));
    try {
      await fill(client, { partial, url: fileUrl({ ...repo, revision: commit }, file), remote, onSize });
    } catch (error) {
      const isDamaged = hasCode(error, "BAD_FILE");
      await (isDamaged ? partial.discard() : partial.giveUp());
      throw error;
    }
    await partial.finish();
  }
  onSize(size);
  return cache.place(etag, commit, file);
}

/** A download in progress. */
interface Transfer {
  readonly partial: PartialFile;
  readonly url: string;
  readonly remote: RemoteFile;
  readonly onSize: (bytes: number) => void;
}

/** Requests the remaining bytes until the file is complete, then checks its hash. */
async function fill(client: HubClient, transfer: Transfer): Promise<void> {
  const { partial, remote } = transfer;
  if (partial.size > remote.size) await partial.restart();
  let fruitless = 0;
  for (let requests = 1; partial.size < remote.size; requests++) {
    const before = partial.size;
    const interruption = await fetchRest(client, transfer);
    if (interruption === null) continue;
    fruitless = partial.size > before ? 0 : fruitless + 1;
    if (fruitless >= MAX_ATTEMPTS || requests >= MAX_REQUESTS) throw interruption;
    await client.pause(pauseBefore(fruitless + 1));
  }
  await requireHash(partial, remote);
}

/** Compares a complete file with its ETag where that is a hash. @throws GpruneError BAD_FILE */
async function requireHash(partial: PartialFile, { file, etag, size }: RemoteFile): Promise<void> {
  const isSha256 = SHA256.test(etag);
  if (!isSha256 && !SHA1.test(etag)) return;
  const got = isSha256 ? partial.sha256() : await partial.sha1(`blob ${size}\0`);
  // A proxy that caches files may send the hash of the bytes alone.
  if (got === etag || (!isSha256 && (await partial.sha1()) === etag)) return;
  throw new GpruneError(
    "BAD_FILE",
    `${file}: expected ${isSha256 ? "SHA-256" : "Git hash"} ${etag}, got ${got}`,
    { hint: "The download was damaged in transfer; try again." },
  );
}

/**
 * Appends the missing bytes from one response.
 * @returns null when the file is complete, or the error that ended the response early
 */
async function fetchRest(
  client: HubClient,
  { partial, url, remote, onSize }: Transfer,
): Promise<GpruneError | null> {
  const start = partial.size;
  const headers: Record<string, string> = start === 0 ? {} : { range: `bytes=${start}-` };
  const answer = await client.send(url, remote.file, { headers, accept: [416] });
  const isPartial =
    answer.status === 206 && answer.headers.get("content-range")?.startsWith(`bytes ${start}-`);
  if (start > 0 && !isPartial) await partial.restart();
  if (answer.status !== 200 && !isPartial) {
    await answer.body?.cancel();
    return networkError(remote.file, new Error(`no data from byte ${start} on`));
  }
  const announced = answer.headers.get("content-length");
  if (announced !== null && partial.size + Number(announced) !== remote.size) {
    await answer.body?.cancel();
    throw wrongSize(remote, partial.size + Number(announced));
  }
  const reader = (answer.body ?? new ReadableStream<Uint8Array>()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause: unknown) => {
        throw networkError(remote.file, cause);
      });
      if (done) break;
      if (partial.size + value.length > remote.size) throw wrongSize(remote, partial.size + value.length);
      await partial.append(value);
      onSize(partial.size);
    }
  } catch (error) {
    await reader.cancel().catch(() => {});
    if (hasCode(error, "NETWORK")) return error;
    throw error;
  }
  if (partial.size === remote.size) return null;
  return networkError(
    remote.file,
    new Error(`the end of the data after ${partial.size} of ${remote.size} bytes`),
  );
}

function wrongSize({ file, size }: RemoteFile, got: number): GpruneError {
  return new GpruneError("BAD_FILE", `${file}: expected ${size} bytes, got ${got}`, {
    hint: "The hub or a proxy may be at fault; try again later.",
  });
}
