/**
 * Upload of large files to the storage behind the hub, by the batch API of Git LFS: its basic transfer, and the hub's
 * multipart transfer. https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
 */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { PositionalFile } from "../files/file.ts";
import { type HubRepo, hubName } from "./address.ts";
import { type HubClient, safeUrl } from "./client.ts";

/** A file to be uploaded to the storage. */
export interface LargeFile {
  readonly path: string;
  readonly file: PositionalFile;
  /** SHA-256, hexadecimal. */
  readonly oid: string;
}

const LFS_JSON = { accept: "application/vnd.git-lfs+json", "content-type": "application/vnd.git-lfs+json" };
/** Bytes read at a time. */
const READ_BYTES = 2 ** 20;

const action = z.object({ href: z.string(), header: z.record(z.string(), z.string()).optional() });
const batch = z.object({
  objects: z.array(
    z.object({
      oid: z.string(),
      actions: z.object({ upload: action.optional(), verify: action.optional() }).nullish(),
      error: z.object({ message: z.string() }).optional(),
    }),
  ),
});
type Action = z.infer<typeof action>;

/** Called with the bytes of all files uploaded so far, and the current file. */
type OnBytes = (done: number, path: string) => void;

/**
 * Uploads the files that the storage does not have.
 * @throws GpruneError FORBIDDEN, NETWORK; BAD_FILE when a response breaks the protocol
 */
export async function uploadLarge(
  { client, repo }: { readonly client: HubClient; readonly repo: HubRepo },
  files: readonly LargeFile[],
  onBytes: OnBytes,
): Promise<void> {
  if (files.length === 0) return;
  const what = hubName(repo);
  const objects = files.map(({ oid, file }) => ({ oid, size: file.size }));
  const body = { operation: "upload", transfers: ["basic", "multipart"], hash_algo: "sha256", objects };
  const answer = await client.json(`/${repo.id}.git/info/lfs/objects/batch`, what, {
    method: "POST",
    headers: LFS_JSON,
    body: JSON.stringify({ ...body, ref: { name: repo.revision } }),
  });
  const replies = batch.safeParse(answer);
  let uploaded = 0;
  for (const large of files) {
    const reply = replies.data?.objects.find(({ oid }) => oid === large.oid);
    if (reply === undefined || reply.error !== undefined) {
      const got = reply?.error?.message ?? "no answer about it";
      throw new GpruneError("BAD_FILE", `${large.path}: expected an upload address for ${what}, got ${got}`);
    }
    const { upload, verify } = reply.actions ?? {};
    const before = uploaded;
    if (upload)
      await uploadOne(client, { large, upload, onBytes: (bytes) => onBytes(before + bytes, large.path) });
    if (verify) await confirm(client, { large, verify });
    uploaded += large.file.size;
    onBytes(uploaded, large.path);
  }
}

interface Upload {
  readonly large: LargeFile;
  readonly upload: Action;
  readonly onBytes: (done: number) => void;
}

async function uploadOne(client: HubClient, request: Upload): Promise<void> {
  const { large, upload, onBytes } = request;
  const { chunk_size: chunkSize, ...headers } = upload.header ?? {};
  if (chunkSize !== undefined) return uploadParts(client, request, Number(chunkSize));
  await put(client, { large, href: upload.href, headers, span: [0, large.file.size], onBytes });
}

/** Multipart transfer: the header maps part numbers, from 1, to upload URLs. */
async function uploadParts(
  client: HubClient,
  { large, upload, onBytes }: Upload,
  chunkSize: number,
): Promise<void> {
  const { path, file, oid } = large;
  const partUrls = Object.entries(upload.header ?? {})
    .filter(([name]) => /^\d+$/.test(name))
    .sort(([a], [b]) => Number(a) - Number(b));
  const coversFile =
    Number.isSafeInteger(chunkSize) && chunkSize > 0 && Math.ceil(file.size / chunkSize) === partUrls.length;
  if (!coversFile) {
    throw new GpruneError(
      "BAD_FILE",
      `${path}: expected parts for ${file.size} bytes, got ${partUrls.length}`,
    );
  }
  const parts: { partNumber: number; etag: string }[] = [];
  for (const [index, [number, href]] of partUrls.entries()) {
    const start = index * chunkSize;
    const span = [start, Math.min(file.size, start + chunkSize)] as const;
    const answer = await put(client, {
      large,
      href,
      headers: {},
      span,
      onBytes: (bytes) => onBytes(start + bytes),
    });
    parts.push({ partNumber: Number(number), etag: answer.headers.get("etag") ?? "" });
  }
  const body = JSON.stringify({ oid, parts });
  await client.send(safeUrl(upload.href, client.settings.endpoint), path, {
    method: "POST",
    headers: LFS_JSON,
    body,
  });
}

interface Put {
  readonly large: LargeFile;
  readonly href: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Bytes to send: start inclusive, end exclusive. */
  readonly span: readonly [number, number];
  readonly onBytes: (done: number) => void;
}

async function put(client: HubClient, { large, href, headers, span, onBytes }: Put): Promise<Response> {
  const [start, end] = span;
  return client.send(safeUrl(href, client.settings.endpoint), large.path, {
    method: "PUT",
    // Storages reject bodies of unknown length.
    headers: { ...headers, "content-length": String(end - start) },
    body: () => streamOf(large.file, span, onBytes),
  });
}

async function confirm(
  client: HubClient,
  { large, verify }: { readonly large: LargeFile; readonly verify: Action },
): Promise<void> {
  await client.send(safeUrl(verify.href, client.settings.endpoint), large.path, {
    method: "POST",
    headers: { ...LFS_JSON, ...verify.header },
    body: JSON.stringify({ oid: large.oid, size: large.file.size }),
  });
}

function streamOf(
  file: PositionalFile,
  [start, end]: readonly [number, number],
  onBytes: (done: number) => void,
): ReadableStream<Uint8Array> {
  let next = start;
  return new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      const length = Math.min(READ_BYTES, end - next);
      if (length > 0) controller.enqueue(await file.read(next, length));
      next += length;
      onBytes(next - start);
      if (next >= end) controller.close();
    },
  });
}
