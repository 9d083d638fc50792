/**
 * A hub on loopback, and a second server on another port for the storage that requests for large files are redirected
 * to. Both record requests; `faults` makes them misbehave.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import type { HubOptions } from "../src/io/hub/hub.ts";
import { type MockFile, type MockRepo, type Seen, TOKEN } from "./mock_repo.ts";
import { MockUploads } from "./mock_uploads.ts";

/** Faults of the servers, independent of each other. */
export interface Faults {
  /** Statuses of the next answers, in order. */
  statuses: number[];
  /** Headers of those answers. */
  statusHeaders: Record<string, string>;
  /** Byte counts after which the next answers of the storage break off. */
  cutAfter: number[];
  /** Byte counts after which the next answers about repositories break off. */
  cutInfoAfter: number[];
  /** Byte count after which all answers of the storage stall. */
  stallAfter: number | undefined;
  /** Added to every announced size. */
  sizeError: number;
  /** Whether the first byte of files in the storage is wrong. */
  damage: boolean;
  /** Whether ranges are ignored. */
  noRanges: boolean;
  /** Replace values in answers of the hub. */
  etag: string | undefined;
  commit: string | undefined;
  redirect: string | undefined;
}

export const COMMIT: string = "0123456789abcdef".repeat(3).slice(0, 40);

export class MockHub {
  readonly seen: Seen[] = [];
  readonly repos: Map<string, MockRepo> = new Map();
  readonly uploads: MockUploads = new MockUploads(this);
  readonly faults: Faults = noFaults();
  readonly #servers: readonly [Server, Server];
  #urls: readonly [string, string] = ["", ""];

  private constructor() {
    const serverOf = (server: Seen["server"]): Server =>
      createServer((request, response) => {
        void this.#handle(server, request, response);
      });
    this.#servers = [serverOf("hub"), serverOf("storage")];
    // A connection closed just when it is reused would look like a failure.
    for (const server of this.#servers) server.keepAliveTimeout = 0;
  }

  static async start(): Promise<MockHub> {
    const hub = new MockHub();
    const [own, storage] = await Promise.all(hub.#servers.map(listen));
    hub.#urls = [own!, storage!];
    return hub;
  }

  get endpoint(): string {
    return this.#urls[0];
  }

  get storage(): string {
    return this.#urls[1];
  }

  /** Options with which the code under test uses this hub and a cache in `home`, and does not wait. */
  options(home: string, more: Readonly<Record<string, string>> = {}): HubOptions & { pauses: number[] } {
    const pauses: number[] = [];
    const pause = async (milliseconds: number): Promise<void> => void pauses.push(milliseconds);
    return { environment: { HF_ENDPOINT: this.endpoint, HF_HOME: home, ...more }, pause, pauses };
  }

  add(repo: Partial<MockRepo> & Pick<MockRepo, "name" | "files">): void {
    this.repos.set(repo.name, { commit: COMMIT, ...repo });
  }

  /** Forgets requests, repositories and faults. */
  reset(): void {
    this.seen.length = 0;
    this.repos.clear();
    this.uploads.reset();
    Object.assign(this.faults, noFaults());
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#servers.map((server) => {
        server.closeAllConnections();
        return new Promise((resolve) => server.close(resolve));
      }),
    );
  }

  async #handle(server: Seen["server"], request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request).catch(() => null);
    // The client has broken off.
    if (body === null) return;
    const { method = "GET", url = "/", headers } = request;
    const seen = { server, method, path: url, headers, body };
    this.seen.push(seen);
    const status = this.faults.statuses.shift();
    if (status !== undefined) response.writeHead(status, this.faults.statusHeaders).end();
    else if (this.uploads.answers(seen)) this.uploads.answer(seen, response);
    else if (server === "storage") this.#fromStorage(request, response);
    else this.#fromHub(request, response);
  }

  #fromHub(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(request.url ?? "/");
    const info = /^\/api\/((?:models|datasets)\/[^/]+\/[^/]+)\/revision\/(.+)$/.exec(path);
    const file = /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/(refs\/convert\/[^/]+|[^/]+)\/(.+)$/.exec(path);
    const name = info?.[1] ?? (file ? `${file[1] ?? "models/"}${file[2]}` : undefined);
    const repo = this.repos.get(name ?? "");
    const refusal = refusalOf(repo, info?.[2] ?? file?.[3], request);
    if (refusal !== null) refuse(response, refusal);
    else if (file) this.#file(request, response, { repo: repo!, path: file[4]! });
    else this.#info(response, repo!);
  }

  #info(response: ServerResponse, { name, commit, files }: MockRepo): void {
    const body = JSON.stringify({
      id: name.slice(name.indexOf("/") + 1),
      sha: this.faults.commit ?? commit,
      siblings: [...files.keys()].map((rfilename) => ({ rfilename })),
    });
    const cut = this.faults.cutInfoAfter.shift();
    if (cut === undefined) response.end(body);
    else breakOff(response, body.slice(0, cut));
  }

  #file(
    request: IncomingMessage,
    response: ServerResponse,
    { repo, path }: { readonly repo: MockRepo; readonly path: string },
  ): void {
    const file = repo.files.get(path);
    response.setHeader("x-repo-commit", this.faults.commit ?? repo.commit);
    if (file === undefined) {
      refuse(response, { status: 404, code: "EntryNotFound" });
    } else if (file.lfs) {
      response.writeHead(302, {
        location: this.faults.redirect ?? `${this.storage}/${repo.name}/${path}?signature=secret`,
        "x-linked-etag": `"${this.faults.etag ?? etagOf(file)}"`,
        "x-linked-size": String(file.bytes.length + this.faults.sizeError),
      });
      response.end();
    } else {
      response.setHeader("etag", `"${this.faults.etag ?? etagOf(file)}"`);
      this.#send(request, response, { bytes: file.bytes });
    }
  }

  #fromStorage(request: IncomingMessage, response: ServerResponse): void {
    const [kind, org, name, ...path] = (request.url ?? "/").slice(1).split("?")[0]!.split("/");
    const file = this.repos.get(`${kind}/${org}/${name}`)?.files.get(path.join("/"));
    const bytes = Uint8Array.from(file?.bytes ?? []);
    if (this.faults.damage) bytes[0]! ^= 1;
    if (file === undefined) response.writeHead(404).end();
    else this.#send(request, response, { bytes, storage: true });
  }

  #send(
    request: IncomingMessage,
    response: ServerResponse,
    { bytes, storage = false }: { readonly bytes: Uint8Array; readonly storage?: boolean },
  ): void {
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
    const start = range && !this.faults.noRanges ? Number(range[1]) : 0;
    const rest = bytes.subarray(start);
    response.statusCode = start === 0 ? 200 : rest.length > 0 ? 206 : 416;
    if (start > 0) response.setHeader("content-range", `bytes ${start}-${bytes.length - 1}/${bytes.length}`);
    response.setHeader("content-length", rest.length);
    const cut = storage && request.method === "GET" ? this.faults.cutAfter.shift() : undefined;
    const stall = storage ? this.faults.stallAfter : undefined;
    if (request.method === "HEAD") response.end();
    else if (stall !== undefined) response.write(rest.subarray(0, stall));
    else if (cut === undefined) response.end(rest);
    else breakOff(response, rest.subarray(0, cut));
  }
}

/** Sends the beginning of an answer and closes the connection. */
function breakOff(response: ServerResponse, beginning: Uint8Array | string): void {
  response.write(beginning, () => setTimeout(() => response.destroy(), 20));
}

function noFaults(): Faults {
  return {
    statuses: [],
    statusHeaders: {},
    cutAfter: [],
    cutInfoAfter: [],
    stallAfter: undefined,
    sizeError: 0,
    damage: false,
    noRanges: false,
    etag: undefined,
    commit: undefined,
    redirect: undefined,
  };
}

/** ETag of a file: its SHA-256 in LFS, else the SHA-1 of its git blob. */
export function etagOf({ bytes, lfs }: MockFile): string {
  if (lfs) return createHash("sha256").update(bytes).digest("hex");
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

interface Refusal {
  readonly status: number;
  readonly code: string;
}

function refusalOf(
  repo: MockRepo | undefined,
  revision: string | undefined,
  { headers }: IncomingMessage,
): Refusal | null {
  if (repo === undefined) return { status: 404, code: "RepoNotFound" };
  if (repo.gated && headers.authorization !== `Bearer ${TOKEN}`) return { status: 401, code: "GatedRepo" };
  const known = ["main", "refs/convert/parquet", repo.commit].includes(revision ?? "");
  return known ? null : { status: 404, code: "RevisionNotFound" };
}

function refuse(response: ServerResponse, { status, code }: Refusal): void {
  response.writeHead(status, { "x-error-code": code }).end(JSON.stringify({ error: code }));
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
