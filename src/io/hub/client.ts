/**
 * Requests to the hub: redirects followed by hand, so that the token goes to the endpoint and nowhere else; a few
 * retries with growing pauses; failures as errors that say what to do.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { versions } from "../../base/package.ts";
import { codeOf, GpruneError, reasonOf } from "../../errors.ts";
import { MAX_JSON_DEPTH, parseJson } from "../files/json.ts";
import type { HubSettings } from "./settings.ts";

/** A request; header names in lower case. */
export interface HubRequest {
  readonly method?: "GET" | "HEAD" | "POST" | "PUT";
  readonly headers?: Readonly<Record<string, string>>;
  /** Made anew for every attempt when it is a stream. */
  readonly body?: string | (() => ReadableStream<Uint8Array>);
  /** Answers besides 2xx that are handed back instead of thrown. */
  readonly accept?: readonly number[];
}

/** How requests that fail for the moment are repeated. */
export interface HubClientOptions {
  /** Waits between attempts; tests do not wait. */
  readonly pause?: (milliseconds: number) => Promise<unknown>;
}

/** Attempts at one request. */
export const MAX_ATTEMPTS = 4;
/** Milliseconds before the second attempt; doubled before each further one. */
const FIRST_PAUSE = 500;
/** A longer wait than this that the hub asks for is reported to the user at once. */
const MAX_PAUSE = 60_000;
const MAX_REDIRECTS = 5;
/** Milliseconds until the answer to a request without a body begins. */
const ANSWER_TIMEOUT = 60_000;
/** The longest known list of a model's files has a few hundred KiB. */
const MAX_JSON_BYTES = 2 ** 25;

const TEMPORARY: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);

/** Speaks to one endpoint. */
export class HubClient {
  readonly settings: HubSettings;
  readonly pause: (milliseconds: number) => Promise<unknown>;

  constructor(settings: HubSettings, { pause = sleep }: HubClientOptions = {}) {
    this.settings = settings;
    this.pause = pause;
  }

  /**
   * @param url - below the endpoint (`/api/...`) or absolute
   * @param what - the thing asked for, for messages
   * @throws GpruneError FORBIDDEN, NOT_FOUND, or NETWORK when the hub cannot be reached or keeps failing
   */
  async send(url: string, what: string, request: HubRequest = {}): Promise<Response> {
    const target = new URL(url.startsWith("/") ? this.settings.endpoint + url : url);
    for (let attempt = 1; ; attempt++) {
      const answer = await this.#follow(target, request).catch((cause: unknown) => networkError(what, cause));
      if (answer instanceof GpruneError) {
        if (attempt >= MAX_ATTEMPTS || answer.code !== "NETWORK") throw answer;
        await this.pause(pauseBefore(attempt));
        continue;
      }
      const described = request.method === "HEAD" && answer.status >= 300 && answer.status < 400;
      if (answer.ok || described || request.accept?.includes(answer.status)) return answer;
      await answer.body?.cancel();
      const wait = TEMPORARY.has(answer.status)
        ? (retryAfter(answer) ?? pauseBefore(attempt))
        : MAX_PAUSE + 1;
      if (attempt >= MAX_ATTEMPTS || wait > MAX_PAUSE) throw this.#refusal(answer, what);
      await this.pause(wait);
    }
  }

  /** A JSON answer, under limits. @throws GpruneError as `send`, BAD_FILE for what is no JSON or too large */
  async json(url: string, what: string, request: HubRequest = {}): Promise<unknown> {
    return readJson(await this.send(url, what, request), what);
  }

  async #follow(start: URL, { method = "GET", headers = {}, body }: HubRequest): Promise<Response> {
    const { endpoint, token } = this.settings;
    let url = start;
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      const ownToken = token !== undefined && url.origin === new URL(endpoint).origin;
      const answer = await fetchAnswer(url, {
        method,
        headers: {
          "accept-encoding": "identity",
          "user-agent": userAgent(),
          ...(ownToken && { authorization: `Bearer ${token}` }),
          ...(url.origin === start.origin ? headers : withoutAuthorization(headers)),
        },
        ...(body !== undefined && { body: typeof body === "string" ? body : body() }),
      });
      const location = answer.status >= 300 && answer.status < 400 ? answer.headers.get("location") : null;
      if (location === null) return answer;
      const next = nextUrl(location, url);
      // The headers that describe a file come from the hub, with the redirect to where its bytes are.
      if (method === "HEAD" && next.origin !== url.origin) return answer;
      await answer.body?.cancel();
      url = next;
    }
    throw new GpruneError(
      "BAD_FILE",
      `${start.pathname}: expected at most ${MAX_REDIRECTS} redirects, got more`,
    );
  }

  #refusal(answer: Response, what: string): GpruneError {
    const { status, headers } = answer;
    const reason = headers.get("x-error-code") ?? "";
    const known = this.#knownRefusal(status, reason);
    const got = reason === "" ? `HTTP status ${status}` : `HTTP status ${status} (${reason.slice(0, 40)})`;
    const message = `${what}: expected an answer from ${new URL(this.settings.endpoint).host}, got ${got}`;
    return new GpruneError(known.code, message, { hint: known.hint });
  }

  #knownRefusal(
    status: number,
    reason: string,
  ): { readonly code: "FORBIDDEN" | "NOT_FOUND" | "NETWORK"; readonly hint: string } {
    const who =
      this.settings.token === undefined
        ? "set HF_TOKEN to a token that may read it"
        : "check that your token may read it";
    if (reason === "GatedRepo" || status === 403) {
      const hint = `It may be gated: accept its licence on its page at the hub, then ${who}.`;
      return { code: "FORBIDDEN", hint };
    }
    if (reason === "RepoNotFound") {
      return { code: "NOT_FOUND", hint: `Check the name; if it is private, ${who}.` };
    }
    if (status === 401) {
      return { code: "FORBIDDEN", hint: `If it is gated, accept its licence at the hub; then ${who}.` };
    }
    if (status === 404) return { code: "NOT_FOUND", hint: "Check the name, the revision and the file." };
    if (status === 429)
      return { code: "NETWORK", hint: "The hub limits how often you may ask; try again later." };
    return { code: "NETWORK", hint: "Try again later." };
  }
}

/** One request without redirects. Only the wait for the answer's head is limited here, not its body. */
async function fetchAnswer(url: URL, init: RequestInit): Promise<Response> {
  const controller = new AbortController();
  const streams = init.body !== undefined && typeof init.body !== "string";
  // A body may take any time to send.
  const timer =
    init.body === undefined ? setTimeout(() => controller.abort(timeout()), ANSWER_TIMEOUT) : undefined;
  try {
    const duplex = streams && { duplex: "half" as const };
    return await fetch(url, { ...init, ...duplex, redirect: "manual", signal: controller.signal });
  } finally {
    clearTimeout(timer);
  }
}

function timeout(): Error {
  return new Error(`no answer in ${ANSWER_TIMEOUT / 1000} seconds`);
}

function withoutAuthorization(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => name.toLowerCase() !== "authorization"),
  );
}

function userAgent(): string {
  const { gprune, node } = versions();
  return `gprune/${gprune}; node/${node}`;
}

/**
 * An address that the hub gives us.
 * @param endpoint - where it came from
 * @throws GpruneError BAD_FILE for other protocols than http(s), and for http from https
 */
export function safeUrl(address: string, endpoint: string): string {
  return nextUrl(address, new URL(endpoint)).href;
}

/** Where a redirect leads. */
function nextUrl(location: string, from: URL): URL {
  const url = URL.canParse(location, from.href) ? new URL(location, from) : null;
  const allowed = from.protocol === "https:" ? ["https:"] : ["http:", "https:"];
  if (url !== null && allowed.includes(url.protocol)) return url;
  throw new GpruneError(
    "BAD_FILE",
    `${from.host}: expected an address with ${allowed.join(" or ")}, got another`,
  );
}

/** An answer's JSON, under limits. @throws GpruneError BAD_FILE for what is no JSON or too large, NETWORK */
export async function readJson(answer: Response, what: string): Promise<unknown> {
  const bytes = await readLimited(answer, what);
  return parseJson(bytes, { where: what, maxBytes: MAX_JSON_BYTES, maxDepth: MAX_JSON_DEPTH });
}

/** An answer's body of at most MAX_JSON_BYTES. */
async function readLimited(answer: Response, what: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of answer.body ?? []) {
      size += chunk.length;
      if (size > MAX_JSON_BYTES) {
        throw new GpruneError(
          "BAD_FILE",
          `${what}: expected at most ${MAX_JSON_BYTES} bytes of JSON, got more`,
        );
      }
      chunks.push(chunk);
    }
  } catch (cause) {
    throw networkError(what, cause);
  }
  return Buffer.concat(chunks);
}

/** What a failed `fetch` means; a `GpruneError` is handed back as it is. */
export function networkError(what: string, cause: unknown): GpruneError {
  if (cause instanceof GpruneError) return cause;
  const inner = cause instanceof Error ? cause.cause : undefined;
  const reason = codeOf(inner) ?? reasonOf(cause);
  return new GpruneError("NETWORK", `${what}: expected to reach the hub, got ${reason}`, {
    hint: "Check the network and HF_ENDPOINT; with HF_HUB_OFFLINE=1 only the cache is used.",
    cause,
  });
}

/** Milliseconds before the attempt after this one. */
export function pauseBefore(attempt: number): number {
  return FIRST_PAUSE * 2 ** (attempt - 1);
}

/** Milliseconds that the hub asks to wait; undefined when it does not say. */
function retryAfter({ headers }: Response): number | undefined {
  const text = headers.get("retry-after");
  if (text === null) return undefined;
  const milliseconds = /^\d+(\.\d+)?$/.test(text) ? 1000 * Number(text) : Date.parse(text) - Date.now();
  return Number.isNaN(milliseconds) ? undefined : Math.max(0, milliseconds);
}
