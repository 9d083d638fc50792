/**
 * Cost of distribution: time of the same prune by one process with two threads and by two workers with one thread each,
 * alternating, and the ratio of the times. Starts its own Redis server and workers.
 *
 *   node --import tsx bench/scale/workers.ts --data DIR [--size 135Mx10] [--windows 4] [--rounds 2] [--repeat 3]
 *
 * The workers listen before the run begins, but have not opened the model. Times are those of the whole command.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { oneOf, parseOptions, positiveInteger } from "../../scripts/clients/options.ts";
import { spread } from "../../src/tensor/statistics.ts";
import { hasEnded, RedisServer } from "../../test/redis_server.ts";
import { SHAPES } from "./shapes.ts";
import { writeSynthetic } from "./synthetic.ts";
import { writeTexts } from "./texts.ts";

const CLI = ["--import", "tsx", join(import.meta.dirname, "..", "..", "src", "cli", "main.ts")];
const WORKERS = 2;

const { values } = parseOptions({
  options: {
    data: { type: "string", default: "bench-data" },
    size: { type: "string", default: "135Mx10" },
    windows: { type: "string", default: "4" },
    rounds: { type: "string", default: "2" },
    repeat: { type: "string", default: "3" },
  },
});

const [size = "", layers] = values.size.split("x");
const shape = SHAPES[oneOf("size", size, Object.keys(SHAPES))]!;
const counts = {
  layers: layers === undefined ? shape.layers : positiveInteger("size", layers),
  windows: positiveInteger("windows", values.windows),
  rounds: positiveInteger("rounds", values.rounds),
  repeat: positiveInteger("repeat", values.repeat),
};

const scratch = await mkdtemp(join(tmpdir(), "gprune-workers-"));
let redis: RedisServer | undefined;
try {
  redis = await RedisServer.start(join(scratch, "redis"));
  const model = join(values.data, values.size);
  if (!existsSync(model)) await writeSynthetic({ ...shape, layers: counts.layers }, model);
  // Two more windows of every set are held out.
  const windows = counts.windows + 2;
  const texts = await writeTexts(model, { data: values.data, windows, seqLen: 512 });
  const ratios: number[] = [];
  console.log("| one process, s | two workers, s | ratio |\n| --- | --- | --- |");
  for (let run = 0; run < counts.repeat; run++) {
    const one = await prune(model, texts, ["--threads", `${WORKERS}`]);
    const place = ["--redis", redis.url, "--store", join(scratch, `${run}`)];
    const two = await withWorkers(place, () => prune(model, texts, place));
    if (one.plan !== two.plan) throw new Error("expected the same bytes, got others");
    ratios.push(two.seconds / one.seconds);
    console.log(`| ${one.seconds.toFixed(1)} | ${two.seconds.toFixed(1)} | ${ratios.at(-1)!.toFixed(3)} |`);
    console.log(`one process: ${one.stages}; two workers: ${two.stages}`);
  }
  console.log(`median ratio ${spread(ratios).median.toFixed(3)}; the bytes are the same`);
} finally {
  await redis?.kill();
  await rm(scratch, { recursive: true, force: true });
}

interface Measured {
  readonly seconds: number;
  readonly stages: string;
  /** Hash of plan and weights. */
  readonly plan: string;
}

async function prune(model: string, texts: readonly string[], more: readonly string[]): Promise<Measured> {
  const output = join(scratch, "out");
  await rm(output, { recursive: true, force: true });
  const few = ["--samples", `${counts.windows}`, "--rounds", `${counts.rounds}`, "--own-text", "never"];
  const settings = [...few, "--no-report", "--json", "-q"];
  const start = performance.now();
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...CLI, "prune", model, "-o", output, ...settings, ...more, "--calib", ...texts],
    { maxBuffer: 2 ** 26 },
  );
  const seconds = (performance.now() - start) / 1000;
  const { timings } = JSON.parse(stdout) as { readonly timings: Readonly<Record<string, number>> };
  const hash = createHash("sha256");
  for (const file of ["plan.json", "model.safetensors"]) hash.update(await readFile(join(output, file)));
  const stages = Object.entries(timings).map(([stage, time]) => `${stage} ${time.toFixed(1)}`);
  return { seconds, stages: stages.join(", "), plan: hash.digest("hex") };
}

/** Calls `act` while workers listen. @param place - options for the server and a new store */
async function withWorkers<T>(place: readonly string[], act: () => Promise<T>): Promise<T> {
  const workers = Array.from({ length: WORKERS }, () => {
    return spawn(process.execPath, [...CLI, "worker", ...place, "--threads", "1", "--json"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
  });
  try {
    await Promise.all(workers.map(listening));
    return await act();
  } finally {
    await Promise.all(workers.map(ended));
  }
}

/** Waits until a worker says that it listens. @throws Error when it ends instead */
async function listening(worker: ChildProcess): Promise<void> {
  const stdout = worker.stdout!;
  await Promise.race([once(stdout, "data"), once(stdout, "end")]);
  if (stdout.readableEnded) throw new Error("expected a worker that listens, got one that ended");
  stdout.resume();
}

async function ended(worker: ChildProcess): Promise<void> {
  if (hasEnded(worker)) return;
  const exit = once(worker, "exit");
  worker.kill("SIGTERM");
  await exit;
}
