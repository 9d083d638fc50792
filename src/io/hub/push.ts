/**
 * Upload of a model directory to the hub: creates the repository if needed, uploads large files by LFS, and commits.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { badArgument } from "../../base/arguments.ts";
import { silent } from "../../base/progress.ts";
import { GpruneError, requireWord } from "../../errors.ts";
import { PositionalFile } from "../files/file.ts";
import { type HubRepo, hubName, isSafeFile, parseHubAddress } from "./address.ts";
import { HubClient, type HubClientOptions, readJson } from "./client.ts";
import type { HubOptions } from "./hub.ts";
import { type LargeFile, uploadLarge } from "./lfs.ts";
import { type Environment, hubSettings } from "./settings.ts";

/** Options of {@link pushDirectory}. */
export interface PushOptions extends HubOptions {
  /** Branch; `main` when absent. */
  readonly revision?: string | undefined;
  /** Creates a private repository; an existing one must then be private. False when absent. */
  readonly private?: boolean | undefined;
}

/** The result of {@link pushDirectory}. */
export interface Pushed {
  /** The page of the model. */
  readonly url: string;
  /** The new commit. */
  readonly commit: string;
}

const JSON_BODY = { "content-type": "application/json" };
/** Files in one preupload request, as in huggingface_hub. */
const PREUPLOAD_FILES = 100;
/** Bytes from the start of a file, by which the hub decides whether it is text. */
const SAMPLE_BYTES = 512;
/** Larger files go to LFS whatever the hub answers; it asks for LFS from 10 MB on. */
const MAX_REGULAR_BYTES = 2 ** 25;
/** Levels of directories. */
const MAX_DEPTH = 4;
const CONFIG_FILE = "config.json";
/** Files that make a directory a model: GGUF, or weights beside config.json. */
const GGUF = /^[^/]+\.gguf$/;
const WEIGHTS = /^(?:model\.safetensors(?:\.index\.json)?|onnx\/.+\.onnx)$/;

const repoState = z.object({ private: z.boolean().optional() });
const uploadModes = z.object({
  files: z.array(z.object({ path: z.string(), uploadMode: z.enum(["lfs", "regular"]) })),
});
const commitReply = z.object({ commitOid: z.string() });

/** A repository and the client that may write to it. */
interface Target {
  readonly client: HubClient;
  readonly repo: HubRepo;
}

/**
 * Uploads all files but the hidden ones of a directory that gprune wrote. Other files of the repository stay.
 * @param name - `ORG/NAME` or `hf://ORG/NAME`
 * @throws GpruneError NOT_FOUND for a directory without a model, FORBIDDEN without a token that may write, BAD_ARGUMENT
 *   for a malformed name and for a public repository with `private`, NETWORK, BAD_FILE
 */
export async function pushDirectory(
  directory: string,
  name: string,
  options: PushOptions = {},
): Promise<Pushed> {
  requireWord(directory, "directory");
  requireWord(name, "repository");
  const { environment = process.env, onProgress = silent, private: isPrivate = false, revision } = options;
  const repo = parseTarget(name, revision);
  const names = await modelFiles(directory);
  const target: Target = { client: await writingClient(repo, environment, options), repo };
  await ensureRepo(target, isPrivate);
  const files = new Map<string, PositionalFile>();
  try {
    for (const file of names) files.set(file, await PositionalFile.open(join(directory, file)));
    const large = await largeFiles(target, files);
    const total = large.reduce((sum, { file }) => sum + file.size, 0);
    await uploadLarge(target, large, (done, detail) =>
      onProgress({ stage: `upload ${repo.id}`, done, total, unit: "bytes", detail }),
    );
    return await commit(target, files, large);
  } finally {
    for (const file of files.values()) await file.close();
  }
}

function parseTarget(name: string, revision: string | undefined): HubRepo {
  const at = revision === undefined ? "" : `@${encodeURIComponent(revision)}`;
  const address = name.includes("@") ? null : parseHubAddress(`${name}${at}`);
  if (address?.kind === "model" && address.file === undefined) return address;
  throw new GpruneError(
    "BAD_ARGUMENT",
    `${name}${at}: expected ORG/NAME and a branch name, got another form`,
    {
      hint: "For example gprune push OUT my-org/my-model --revision main.",
    },
  );
}

/** @throws GpruneError FORBIDDEN without a token, BAD_ARGUMENT offline */
async function writingClient(
  repo: HubRepo,
  environment: Environment,
  options: HubClientOptions,
): Promise<HubClient> {
  const settings = await hubSettings(environment);
  if (settings.offline) throw badArgument(hubName(repo), "network access", "HF_HUB_OFFLINE");
  if (settings.token !== undefined) return new HubClient(settings, { ...options, access: "write" });
  throw new GpruneError("FORBIDDEN", `${hubName(repo)}: expected a token with write access, got none`, {
    hint: "Set HF_TOKEN, or log in with `hf auth login`.",
  });
}

/**
 * Paths of the files of a model directory, without hidden ones.
 * @throws GpruneError NOT_FOUND without a model; BAD_FILE for links and names that some systems do not allow
 */
async function modelFiles(directory: string): Promise<readonly string[]> {
  const top = await readdir(directory).catch(() => []);
  const looksRight = top.some((name) => name === CONFIG_FILE || GGUF.test(name));
  const files = looksRight ? await listFiles(directory, "", MAX_DEPTH) : [];
  const complete = files.includes(CONFIG_FILE) && files.some((name) => WEIGHTS.test(name));
  if (complete || files.some((name) => GGUF.test(name))) return files;
  throw new GpruneError("NOT_FOUND", `${directory}: expected a directory that gprune wrote, got no model`, {
    hint: "Give the output of gprune prune or gprune export: config.json with weights, or a directory of GGUF files.",
  });
}

async function listFiles(root: string, folder: string, depth: number): Promise<readonly string[]> {
  const entries = await readdir(join(root, folder), { withFileTypes: true });
  const files: string[] = [];
  for (const entry of entries.filter(({ name }) => !name.startsWith("."))) {
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory() && depth > 1) files.push(...(await listFiles(root, path, depth - 1)));
    else if (entry.isFile() && isSafeFile(path)) files.push(path);
    else throw new GpruneError("BAD_FILE", `${join(root, path)}: expected a plain file, got something else`);
  }
  return files.sort();
}

/** Creates the repository and the branch if they do not exist. */
async function ensureRepo({ client, repo }: Target, isPrivate: boolean): Promise<void> {
  const what = hubName(repo);
  const answer = await client.send(`/api/models/${repo.id}`, what, { accept: [404] });
  const exists = answer.status !== 404;
  if (exists && isPrivate) requirePrivate(await readJson(answer, what), what);
  else await answer.body?.cancel();
  if (!exists) {
    const [organization, name] = repo.id.split("/");
    const body = { type: "model", organization, name, ...(isPrivate && { visibility: "private" }) };
    await createUnlessExists(client, "/api/repos/create", { what, body });
  }
  if (repo.revision === "main") return;
  const branch = `/api/models/${repo.id}/branch/${encodeURIComponent(repo.revision)}`;
  await createUnlessExists(client, branch, { what, body: {} });
}

/** Posts a request to create something; status 409 means that it exists. */
async function createUnlessExists(
  client: HubClient,
  url: string,
  { what, body }: { readonly what: string; readonly body: object },
): Promise<void> {
  const request = { method: "POST", headers: JSON_BODY, body: JSON.stringify(body), accept: [409] } as const;
  const answer = await client.send(url, what, request);
  await answer.body?.cancel();
}

function requirePrivate(state: unknown, what: string): void {
  if (repoState.safeParse(state).data?.private === true) return;
  throw new GpruneError("BAD_ARGUMENT", `${what}: expected a private repository, got a public one`, {
    hint: "Make it private on its hub page, choose another name, or leave --private out.",
  });
}

/** The files that the hub wants in LFS, with their hashes; its storage takes no empty ones. */
async function largeFiles(
  { client, repo }: Target,
  files: ReadonlyMap<string, PositionalFile>,
): Promise<readonly LargeFile[]> {
  const url = `/api/models/${repo.id}/preupload/${encodeURIComponent(repo.revision)}`;
  const entries = [...files];
  const large: LargeFile[] = [];
  for (let i = 0; i < entries.length; i += PREUPLOAD_FILES) {
    const batch = await Promise.all(entries.slice(i, i + PREUPLOAD_FILES).map(describe));
    const body = JSON.stringify({ files: batch });
    const answer = await client.json(url, hubName(repo), { method: "POST", headers: JSON_BODY, body });
    const modes = uploadModes.safeParse(answer).data?.files ?? [];
    for (const { path, size } of batch) {
      const mode = modes.find((reply) => reply.path === path)?.uploadMode;
      if (mode === undefined) throw badReply(repo, `an upload mode for ${path}`);
      const file = files.get(path)!;
      const isLarge = size > MAX_REGULAR_BYTES || (mode === "lfs" && size > 0);
      if (isLarge) large.push({ path, file, oid: await file.sha256() });
    }
  }
  return large;
}

async function describe([path, file]: readonly [string, PositionalFile]): Promise<{
  readonly path: string;
  readonly size: number;
  readonly sample: string;
}> {
  const sample = await file.read(0, Math.min(SAMPLE_BYTES, file.size));
  return { path, size: file.size, sample: Buffer.from(sample).toString("base64") };
}

/** Commits the content of the small files and references to the large ones, as JSON Lines. */
async function commit(
  { client, repo }: Target,
  files: ReadonlyMap<string, PositionalFile>,
  large: readonly LargeFile[],
): Promise<Pushed> {
  const lines: unknown[] = [
    { key: "header", value: { summary: "Upload a model pruned with gprune", description: "" } },
  ];
  for (const { path, file, oid } of large) {
    lines.push({ key: "lfsFile", value: { path, algo: "sha256", oid, size: file.size } });
  }
  const inStorage = new Set(large.map(({ path }) => path));
  for (const [path, file] of files) {
    if (inStorage.has(path)) continue;
    const content = Buffer.from(await file.read(0, file.size)).toString("base64");
    lines.push({ key: "file", value: { path, content, encoding: "base64" } });
  }
  const url = `/api/models/${repo.id}/commit/${encodeURIComponent(repo.revision)}`;
  const answer = await client.json(url, hubName(repo), {
    method: "POST",
    headers: { "content-type": "application/x-ndjson" },
    body: lines.map((line) => JSON.stringify(line)).join("\n"),
  });
  const reply = commitReply.safeParse(answer);
  if (!reply.success) throw badReply(repo, "the new commit");
  return { url: pageOf({ client, repo }), commit: reply.data.commitOid };
}

function pageOf({ client, repo: { id, revision } }: Target): string {
  const tree = revision === "main" ? "" : `/tree/${encodeURIComponent(revision)}`;
  return `${client.settings.endpoint}/${id}${tree}`;
}

function badReply(repo: HubRepo, expected: string): GpruneError {
  return new GpruneError(
    "BAD_FILE",
    `${hubName(repo)}: expected ${expected} from the hub, got something else`,
  );
}
