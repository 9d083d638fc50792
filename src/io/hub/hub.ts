/**
 * Models and files of the hub as local paths: from the cache where it has them, also when the hub cannot be reached,
 * else downloaded. Only the needed files are fetched.
 */
import { z } from "zod";
import { firstFew, namesText } from "../../base/lists.ts";
import { type OnProgress, silent } from "../../base/progress.ts";
import { GpruneError, hasCode } from "../../errors.ts";
import { INDEX_FILE, SINGLE_FILE, shardNames } from "../formats/safetensors_shards.ts";
import { type HubAddress, hubName, isSafeFile } from "./address.ts";
import { RepoCache } from "./cache.ts";
import { HubClient, type HubClientOptions } from "./client.ts";
import { describeFile, download, type RemoteFile } from "./download.ts";
import { type Environment, hubSettings } from "./settings.ts";

/** Access to the Hugging Face hub: endpoint, token and cache come from environment variables such as HF_ENDPOINT. */
export interface HubOptions extends HubClientOptions {
  /** Variables such as HF_HOME; `process.env` when absent. */
  readonly environment?: Environment | undefined;
  readonly onProgress?: OnProgress | undefined;
}

const CONFIG = "config.json";
/** Files that one pattern may match. */
const MAX_MATCHES = 64;

/** File names, and patterns of file names. */
type WantedFiles = readonly (string | RegExp)[];

/** The fields of the hub's repository info that are read; the others are dropped. */
const repoInfo = z.object({
  sha: z.string().regex(/^[0-9a-f]{40}$/),
  siblings: z.array(z.object({ rfilename: z.string() })),
});

/** A repository with the client and the cache that reach it. */
interface Access {
  readonly client: HubClient;
  readonly repo: HubAddress;
  readonly cache: RepoCache;
  readonly onProgress: OnProgress;
}

async function openAccess(
  repo: HubAddress,
  { environment = process.env, onProgress = silent, ...clientOptions }: HubOptions,
): Promise<Access> {
  const settings = await hubSettings(environment);
  const cache = new RepoCache(settings.cacheDirectory, repo);
  return { client: new HubClient(settings, clientOptions), repo, cache, onProgress };
}

/**
 * The local path of one file of a repository.
 * @throws GpruneError NOT_FOUND, FORBIDDEN, NETWORK, BAD_FILE, OUTPUT_FAILED; with HF_HUB_OFFLINE, NOT_FOUND when
 *   the file is not cached; BAD_ARGUMENT for a malformed HF_ENDPOINT or token
 */
export async function hubFile(
  address: HubAddress & { readonly file: string },
  options: HubOptions = {},
): Promise<string> {
  const access = await openAccess(address, options);
  const { client, cache } = access;
  const commit = await cache.commitOf(address.revision);
  const cached = commit === null ? null : await cache.find(commit, address.file);
  if (cached !== null && (client.settings.offline || commit === address.revision)) return cached;
  if (client.settings.offline) throw notCached(access, [address.file]);
  const remote = await describeFile(client, address, { file: address.file }).catch(fallBackTo(cached));
  if (typeof remote === "string") return remote;
  const [path] = await downloadAll(access, [remote]);
  await cache.remember(address.revision, remote.commit);
  return path!;
}

/**
 * A directory with a model's configuration and weights, and those of `files` that the repository has.
 * @param files - the first is one that nearly every model has: a cached snapshot without it may be incomplete, fetched
 *   by another program; a pattern selects up to `MAX_MATCHES` files
 * @throws GpruneError as `hubFile`; UNSUPPORTED when the repository has no safetensors
 */
export async function hubModelDirectory(
  address: HubAddress,
  files: WantedFiles,
  options: HubOptions = {},
): Promise<string> {
  const access = await openAccess(address, options);
  const { client, cache } = access;
  const commit = await cache.commitOf(address.revision);
  const missing = commit === null ? [CONFIG, SINGLE_FILE] : await missingFiles(cache, commit);
  const cached = commit !== null && missing.length === 0 ? cache.snapshot(commit) : null;
  if (cached !== null && client.settings.offline) return cached;
  if (cached !== null && commit === address.revision && (await hasFirst(cache, commit, files))) return cached;
  if (client.settings.offline) throw notCached(access, missing);
  const info = await requestRepoInfo(access).catch(fallBackTo(cached));
  if (typeof info === "string") return info;
  await fetchModel(access, info, files);
  await cache.remember(address.revision, info.sha);
  return cache.snapshot(info.sha);
}

async function hasFirst(cache: RepoCache, commit: string, [first]: WantedFiles): Promise<boolean> {
  return typeof first !== "string" || (await cache.find(commit, first)) !== null;
}

/** Handler of a failed request: the cached path, if any, when the hub cannot be reached. */
function fallBackTo(cached: string | null): (error: unknown) => string {
  return (error) => {
    if (cached !== null && hasCode(error, "NETWORK")) return cached;
    throw error;
  };
}

async function requestRepoInfo({ client, repo }: Access): Promise<z.infer<typeof repoInfo>> {
  const url = `/api/${repo.kind}s/${repo.id}/revision/${encodeURIComponent(repo.revision)}`;
  const result = repoInfo.safeParse(await client.json(url, hubName(repo)));
  if (result.success) return result.data;
  throw new GpruneError(
    "BAD_FILE",
    `${hubName(repo)}: expected a commit and a list of files, got something else`,
    {
      hint: "Check that HF_ENDPOINT is the address of a hub.",
      cause: result.error,
    },
  );
}

/**
 * Downloads the files of a model, weights last, so that a snapshot with weights is complete. Names in the hub's file
 * list are only compared with known names; one that matches a pattern must also be safe as a path.
 */
async function fetchModel(
  access: Access,
  { sha, siblings }: z.infer<typeof repoInfo>,
  files: WantedFiles,
): Promise<void> {
  const names = new Set(siblings.map(({ rfilename }) => rfilename));
  const weights = [SINGLE_FILE, INDEX_FILE].find((name) => names.has(name));
  if (!names.has(CONFIG) || weights === undefined) throw noCheckpoint(access, names);
  const wanted = [CONFIG, ...files.flatMap((file) => matchesOf(file, names)), weights];
  await downloadAll(access, await describeMissing(access, sha, wanted));
  if (weights === SINGLE_FILE) return;
  const index = await access.cache.find(sha, INDEX_FILE);
  await downloadAll(access, await describeMissing(access, sha, await shardNames(index!)));
}

/** The names in a repository that a wanted file stands for. */
function matchesOf(file: string | RegExp, names: ReadonlySet<string>): readonly string[] {
  if (typeof file === "string") return names.has(file) ? [file] : [];
  return [...names]
    .filter((name) => file.test(name) && isSafeFile(name))
    .sort()
    .slice(0, MAX_MATCHES);
}

/** Descriptions of the files that the cached snapshot of a commit lacks. */
async function describeMissing(
  { client, repo, cache }: Access,
  commit: string,
  files: readonly string[],
): Promise<readonly RemoteFile[]> {
  const found = await eachInTurn(files, (file) => cache.find(commit, file));
  const missing = files.filter((_, i) => found[i] === null);
  return eachInTurn(missing, (file) => describeFile(client, repo, { file, commit }));
}

function noCheckpoint({ repo }: Access, names: ReadonlySet<string>): GpruneError {
  const gguf = [...names].filter((name) => name.endsWith(".gguf"));
  if (gguf.length > 0) {
    return new GpruneError(
      "NOT_FOUND",
      `${hubName(repo)}: expected ${CONFIG} and safetensors, got GGUF files`,
      {
        hint: `Choose one: ${firstFew(gguf.map((name) => `${hubName(repo)}/${name}`)).join(", ")}.`,
      },
    );
  }
  const missing = names.has(CONFIG) ? `${SINGLE_FILE} or ${INDEX_FILE}` : CONFIG;
  return new GpruneError(
    "UNSUPPORTED",
    `${hubName(repo)}: expected ${missing}, got a repository without it`,
    {
      hint: "gprune reads safetensors and GGUF; look for a conversion of this model.",
    },
  );
}

/** Downloads files one after the other, as one stage of progress. @returns their paths in the snapshot */
async function downloadAll(access: Access, files: readonly RemoteFile[]): Promise<readonly string[]> {
  const { repo, onProgress } = access;
  const total = files.reduce((sum, { size }) => sum + size, 0);
  let before = 0;
  return eachInTurn(files, async (remote) => {
    const onSize = (bytes: number): void =>
      onProgress({
        stage: `download ${repo.id}`,
        done: before + bytes,
        total,
        unit: "bytes",
        detail: remote.file,
      });
    const path = await download(access, remote, onSize);
    before += remote.size;
    return path;
  });
}

async function eachInTurn<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<readonly R[]> {
  const results: R[] = [];
  for (const item of items) results.push(await work(item));
  return results;
}

/** Configuration and weight files that a cached snapshot lacks. */
async function missingFiles(cache: RepoCache, commit: string): Promise<readonly string[]> {
  const has = async (name: string): Promise<boolean> => (await cache.find(commit, name)) !== null;
  const config = (await has(CONFIG)) ? [] : [CONFIG];
  if (await has(SINGLE_FILE)) return config;
  const index = await cache.find(commit, INDEX_FILE);
  const shards = index === null ? [SINGLE_FILE] : await shardNames(index);
  const found = await eachInTurn(shards, has);
  return [...config, ...shards.filter((_, i) => !found[i])];
}

function notCached({ repo, cache }: Access, missing: readonly string[]): GpruneError {
  return new GpruneError(
    "NOT_FOUND",
    `${hubName(repo)}: expected ${namesText(missing)} in ${cache.directory}, got none`,
    {
      hint: "HF_HUB_OFFLINE is set; unset it to download, or point HF_HOME or HF_HUB_CACHE to a cache that has it.",
    },
  );
}
