/** Endpoint, cache and token of the hub, from the environment variables of huggingface_hub. */
import { homedir } from "node:os";
import { join } from "node:path";
import { badArgument } from "../../base/arguments.ts";
import { kindOfPath, readSmallFile } from "../files/file.ts";
import { expandHome } from "../files/home.ts";

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Settings of the hub. */
export interface HubSettings {
  /** URL without a trailing slash. */
  readonly endpoint: string;
  /** Parent of `models--ORG--NAME`, ... */
  readonly cacheDirectory: string;
  /** Sent to the endpoint only, and never part of a message. */
  readonly token: string | undefined;
  /** Whether only the cache may be used. */
  readonly offline: boolean;
}

const DEFAULT_ENDPOINT = "https://huggingface.co";
const MAX_TOKEN_BYTES = 4096;
const YES: ReadonlySet<string> = new Set(["1", "on", "yes", "true"]);

/**
 * Reads HF_ENDPOINT, HF_HUB_CACHE (before it HUGGINGFACE_HUB_CACHE), HF_HOME, XDG_CACHE_HOME, HF_TOKEN, HF_TOKEN_PATH
 * and HF_HUB_OFFLINE, with the precedence and defaults of huggingface_hub. An empty variable counts as absent.
 * @throws GpruneError BAD_ARGUMENT for a malformed endpoint or token, without showing the token
 */
export async function hubSettings(environment: Environment): Promise<HubSettings> {
  const get = (name: string): string | undefined => environment[name]?.trim() || undefined;
  const cacheHome = get("XDG_CACHE_HOME") ?? join(homedir(), ".cache");
  const home = expandHome(get("HF_HOME") ?? join(cacheHome, "huggingface"));
  return {
    endpoint: parseEndpoint(get("HF_ENDPOINT") ?? DEFAULT_ENDPOINT),
    cacheDirectory: expandHome(get("HF_HUB_CACHE") ?? get("HUGGINGFACE_HUB_CACHE") ?? join(home, "hub")),
    token: checkToken(get("HF_TOKEN") ?? (await storedToken(get("HF_TOKEN_PATH") ?? join(home, "token")))),
    offline: YES.has(get("HF_HUB_OFFLINE")?.toLowerCase() ?? ""),
  };
}

/** Refuses a URL with a password, which would show up in messages. */
function parseEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const isPlain = url && `${url.username}${url.password}${url.search}${url.hash}` === "";
  if (isPlain && ["http:", "https:"].includes(url.protocol)) return url.href.replace(/\/+$/, "");
  throw badArgument("HF_ENDPOINT", "http(s)://HOST[/PATH]", "another form");
}

async function storedToken(path: string): Promise<string | undefined> {
  const file = expandHome(path);
  if ((await kindOfPath(file)) !== "file") return undefined;
  return new TextDecoder().decode(await readSmallFile(file, MAX_TOKEN_BYTES)).trim() || undefined;
}

/** Refuses what is no header value: the error of `fetch` would quote it. */
function checkToken(token: string | undefined): string | undefined {
  if (token === undefined || /^[\x21-\x7e]+$/.test(token)) return token;
  throw badArgument("HF_TOKEN", "ASCII characters without spaces", "others");
}
