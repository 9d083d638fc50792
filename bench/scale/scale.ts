/**
 * Time and memory of `gprune prune` by model and text size: prunes Llamas of published shapes with random weights by 30
 * % on five sets, and prints a table, with a line through the time of calibration over tokens times layers.
 *
 *   node --import tsx bench/scale/scale.ts --data DIR 135Mx10 135M 135M@4 7B:5GB [--learn] [--recover bias]
 *
 * A run is SIZE[xLAYERS][@WINDOWS][:MAX_MEMORY]. Models and texts are made in DIR, unless they exist. Texts hold only
 * the requested windows, so that none are held out: evaluating those would take as long as calibration. Without --learn
 * the metric decides alone; with it, sparsity is learned in one round from one window of every set.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { parseOptions, positiveInteger } from "../../scripts/clients/options.ts";
import { lineThrough } from "../line.ts";
import { SHAPES } from "./shapes.ts";
import { writeSynthetic } from "./synthetic.ts";
import { writeTexts } from "./texts.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const RUN = /^(?<size>\w+?)(?:x(?<layers>\d+))?(?:@(?<windows>\d+))?(?::(?<budget>[\w.]+))?$/;

interface Run {
  readonly text: string;
  readonly size: string;
  readonly layers: number;
  /** Windows of every set. */
  readonly windows: number;
  readonly budget: string | undefined;
}

/** The parts of the output of `prune --json` that are used here. */
interface Result {
  readonly timings: Readonly<Record<string, number>>;
  readonly peak_rss_bytes: number;
  readonly memory: { readonly budget: number | null; readonly peak: number };
  readonly calibration: Readonly<Record<string, { readonly tokens: number }>>;
}

const { values, positionals } = parseOptions({
  allowPositionals: true,
  options: {
    data: { type: "string", default: "bench-data" },
    "seq-len": { type: "string", default: "512" },
    learn: { type: "boolean", default: false },
    recover: { type: "string", default: "bias" },
  },
});
const seqLen = positiveInteger("seq-len", values["seq-len"]);
if (positionals.length === 0) throw new Error("usage: bench/scale/scale.ts RUN...; --help says more");
const runs = positionals.map(parseRun);

const results: { readonly run: Run; readonly result: Result }[] = [];
console.log("| run | layers | tokens | stages, s | tokens/s | plan | peak RSS | of budget |");
console.log("| --- | --- | --- | --- | --- | --- | --- | --- |");
for (const run of runs) {
  const result = await measure(run);
  results.push({ run, result });
  console.log(row(run, result));
}
for (const size of new Set(results.map(({ run }) => run.size))) printLine(size);

function parseRun(text: string): Run {
  const { size = "", layers, windows = "2", budget } = RUN.exec(text)?.groups ?? {};
  const shape = SHAPES[size];
  if (shape === undefined) throw new Error(`${text}: expected SIZE[xLAYERS][@WINDOWS][:MAX_MEMORY]`);
  return { text, size, layers: Number(layers ?? shape.layers), windows: Number(windows), budget };
}

async function measure({ size, layers, windows, budget }: Run): Promise<Result> {
  const model = join(values.data, `${size}x${layers}`);
  if (!existsSync(model)) await writeSynthetic({ ...SHAPES[size]!, layers }, model);
  const calibration = await writeTexts(model, { data: values.data, windows, seqLen });
  const output = join(values.data, "out");
  await rm(output, { recursive: true, force: true });
  await rm(`${output}.run`, { recursive: true, force: true });
  const method = values.learn ? ["--rounds", "1", "--gradient-windows", "1"] : ["--method", "none"];
  const settings = ["--sparsity", "0.3", "--samples", `${windows}`, "--seq-len", `${seqLen}`, ...method];
  const limit = budget === undefined ? [] : ["--max-memory", budget];
  const command = ["--import", "tsx", join(ROOT, "src", "cli", "main.ts"), "prune", model, "-o", output];
  const options = ["--recover", values.recover, "--no-report", "--json", "--quiet"];
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...command, ...settings, ...limit, ...options, "--calib", ...calibration],
    { maxBuffer: 2 ** 26, cwd: ROOT },
  );
  await rm(output, { recursive: true, force: true });
  return JSON.parse(stdout) as Result;
}

function tokensOf({ calibration }: Result): number {
  return Object.values(calibration).reduce((sum, { tokens }) => sum + tokens, 0);
}

function row({ text, layers }: Run, result: Result): string {
  const { timings, memory, peak_rss_bytes: peak } = result;
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;
  const stages = Object.entries(timings).map(([stage, seconds]) => `${stage} ${seconds.toFixed(1)}`);
  const speed = (tokensOf(result) / timings.calibrate!).toFixed(1);
  const share = memory.budget === null ? "" : (peak / memory.budget).toFixed(2);
  const cells = [
    text,
    layers,
    tokensOf(result),
    stages.join(", "),
    speed,
    gigabytes(memory.peak),
    gigabytes(peak),
    share,
  ];
  return `| ${cells.join(" | ")} |`;
}

/** Prints the line through the time of calibration over tokens times layers, if a size has three or more points. */
function printLine(size: string): void {
  const ofSize = results.filter(({ run }) => run.size === size);
  const points = ofSize.map(({ run, result }) => ({
    x: (tokensOf(result) * run.layers) / 1e3,
    y: result.timings.calibrate!,
  }));
  if (new Set(points.map(({ x }) => x)).size < 3) return;
  const { intercept, slope, worst } = lineThrough(points);
  const formula = `${intercept.toFixed(2)} s + ${(1e3 * slope).toFixed(2)} ms * (tokens / 1000 * layers)`;
  console.log(
    `\n${size}: calibration takes ${formula}; no point is more than ${(100 * worst).toFixed(1)} % off`,
  );
}
