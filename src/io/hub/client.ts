/**
 * HTTP requests to the hub. Redirects are followed by hand, so that the token is sent to the endpoint and nowhere else;
 * transient failures are retried with exponential backoff; other failures become errors with a hint.
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
  /** A stream is created anew for every attempt. */
  readonly body?: string | (() => ReadableStream<Uint8Array>);
  /** Statuses besides 2xx that are returned instead of thrown. */
  readonly accept?: readonly number[];
}

/** Options of a hub client. */
export interface HubClientOptions {
  /** Sleeps between attempts; tests replace it to avoid waiting. */
  readonly pause?: (milliseconds: number) => Promise<unknown>;
}

/** What the token of a client must allow. */
export type HubAccess = "read" | "write";

/** A request, and what becomes of its answer. */
interface Exchange<T> {
  readonly request: HubRequest;
  readonly read: (answer: Response) => Promise<T>;
}

/** What comes of an attempt: a result, or an error and the milliseconds before the next one, the usual if undefined. */
type Outcome<T> = { readonly result: T } | { readonly error: GpruneError; readonly wait: number | undefined };

/** Wait of failures that do not pass. */
const NEVER = Number.POSITIVE_INFINITY;
/** Attempts per request. */
export const MAX_ATTEMPTS = 4;
/** Milliseconds before the second attempt; doubled before each further one. */
const FIRST_PAUSE = 500;
/** Milliseconds. When the hub asks for a longer wait, the request fails at once. */
const MAX_PAUSE = 60_000;
const MAX_REDIRECTS = 5;
/** Milliseconds until the response headers of a request without a body. */
const ANSWER_TIMEOUT = 60_000;
/** The longest known file list of a model has a few hundred KiB. */
const MAX_JSON_BYTES = 2 ** 25;

/** Statuses after which a retry may succeed. */
const TRANSIENT: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);

/** A client of one endpoint. */
export class HubClient {
  readonly settings: HubSettings;
  readonly pause: (milliseconds: number) => Promise<unknown>;
  readonly #access: HubAccess;

  /** @param options - `access`, for the hints of refusals: "read" when absent */
  constructor(
    settings: HubSettings,
    { pause = sleep, access = "read" }: HubClientOptions & { readonly access?: HubAccess } = {},
  ) {
    this.settings = settings;
    this.pause = pause;
    this.#access = access;
  }

  /**
   * Sends a request, with retries.
   * @param url - below the endpoint (`/api/...`) or absolute
   * @param what - the requested thing, for messages
   * @throws GpruneError FORBIDDEN, NOT_FOUND, NETWORK when the hub cannot be reached or keeps failing, BAD_FILE for a
   *   redirect that is not followed, and any GpruneError of the body
   */
  async send(url: string, what: string, request: HubRequest = {}): Promise<Response> {
    return this.#retried(url, what, { request, read: async (answer) => answer });
  }

  /**
   * Sends a request and parses the response. A GET whose answer breaks off is sent again; other requests may have had
   * their effect.
   * @throws GpruneError as `send` and `readJson`
   */
  async json(url: string, what: string, request: HubRequest = {}): Promise<unknown> {
    const read = (answer: Response): Promise<unknown> => readJson(answer, what);
    const { method = "GET" } = request;
    return method === "GET"
      ? this.#retried(url, what, { request, read })
      : read(await this.send(url, what, request));
  }

  /** What `read` makes of the answer; failures that may pass are retried. */
  async #retried<T>(url: string, what: string, exchange: Exchange<T>): Promise<T> {
    const target = new URL(url.startsWith("/") ? this.settings.endpoint + url : url);
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#attempt(target, what, exchange);
      if ("result" in outcome) return outcome.result;
      const { error, wait = pauseBefore(attempt) } = outcome;
      if (wait > MAX_PAUSE || attempt >= MAX_ATTEMPTS) throw error;
      await this.pause(wait);
    }
  }

  async #attempt<T>(target: URL, what: string, { request, read }: Exchange<T>): Promise<Outcome<T>> {
    try {
      const answer = await this.#follow(target, request);
      const { ok, status } = answer;
      const isHeadRedirect = request.method === "HEAD" && status >= 300 && status < 400;
      if (ok || isHeadRedirect || request.accept?.includes(status)) return { result: await read(answer) };
      await answer.body?.cancel();
      const wait = TRANSIENT.has(status) ? retryAfter(answer) : NEVER;
      return { error: this.#refusal(answer, what), wait };
    } catch (cause) {
      const error = networkError(what, cause);
      return { error, wait: error.code === "NETWORK" ? undefined : NEVER };
    }
  }

  async #follow(start: URL, { method = "GET", headers = {}, body }: HubRequest): Promise<Response> {
    const { endpoint, token } = this.settings;
    let url = start;
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      const sendsToken = token !== undefined && url.origin === new URL(endpoint).origin;
      const answer = await fetchAnswer(url, {
        method,
        headers: {
          "accept-encoding": "identity",
          "user-agent": userAgent(),
          ...(sendsToken && { authorization: `Bearer ${token}` }),
          ...(url.origin === start.origin ? headers : withoutAuthorization(headers)),
        },
        ...(body !== undefined && { body: typeof body === "string" ? body : body() }),
      });
      const location = answer.status >= 300 && answer.status < 400 ? answer.headers.get("location") : null;
      if (location === null) return answer;
      const next = nextUrl(location, url);
      // The redirect itself carries the headers that describe the file; the storage behind it does not.
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
    const { code, hint } = this.#explain(status, reason);
    const got = reason === "" ? `HTTP status ${status}` : `HTTP status ${status} (${reason.slice(0, 40)})`;
    const message = `${what}: expected an answer from ${new URL(this.settings.endpoint).host}, got ${got}`;
    return new GpruneError(code, message, { hint });
  }

  /** The error code and hint of a status and the hub's `x-error-code`. */
  #explain(
    status: number,
    reason: string,
  ): { readonly code: "FORBIDDEN" | "NOT_FOUND" | "NETWORK"; readonly hint: string } {
    if (this.#access === "write" && (status === 401 || status === 403)) {
      const hint =
        "Your token may not write there: set HF_TOKEN to a valid token with write access to that user or " +
        "organisation, or choose another name.";
      return { code: "FORBIDDEN", hint };
    }
    const fixToken =
      this.settings.token === undefined
        ? `set HF_TOKEN to a token with ${this.#access} access`
        : `check that your token has ${this.#access} access`;
    if (reason === "GatedRepo" || status === 403) {
      const hint = `It may be gated: accept its licence on its hub page, then ${fixToken}.`;
      return { code: "FORBIDDEN", hint };
    }
    if (reason === "RepoNotFound") {
      return { code: "NOT_FOUND", hint: `Check the name; if it is private, ${fixToken}.` };
    }
    if (status === 401) {
      return {
        code: "FORBIDDEN",
        hint: `If it is gated, accept its licence on its hub page; then ${fixToken}.`,
      };
    }
    if (status === 404) return { code: "NOT_FOUND", hint: "Check the name, the revision and the file." };
    if (status === 429)
      return { code: "NETWORK", hint: "The hub limits the rate of requests; try again later." };
    return { code: "NETWORK", hint: "Try again later." };
  }
}

/** One request without redirects. The timeout covers the wait for the response headers, not the response body. */
async function fetchAnswer(url: URL, init: RequestInit): Promise<Response> {
  const controller = new AbortController();
  const isStream = init.body !== undefined && typeof init.body !== "string";
  // An upload may take any time.
  const timer =
    init.body === undefined ? setTimeout(() => controller.abort(timeout()), ANSWER_TIMEOUT) : undefined;
  try {
    const duplex = isStream && { duplex: "half" as const };
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
 * Checks a URL in a response of the hub.
 * @param endpoint - the base of a relative URL
 * @throws GpruneError BAD_FILE for protocols other than http(s), and for a downgrade from https to http
 */
export function safeUrl(address: string, endpoint: string): string {
  return nextUrl(address, new URL(endpoint)).href;
}

/** The target of a redirect. @throws GpruneError BAD_FILE as `safeUrl` */
function nextUrl(location: string, from: URL): URL {
  const url = URL.canParse(location, from.href) ? new URL(location, from) : null;
  const allowed = from.protocol === "https:" ? ["https:"] : ["http:", "https:"];
  if (url !== null && allowed.includes(url.protocol)) return url;
  throw new GpruneError(
    "BAD_FILE",
    `${from.host}: expected an address with ${allowed.join(" or ")}, got another one`,
  );
}

/** Parses a response as JSON. @throws GpruneError BAD_FILE for invalid or too much JSON, NETWORK */
export async function readJson(answer: Response, what: string): Promise<unknown> {
  const bytes = await readLimited(answer, what);
  return parseJson(bytes, { where: what, maxBytes: MAX_JSON_BYTES, maxDepth: MAX_JSON_DEPTH });
}

/** A response body of at most `MAX_JSON_BYTES`. */
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

/** Error NETWORK for a failed `fetch`; a `GpruneError`, also one of the body that was sent, is returned unchanged. */
export function networkError(what: string, cause: unknown): GpruneError {
  if (cause instanceof GpruneError) return cause;
  const inner = cause instanceof Error ? cause.cause : undefined;
  if (inner instanceof GpruneError) return inner;
  const reason = codeOf(inner) ?? reasonOf(cause);
  return new GpruneError("NETWORK", `${what}: expected an answer from the hub, got ${reason}`, {
    hint: "Check the network and HF_ENDPOINT; with HF_HUB_OFFLINE=1 only the cache is used.",
    cause,
  });
}

/** Milliseconds to wait after a failed attempt, from 1. */
export function pauseBefore(attempt: number): number {
  return FIRST_PAUSE * 2 ** (attempt - 1);
}

/** Milliseconds of the `retry-after` header, which holds seconds or a date; undefined when there is none. */
function retryAfter({ headers }: Response): number | undefined {
  const text = headers.get("retry-after");
  if (text === null) return undefined;
  const milliseconds = /^\d+(\.\d+)?$/.test(text) ? 1000 * Number(text) : Date.parse(text) - Date.now();
  return Number.isNaN(milliseconds) ? undefined : Math.max(0, milliseconds);
}
