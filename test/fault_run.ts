/** A pruning run small enough to be repeated with a fault at every single disk access. */
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { prune, resolveRunConfig } from "../src/index.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";

/** Inputs and output of the run. */
export interface FaultRun {
  readonly model: string;
  readonly texts: Readonly<Record<string, string>>;
  readonly output: string;
}

/** Size of a shard of the output. */
const SHARD_BYTES = 2 ** 11;

/** Writes the inputs of the run. */
export async function prepareFaultRun(root: string): Promise<FaultRun> {
  const shape = { hiddenSize: 8, layers: [{ neurons: 12 }, { neurons: 12 }] };
  const model = await writeTinyCheckpoint(join(root, "model"), shape);
  return {
    model,
    texts: { ...(await writeTinyTexts(root)) },
    output: join(root, "run", "out"),
  };
}

/** Prunes, resuming the last attempt. Every state of every stage is kept, and the output has several shards. */
export async function attempt({ model, texts, output }: FaultRun): Promise<void> {
  const calibration = Object.entries(texts).map(([name, path]) => ({ name, path }));
  const small = {
    samples: 2,
    seqLen: 16,
    rounds: 1,
    ownText: "never",
    gradientWindows: 1,
    threads: 1,
    maxModules: 2,
    report: false,
  };
  const config = resolveRunConfig({ model, output, calibration, sparsity: 0.3, ...small }, "test");
  await prune(config, { resume: true, checkpointInterval: 0, maxShardBytes: SHARD_BYTES });
}

/** Removes all files of earlier attempts. */
export async function startAnew({ output }: FaultRun): Promise<void> {
  await rm(dirname(output), { recursive: true, force: true });
  await mkdir(dirname(output), { recursive: true });
}

/** Files that contain times, and so differ between runs. */
const TIMED: ReadonlySet<string> = new Set(["run.json", "report.html"]);

/** SHA-256 of every file of the output by name, `there` for files with times; null when there is no output. */
export async function outputHashes({ output }: FaultRun): Promise<Readonly<Record<string, string>> | null> {
  const names = await readdir(output).catch(() => null);
  if (names === null) return null;
  const entries = names.sort().map(async (name) => {
    const bytes = await readFile(join(output, name));
    if (TIMED.has(name)) return [name, "there"] as const;
    return [name, createHash("sha256").update(bytes).digest("hex")] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

/** Files that a failed attempt should have removed: temporary files, locks, files that the manifest does not name. */
export async function litter({ output }: FaultRun): Promise<readonly string[]> {
  const parent = dirname(output);
  const beside = (await readdir(parent)).filter((name) => name !== "out" && name !== "out.run");
  const run = `${output}.run`;
  const files = await readdir(run, { recursive: true }).catch(() => []);
  const manifest = await readFile(join(run, "manifest.json"), "utf8").catch(() => "");
  const named = (name: string): boolean => manifest.includes(JSON.stringify(name));
  return [...beside, ...files.filter((name) => !["manifest.json", "output"].includes(name) && !named(name))];
}
