/**
 * A store in an S3 bucket, of Amazon or a compatible server. The signature of a request covers the hash of its body, so
 * the server rejects a body that was damaged in transit.
 *
 * Credentials and region come from the variables of the AWS command line: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
 * AWS_SESSION_TOKEN, AWS_REGION; AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL names another server.
 */
import { randomUUID } from "node:crypto";
import { mkdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AwsClient } from "aws4fetch";
import { badArgument } from "../../base/arguments.ts";
import { getOrMake } from "../../base/map_values.ts";
import { GpruneError } from "../../errors.ts";
import { OutputFile, outputFailed } from "../files/output_file.ts";
import type { Digest } from "../files/stage_file.ts";
import { sha256Hex } from "./sha256.ts";
import { MAX_RECORD, type Store, storeFailed } from "./store.ts";

/** `process.env` or a part of it. */
type Environment = Readonly<Record<string, string | undefined>>;

const ADDRESS =
  /^s3:\/\/(?<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(?<prefix>[\w-][\w.-]*(?:\/[\w-][\w.-]*)*))?\/?$/;
/** Bytes of one upload; Node reads no larger file at once. */
const MAX_OBJECT_BYTES = 2 ** 31 - 1;
/** Attempts per request. */
const MAX_ATTEMPTS = 5;
/** Metadata of a record: who claimed it. */
const OWNER = "x-amz-meta-owner";
/** Milliseconds before the second attempt; doubled before each further one. */
const PAUSE_MS = 200;
/** Statuses after which a retry may succeed. */
const TRANSIENT: ReadonlySet<number> = new Set([408, 409, 429, 500, 502, 503, 504]);

interface S3Request {
  readonly method: "GET" | "HEAD" | "PUT" | "DELETE";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array<ArrayBuffer>;
}

/** Which responses succeed, and how their bodies are read. */
interface Handling<T> {
  /** Statuses besides 2xx that are returned instead of thrown. */
  readonly accept?: readonly number[];
  /** Reads the body of a 2xx response; called again for a new response when the body breaks off. */
  readonly readBody?: (answer: Response) => Promise<T>;
}

interface Answer<T> {
  readonly status: number;
  readonly headers: Headers;
  /** The result of `readBody`. */
  readonly content?: T;
}

/** Location of a store. */
interface Place {
  readonly client: AwsClient;
  /** URL of the bucket and the prefix. */
  readonly root: string;
  readonly scratch: string;
}

/** A failure that a retry would not change. */
class PermanentFailure extends Error {}

export class S3Store implements Store {
  readonly name: string;
  readonly #client: AwsClient;
  /** URL of the bucket and the prefix. */
  readonly #root: string;
  readonly #scratch: string;
  /** Owners of claims that have no answer yet: one that is repeated after a failure is the same claim. */
  readonly #unanswered = new Map<string, string>();

  private constructor(name: string, { client, root, scratch }: Place) {
    this.name = name;
    this.#root = root;
    this.#client = client;
    this.#scratch = scratch;
  }

  /**
   * @param address - `s3://BUCKET[/PREFIX]`
   * @param scratch - a local directory for objects in transit, created when it is first needed
   * @throws GpruneError BAD_ARGUMENT for a malformed address or without credentials; STORE_FAILED when the bucket
   *   cannot be reached
   */
  static async open(
    address: string,
    environment: Environment = process.env,
    scratch: string = tmpdir(),
  ): Promise<S3Store> {
    const { bucket, prefix = "" } = ADDRESS.exec(address)?.groups ?? {};
    if (bucket === undefined) throw badArgument("store", "s3://BUCKET[/PREFIX]", address);
    const client = createClient(environment);
    const root = `${bucketUrl(bucket, environment)}${prefix === "" ? "" : `/${prefix}`}`;
    const store = new S3Store(address, { client, root, scratch });
    await store.record("store");
    return store;
  }

  async keep(fill: (path: string) => Promise<Digest>): Promise<Digest> {
    const path = await this.#scratchPath();
    try {
      const digest = await fill(path);
      if (digest.bytes > MAX_OBJECT_BYTES) {
        throw new GpruneError(
          "STORE_FAILED",
          `${this.name}: expected objects below 2 GiB, got ${digest.bytes} bytes`,
          {
            hint: "Use shorter windows (--seq-len), or a directory as the store (--store).",
          },
        );
      }
      const body = await readFile(path);
      const headers = { "x-amz-content-sha256": digest.sha256 };
      await this.#send(objectPath(digest), { method: "PUT", headers, body });
      return digest;
    } finally {
      await rm(path, { force: true });
    }
  }

  async read<T>(object: Digest, use: (path: string) => Promise<T>): Promise<T | null> {
    const path = await this.#scratchPath();
    try {
      if (!(await this.#download(objectPath(object), path))) return null;
      return await use(path);
    } finally {
      await rm(path, { force: true });
    }
  }

  async has(object: Digest): Promise<boolean> {
    const answer = await this.#send(objectPath(object), { method: "HEAD" }, { accept: [404] });
    return answer.status !== 404 && answer.headers.get("content-length") === String(object.bytes);
  }

  async discard(object: Digest): Promise<void> {
    await this.#send(objectPath(object), { method: "DELETE" }, { accept: [404] });
  }

  async claim(name: string, text: string): Promise<boolean> {
    const body = new TextEncoder().encode(text);
    const sha256 = sha256Hex(body);
    const key = `records/${name}`;
    const claim = `${key} ${sha256}`;
    const owner = getOrMake(this.#unanswered, claim, randomUUID);
    const headers = { "if-none-match": "*", "x-amz-content-sha256": sha256, [OWNER]: owner };
    const { status } = await this.#send(key, { method: "PUT", headers, body }, { accept: [412] });
    // The record may come from an earlier attempt, whose answer was lost.
    const isOwn = status !== 412 || (await this.#ownerOf(key)) === owner;
    this.#unanswered.delete(claim);
    return isOwn;
  }

  async #ownerOf(key: string): Promise<string | null> {
    const { headers } = await this.#send(key, { method: "HEAD" }, { accept: [404] });
    return headers.get(OWNER);
  }

  async record(name: string): Promise<string | null> {
    const { content } = await this.#send(
      `records/${name}`,
      { method: "GET" },
      { accept: [404], readBody: readRecord },
    );
    return content ?? null;
  }

  async forget(name: string): Promise<void> {
    await this.#send(`records/${name}`, { method: "DELETE" }, { accept: [404] });
  }

  /**
   * Downloads an object to a local file.
   * @returns false when there is none
   * @throws GpruneError STORE_FAILED, or OUTPUT_FAILED when the file cannot be written
   */
  async #download(key: string, path: string): Promise<boolean> {
    const readBody = async ({ body }: Response): Promise<void> => {
      // What a download that broke off has left.
      await rm(path, { force: true });
      const file = await OutputFile.create(path);
      try {
        for await (const piece of body!) await file.write(piece);
      } finally {
        await file.close();
      }
    };
    const { status } = await this.#send(key, { method: "GET" }, { accept: [404], readBody });
    return status !== 404;
  }

  /** A local path for an object in transit. @throws GpruneError OUTPUT_FAILED when there is no place for it */
  async #scratchPath(): Promise<string> {
    await mkdir(this.#scratch, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
      throw outputFailed(this.#scratch, error);
    });
    return join(this.#scratch, `gprune-store-${randomUUID()}`);
  }

  /** Sends a request, with retries, and reads the response. @throws GpruneError STORE_FAILED; those of `readBody` */
  async #send<T = never>(
    key: string,
    request: S3Request,
    { accept = [], readBody }: Handling<T> = {},
  ): Promise<Answer<T>> {
    for (let attempt = 1; ; attempt++) {
      try {
        const answer = await this.#client.fetch(`${this.#root}/${key}`, request as RequestInit);
        const { status, headers, ok } = answer;
        if (ok && readBody !== undefined) return { status, headers, content: await readBody(answer) };
        // An unread body keeps its connection open.
        await discard(answer);
        if (ok || accept.includes(status)) return { status, headers };
        throw TRANSIENT.has(status)
          ? new Error(`status ${status}`)
          : new PermanentFailure(`status ${status}`);
      } catch (error) {
        // This machine's failure, not the bucket's.
        if (error instanceof GpruneError) throw error;
        if (error instanceof PermanentFailure) throw storeFailed(this.name, error, GpruneError);
        if (attempt === MAX_ATTEMPTS) throw storeFailed(this.name, causeOf(error));
        await pause(attempt);
      }
    }
  }
}

/** @throws GpruneError BAD_ARGUMENT without credentials */
function createClient(environment: Environment): AwsClient {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = environment;
  if (!accessKeyId || !secretAccessKey) {
    throw new GpruneError(
      "BAD_ARGUMENT",
      "store: expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, got none",
      {
        hint: "Set the environment variables of the AWS command line to use a bucket as the store.",
      },
    );
  }
  const sessionToken = environment.AWS_SESSION_TOKEN;
  return new AwsClient({
    accessKeyId,
    secretAccessKey,
    ...(sessionToken && { sessionToken }),
    service: "s3",
    region: regionOf(environment),
    // Retries are made in `#send`.
    retries: 0,
  });
}

function bucketUrl(bucket: string, environment: Environment): string {
  const endpoint = environment.AWS_ENDPOINT_URL_S3 || environment.AWS_ENDPOINT_URL;
  if (endpoint) return `${endpoint.replace(/\/$/, "")}/${bucket}`;
  return `https://${bucket}.s3.${regionOf(environment)}.amazonaws.com`;
}

function regionOf(environment: Environment): string {
  return environment.AWS_REGION || environment.AWS_DEFAULT_REGION || "us-east-1";
}

function objectPath({ sha256 }: Digest): string {
  return `objects/${sha256.slice(0, 2)}/${sha256}`;
}

/** The text of a record of at most `MAX_RECORD` bytes. Malformed text is for the reader of the record to refuse. */
async function readRecord({ body }: Response): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of body ?? []) {
    bytes += piece.length;
    if (bytes > MAX_RECORD) throw new PermanentFailure(`a record of more than ${MAX_RECORD} bytes`);
    pieces.push(piece);
  }
  return new TextDecoder().decode(Buffer.concat(pieces));
}

/** The cause of an error of `fetch`, whose own message only says that it failed. */
function causeOf(error: unknown): unknown {
  return (error instanceof Error && error.cause) || error;
}

/** Cancels a body, and ignores the error of one that broke off. */
async function discard({ body }: Response): Promise<void> {
  await body?.cancel().catch(() => {});
}

function pause(attempt: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, PAUSE_MS * 2 ** (attempt - 1)));
}
