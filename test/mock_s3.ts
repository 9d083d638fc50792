/** An S3 server on loopback with one bucket: objects by key, conditional puts, and failures on request. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { Readable } from "node:stream";

const BUCKET = "bucket";
export const CREDENTIALS = { AWS_ACCESS_KEY_ID: "key", AWS_SECRET_ACCESS_KEY: "secret" } as const;

export class MockS3 {
  readonly objects: Map<string, Buffer> = new Map();
  /** Headers that came with an object and go with it. */
  readonly #metadata = new Map<string, Map<string, string>>();
  /** Number of next requests that get status 503. */
  failures = 0;
  /** Number of next uploads whose answers are lost. */
  losses = 0;
  /** Number of next downloads that break off in the middle. */
  cuts = 0;
  /** Folder whose downloads never end. */
  endless: "objects/" | "records/" | undefined;
  /** Body of answers with status 404. */
  missing: Buffer = Buffer.from("<Error><Code>NoSuchKey</Code></Error>");
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    server.on("request", (request, response) => void this.#answer(request, response));
  }

  static async start(): Promise<MockS3> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new MockS3(server);
  }

  /** Environment variables for clients of this server. */
  get environment(): Readonly<Record<string, string>> {
    const address = this.#server.address();
    const port = typeof address === "object" ? address!.port : 0;
    return { ...CREDENTIALS, AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}` };
  }

  /** Number of open connections. */
  connections(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.getConnections((error, count) => (error ? reject(error) : resolve(count)));
    });
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = Buffer.concat(await request.toArray());
    if (this.endless !== undefined && request.url!.includes(this.endless))
      return void Readable.from(endlessBytes()).pipe(response);
    const [status, content] = this.#decide(request, body);
    if (request.method === "PUT" && this.losses > 0) {
      this.losses -= 1;
      return void response.destroy();
    }
    if (request.method === "HEAD" && content !== undefined) {
      response.setHeader("content-length", content.length);
      response.setHeaders(this.#metadata.get(keyOf(request)) ?? new Map());
    }
    response.writeHead(status);
    if (request.method === "HEAD" || content === undefined) response.end();
    else if (this.cuts > 0) {
      this.cuts -= 1;
      response.write(content.subarray(0, content.length / 2), () => response.destroy());
    } else response.end(content);
  }

  #decide(request: IncomingMessage, body: Buffer): readonly [number, Buffer?] {
    const { method, url = "", headers } = request;
    if (this.failures > 0) {
      this.failures -= 1;
      return [503];
    }
    const key = keyOf(request);
    if (!headers.authorization?.startsWith("AWS4-HMAC-SHA256 Credential=key/")) return [403];
    if (!url.startsWith(`/${BUCKET}/`)) return [404];
    const known = this.objects.get(key);
    switch (method) {
      case "PUT": {
        const hash = createHash("sha256").update(body).digest("hex");
        if (headers["x-amz-content-sha256"] !== hash) return [400];
        if (headers["if-none-match"] === "*" && known !== undefined) return [412];
        this.objects.set(key, body);
        const kept = Object.entries(headers).filter(([name]) => name.startsWith("x-amz-meta-"));
        this.#metadata.set(key, new Map(kept as [string, string][]));
        return [200];
      }
      case "DELETE":
        this.objects.delete(key);
        return [204];
      default:
        return known === undefined ? [404, this.missing] : [200, known];
    }
  }
}

/** The key of an object in its bucket. */
function keyOf({ url = "" }: IncomingMessage): string {
  return decodeURIComponent(url).split("/").slice(2).join("/");
}

/** An endless stream, slow enough not to fill the disk during a test. */
async function* endlessBytes(): AsyncGenerator<Buffer> {
  for (;;) {
    yield Buffer.alloc(2 ** 15);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
