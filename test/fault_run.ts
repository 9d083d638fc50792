/** A pruning run so small that it can be broken at every place where it touches the disk, over and over. */
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { prune, resolveRunConfig } from "../src/index.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";

/** What the run reads, and where it writes. */
export interface FaultRun {
  readonly model: string;
  readonly texts: Readonly<Record<string, string>>;
  readonly output: string;
}

/** Tensors that fill one shard of the output. */
const SHARD_BYTES = 2 ** 11;

/** Writes what the run reads. */
export async function prepareFaultRun(root: string): Promise<FaultRun> {
  const shape = { hiddenSize: 8, layers: [{ neurons: 12 }, { neurons: 12 }] };
  const model = await writeTinyCheckpoint(join(root, "model"), shape);
  return {
    model,
    texts: await writeTinyTexts(root).then((texts) => ({ ...texts })),
    output: join(root, "run", "out"),
  };
}

/**
 * Prunes, and goes on where the last attempt stopped; every state of every stage is kept, and there are several shards.
 */
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

/** Removes what earlier attempts left. */
export async function startAnew({ output }: FaultRun): Promise<void> {
  await rm(dirname(output), { recursive: true, force: true });
  await mkdir(dirname(output), { recursive: true });
}

/** Files that tell times, so that no two runs have the same bytes. */
const TIMED: ReadonlySet<string> = new Set(["run.json", "report.html"]);

/**
 * SHA-256 of every file of the output by name, of those with times that they are there; null when there is no output.
 */
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

/** What lies about that a failed attempt should have removed: temporaries, locks, files that no manifest names. */
export async function litter({ output }: FaultRun): Promise<readonly string[]> {
  const parent = dirname(output);
  const beside = (await readdir(parent)).filter((name) => name !== "out" && name !== "out.run");
  const run = `${output}.run`;
  const files = await readdir(run, { recursive: true }).catch(() => []);
  const manifest = await readFile(join(run, "manifest.json"), "utf8").catch(() => "");
  const named = (name: string): boolean => manifest.includes(JSON.stringify(name));
  return [...beside, ...files.filter((name) => !["manifest.json", "output"].includes(name) && !named(name))];
}
