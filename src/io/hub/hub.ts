/**
 * Models and files of the hub as local paths: downloaded when the cache does not have them, taken from it when it does
 * or when the hub is out of reach. Only the files that are needed are fetched.
 */
import { z } from "zod";
import { firstFew, namesText } from "../../base/lists.ts";
import { type OnProgress, silent } from "../../base/progress.ts";
import { GpruneError } from "../../errors.ts";
import { INDEX_FILE, SINGLE_FILE, shardNames } from "../formats/safetensors_shards.ts";
import { type HubAddress, hubName, isSafeFile } from "./address.ts";
import { RepoCache } from "./cache.ts";
import { HubClient, type HubClientOptions } from "./client.ts";
import { describeFile, download, type RemoteFile } from "./download.ts";
import { type Environment, hubSettings } from "./settings.ts";

/** How the Hugging Face hub is asked: endpoint, token and cache come from variables such as HF_ENDPOINT. */
export interface HubOptions extends HubClientOptions {
  /** Where HF_HOME and the others are looked up; the process's own variables when absent. */
  readonly environment?: Environment | undefined;
  readonly onProgress?: OnProgress | undefined;
}

const CONFIG = "config.json";
/** Files that one pattern stands for. */
const MAX_MATCHES = 64;

/** Names, and patterns of names. */
type WantedFiles = readonly (string | RegExp)[];

/** What the hub says of a repository; everything else it says is dropped. */
const repoInfo = z.object({
  sha: z.string().regex(/^[0-9a-f]{40}$/),
  siblings: z.array(z.object({ rfilename: z.string() })),
});

/** One repository, its cache and who asks for it. */
interface Access {
  readonly client: HubClient;
  readonly repo: HubAddress;
  readonly cache: RepoCache;
  readonly onProgress: OnProgress;
}

async function accessTo(
  repo: HubAddress,
  { environment = process.env, onProgress = silent, ...rest }: HubOptions,
): Promise<Access> {
  const settings = await hubSettings(environment);
  const cache = new RepoCache(settings.cacheDirectory, repo);
  return { client: new HubClient(settings, rest), repo, cache, onProgress };
}

/**
 * The path of one file of a repository.
 * @throws GpruneError NOT_FOUND, FORBIDDEN, NETWORK, BAD_FILE, OUTPUT_FAILED; with HF_HUB_OFFLINE NOT_FOUND when the
 *   cache does not have it
 */
export async function hubFile(
  address: HubAddress & { readonly file: string },
  options: HubOptions = {},
): Promise<string> {
  const access = await accessTo(address, options);
  const { client, cache } = access;
  const commit = await cache.commitOf(address.revision);
  const cached = commit === null ? null : await cache.find(commit, address.file);
  if (cached !== null && (client.settings.offline || commit === address.revision)) return cached;
  if (client.settings.offline) throw notCached(access, [address.file]);
  const remote = await describeFile(client, address, { file: address.file }).catch(fallback(cached));
  if (typeof remote === "string") return remote;
  const [path] = await downloadAll(access, [remote]);
  await cache.remember(address.revision, remote.commit);
  return path!;
}

/**
 * A directory with the configuration and the weights of a model and those of `files` that it has.
 * @param files - first the one that nearly every model has: without it, a snapshot may be what another program needed;
 *   patterns stand for all files of such names, up to `MAX_MATCHES` each
 * @throws GpruneError as `hubFile`; UNSUPPORTED when the repository has no safetensors
 */
export async function hubModelDirectory(
  address: HubAddress,
  files: WantedFiles,
  options: HubOptions = {},
): Promise<string> {
  const access = await accessTo(address, options);
  const { client, cache } = access;
  const commit = await cache.commitOf(address.revision);
  const missing = commit === null ? [CONFIG, SINGLE_FILE] : await missingFiles(cache, commit);
  const cached = commit !== null && missing.length === 0 ? cache.snapshot(commit) : null;
  if (cached !== null && client.settings.offline) return cached;
  if (cached !== null && commit === address.revision && (await hasFirst(cache, commit, files))) return cached;
  if (client.settings.offline) throw notCached(access, missing);
  const info = await askForRepo(access).catch(fallback(cached));
  if (typeof info === "string") return info;
  await fetchModel(access, info, files);
  await cache.remember(address.revision, info.sha);
  return cache.snapshot(info.sha);
}

async function hasFirst(cache: RepoCache, commit: string, [first]: WantedFiles): Promise<boolean> {
  return typeof first !== "string" || (await cache.find(commit, first)) !== null;
}

/** Without the network what is in the cache will do. */
function fallback(cached: string | null): (error: unknown) => string {
  return (error) => {
    if (cached !== null && error instanceof GpruneError && error.code === "NETWORK") return cached;
    throw error;
  };
}

async function askForRepo({ client, repo }: Access): Promise<z.infer<typeof repoInfo>> {
  const url = `/api/${repo.kind}s/${repo.id}/revision/${encodeURIComponent(repo.revision)}`;
  const result = repoInfo.safeParse(await client.json(url, hubName(repo)));
  if (result.success) return result.data;
  throw new GpruneError(
    "BAD_FILE",
    `${hubName(repo)}: expected a commit and a list of files, got something else`,
    {
      hint: "Is HF_ENDPOINT a hub?",
      cause: result.error,
    },
  );
}

/**
 * Weights come last, so that a snapshot with weights has everything. Names of the hub's list are only compared; one
 * that matches a pattern must be safe as a path, too.
 */
async function fetchModel(
  access: Access,
  { sha, siblings }: z.infer<typeof repoInfo>,
  files: WantedFiles,
): Promise<void> {
  const names = new Set(siblings.map(({ rfilename }) => rfilename));
  const weights = [SINGLE_FILE, INDEX_FILE].find((name) => names.has(name));
  if (!names.has(CONFIG) || weights === undefined) throw noCheckpoint(access, names);
  const wanted = [CONFIG, ...files.flatMap((file) => namesOf(file, names)), weights];
  await downloadAll(access, await describeMissing(access, sha, wanted));
  if (weights === SINGLE_FILE) return;
  const index = await access.cache.find(sha, INDEX_FILE);
  await downloadAll(access, await describeMissing(access, sha, await shardNames(index!)));
}

function namesOf(file: string | RegExp, names: ReadonlySet<string>): readonly string[] {
  if (typeof file === "string") return names.has(file) ? [file] : [];
  return [...names]
    .filter((name) => file.test(name) && isSafeFile(name))
    .sort()
    .slice(0, MAX_MATCHES);
}

/** The files that the snapshot of a commit does not have yet. */
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
        hint: `Name one: ${firstFew(gguf.map((name) => `${hubName(repo)}/${name}`)).join(", ")}.`,
      },
    );
  }
  const missing = names.has(CONFIG) ? `${SINGLE_FILE} or ${INDEX_FILE}` : CONFIG;
  return new GpruneError("UNSUPPORTED", `${hubName(repo)}: expected ${missing}, got a repository without`, {
    hint: "gprune reads safetensors and GGUF; look for a conversion of this model.",
  });
}

/** Downloads one file after the other, as one stage of progress. */
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
    const path = await download(access, remote, { onSize });
    before += remote.size;
    return path;
  });
}

async function eachInTurn<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<readonly R[]> {
  const results: R[] = [];
  for (const item of items) results.push(await work(item));
  return results;
}

/** What a cached snapshot lacks of a model's configuration and weights. */
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
    `${hubName(repo)}: expected ${namesText(missing)} in ${cache.directory}, got nothing there`,
    {
      hint: "HF_HUB_OFFLINE is set; unset it to download, or point HF_HOME or HF_HUB_CACHE to a cache that has it.",
    },
  );
}
