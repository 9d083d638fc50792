/** Uploads of the mock hub: repositories, branches, Git LFS and commits. */
import { createHash } from "node:crypto";
import type { ServerResponse } from "node:http";
import { type MockFile, type MockRepo, type Seen, TOKEN } from "./mock_repo.ts";

/** The parts of the hub that uploads need. */
interface Hub {
  readonly repos: Map<string, MockRepo>;
  readonly endpoint: string;
  readonly storage: string;
}

type Handler = (
  match: readonly string[],
  seen: Seen,
) => { readonly status?: number; readonly body?: unknown };

export class MockUploads {
  /** Complete large files by SHA-256. */
  readonly stored: Map<string, Buffer> = new Map();
  /** Requests to create a repository. */
  readonly created: unknown[] = [];
  readonly branches: string[] = [];
  readonly verified: string[] = [];
  /** Bytes of a part; undefined for uploads in one piece. */
  partSize: number | undefined;
  /** Number of next parts that are refused. */
  failures = 0;
  /** Replaces upload addresses of the storage. */
  href: string | undefined;
  readonly #parts = new Map<string, Buffer>();
  readonly #hub: Hub;
  readonly #routes: readonly (readonly [RegExp, Handler])[];

  constructor(hub: Hub) {
    this.#hub = hub;
    this.#routes = [
      [/^GET hub \/api\/models\/([^/]+\/[^/]+)$/, ([id]) => this.#state(id!)],
      [/^POST hub \/api\/repos\/create$/, (_, seen) => this.#create(seen)],
      [/^POST hub \/api\/models\/([^/]+\/[^/]+)\/branch\/(.+)$/, ([, branch]) => this.#branch(branch!)],
      [/^POST hub \/api\/models\/[^/]+\/[^/]+\/preupload\/.+$/, (_, seen) => preupload(seen)],
      [/^POST hub \/[^/]+\/[^/]+\.git\/info\/lfs\/objects\/batch$/, (_, seen) => this.#batch(seen)],
      [/^PUT storage \/lfs\/([0-9a-f]{64})$/, ([oid], seen) => this.#store(oid!, seen.body)],
      [/^PUT storage \/lfs\/([0-9a-f]{64}\/\d+)$/, ([part], seen) => this.#part(part!, seen.body)],
      [/^POST hub \/complete\/([0-9a-f]{64})$/, ([oid], seen) => this.#complete(oid!, seen)],
      [/^POST hub \/verify$/, (_, seen) => this.#verify(seen)],
      [/^POST hub \/api\/models\/([^/]+\/[^/]+)\/commit\/(.+)$/, ([id], seen) => this.#commit(id!, seen)],
    ];
  }

  reset(): void {
    this.stored.clear();
    this.#parts.clear();
    for (const list of [this.created, this.branches, this.verified]) list.length = 0;
    this.partSize = undefined;
    this.failures = 0;
    this.href = undefined;
  }

  answers(seen: Seen): boolean {
    return this.#routes.some(([route]) => route.test(lineOf(seen)));
  }

  answer(seen: Seen, response: ServerResponse): void {
    const [route, handler] = this.#routes.find(([pattern]) => pattern.test(lineOf(seen)))!;
    if (seen.server === "hub" && seen.headers.authorization !== `Bearer ${TOKEN}`) {
      response.writeHead(401).end();
      return;
    }
    const { status = 200, body } = handler(route.exec(lineOf(seen))!.slice(1), seen);
    response.writeHead(status, { etag: `"${createHash("sha1").update(seen.body).digest("hex")}"` });
    response.end(body === undefined ? "" : JSON.stringify(body));
  }

  #state(id: string): ReturnType<Handler> {
    const repo = this.#hub.repos.get(`models/${id}`);
    return repo ? { body: { id, private: repo.private ?? false } } : { status: 404 };
  }

  #create(seen: Seen): ReturnType<Handler> {
    const request = jsonOf(seen) as { organization: string; name: string; visibility?: string };
    const name = `models/${request.organization}/${request.name}`;
    this.created.push(request);
    if (this.#hub.repos.has(name)) return { status: 409 };
    const commit = "0".repeat(40);
    this.#hub.repos.set(name, { name, commit, files: new Map(), private: request.visibility === "private" });
    return { body: { url: name } };
  }

  #branch(branch: string): ReturnType<Handler> {
    const status = this.branches.includes(branch) ? 409 : 200;
    this.branches.push(branch);
    return { status };
  }

  #batch(seen: Seen): ReturnType<Handler> {
    const { objects } = jsonOf(seen) as { objects: readonly { oid: string; size: number }[] };
    const replies = objects.map(({ oid, size }) => {
      if (this.stored.has(oid)) return { oid, size };
      const verify = { href: `${this.#hub.endpoint}/verify` };
      return { oid, size, actions: { upload: this.#uploadOf(oid, size), verify } };
    });
    return { body: { objects: replies } };
  }

  #uploadOf(oid: string, size: number): unknown {
    const href = this.href ?? `${this.#hub.storage}/lfs/${oid}`;
    if (this.partSize === undefined) return { href, header: { "x-storage": "yes" } };
    const parts = Array.from({ length: Math.ceil(size / this.partSize) }, (_, i) => {
      return [String(i + 1).padStart(5, "0"), `${href}/${i + 1}`] as const;
    });
    const header = { chunk_size: String(this.partSize), ...Object.fromEntries(parts) };
    return { href: `${this.#hub.endpoint}/complete/${oid}`, header };
  }

  #store(oid: string, bytes: Buffer): ReturnType<Handler> {
    const right = createHash("sha256").update(bytes).digest("hex") === oid;
    if (right) this.stored.set(oid, bytes);
    return { status: right ? 200 : 422 };
  }

  #part(part: string, bytes: Buffer): ReturnType<Handler> {
    if (this.failures-- > 0) return { status: 503 };
    this.#parts.set(part, bytes);
    return {};
  }

  #complete(oid: string, seen: Seen): ReturnType<Handler> {
    const { parts } = jsonOf(seen) as { parts: readonly { partNumber: number; etag: string }[] };
    if (parts.some(({ etag }) => etag === "")) return { status: 400 };
    return this.#store(
      oid,
      Buffer.concat(parts.map(({ partNumber }) => this.#parts.get(`${oid}/${partNumber}`)!)),
    );
  }

  #verify(seen: Seen): ReturnType<Handler> {
    const { oid } = jsonOf(seen) as { oid: string };
    this.verified.push(oid);
    return { status: this.stored.has(oid) ? 200 : 404 };
  }

  /** Applies a commit to the repository; files that it does not name stay. */
  #commit(id: string, seen: Seen): ReturnType<Handler> {
    const repo = this.#hub.repos.get(`models/${id}`)!;
    const files = new Map<string, MockFile>(repo.files);
    const lines = seen.body.toString().trimEnd().split("\n");
    for (const line of lines) {
      const { key, value } = JSON.parse(line) as CommitLine;
      if (key === "file") files.set(value.path, { bytes: Buffer.from(value.content, "base64") });
      else if (key === "lfsFile") files.set(value.path, { bytes: this.stored.get(value.oid)!, lfs: true });
    }
    const commit = createHash("sha1").update(seen.body).digest("hex");
    this.#hub.repos.set(repo.name, { ...repo, commit, files });
    return { body: { commitOid: commit, commitUrl: `${this.#hub.endpoint}/${id}/commit/${commit}` } };
  }
}

interface CommitLine {
  readonly key: string;
  readonly value: { readonly path: string; readonly content: string; readonly oid: string };
}

/** Upload modes: LFS for weights and files above 10 kB. */
function preupload(seen: Seen): ReturnType<Handler> {
  const { files } = jsonOf(seen) as { files: readonly { path: string; size: number }[] };
  const modes = files.map(({ path, size }) => ({
    path,
    shouldIgnore: false,
    uploadMode: size > 10_000 || path.endsWith(".safetensors") ? "lfs" : "regular",
  }));
  return { body: { files: modes } };
}

function jsonOf({ body }: Seen): unknown {
  return JSON.parse(body.toString());
}

function lineOf({ method, server, path }: Seen): string {
  return `${method} ${server} ${decodeURIComponent(path)}`;
}
