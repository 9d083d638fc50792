/**
 * Quality of pruned models: every metric alone on one calibration set, alone on all sets, and with GPrune on all sets, at
 * several sparsities and with several recoveries, as perplexity on held-out texts.
 *
 *   node --import tsx bench/quality.ts MODEL --calib DIR --texts DIR [--single wiki] [--metrics flap-wifv,wanda-sp]
 *       [--sparsities 0.2,0.35,0.5] [--recover bias,lstsq] [--variants single,base,gprune] [--samples 24] [--limit 24]
 *       [--tag NAME]
 *
 * DIRs hold NAME.txt files. Finished rows are kept in bench/results/TAG.json and not run again; bench/results/TAG.md is the
 * table. Both sides of a comparison see the same number of calibration tokens: a single set gets as many windows as
 * all sets together.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type RunConfigInput, resolveRunConfig } from "../src/config.ts";
import { evaluate, geometricMean } from "../src/evaluate/evaluate.ts";
import { Runtime } from "../src/graph/runtime.ts";
import { openModel } from "../src/model/checkpoint.ts";
import { prune } from "../src/pipeline.ts";

/** One measured row. */
interface Row {
  readonly sparsity: number;
  readonly recover: string;
  readonly metric: string;
  readonly variant: string;
  readonly achieved: number;
  readonly ppl: Readonly<Record<string, number>>;
  readonly geometricMean: number;
  readonly seconds: number;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    calib: { type: "string" },
    texts: { type: "string" },
    single: { type: "string", default: "wiki" },
    metrics: { type: "string", default: "magnitude,wanda-sp,flap-wifv,minitron,taylor,fisher" },
    sparsities: { type: "string", default: "0.2,0.35,0.5" },
    recover: { type: "string", default: "bias,lstsq" },
    variants: { type: "string", default: "single,base,gprune" },
    samples: { type: "string", default: "24" },
    limit: { type: "string", default: "24" },
    "seq-len": { type: "string", default: "512" },
    tag: { type: "string", default: "quality" },
  },
});
const model = positionals[0];
if (model === undefined || values.calib === undefined || values.texts === undefined) {
  throw new Error("usage: bench/quality.ts MODEL --calib DIR --texts DIR; see the head of the file");
}

const results = join(import.meta.dirname, "results");
mkdirSync(results, { recursive: true });
const calibration = namedTexts(values.calib);
const texts = namedTexts(values.texts);
const seqLen = Number(values["seq-len"]);
const rows: Row[] = finishedRows();

await addDense();
for (const sparsity of list(values.sparsities).map(Number)) {
  for (const recover of list(values.recover)) {
    for (const metric of list(values.metrics)) {
      for (const variant of list(values.variants)) await addRow({ sparsity, recover, metric, variant });
    }
  }
}
console.log(markdown());

async function addDense(): Promise<void> {
  const key = { sparsity: 0, recover: "none", metric: "dense", variant: "dense" };
  if (isFinished(key)) return;
  keep({ ...key, achieved: 0, seconds: 0, ...(await measure(model!)) });
}

async function addRow(key: Pick<Row, "sparsity" | "recover" | "metric" | "variant">): Promise<void> {
  if (isFinished(key)) return;
  const scratch = mkdtempSync(join(tmpdir(), "gprune-quality-"));
  try {
    const output = join(scratch, "model");
    const start = performance.now();
    const { sparsity } = await prune(resolveRunConfig({ ...settingsOf(key), model, output }, "bench"));
    const seconds = Math.round((performance.now() - start) / 1000);
    keep({ ...key, achieved: sparsity.achieved, seconds, ...(await measure(output)) });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function settingsOf({
  sparsity,
  recover,
  metric,
  variant,
}: Pick<Row, "sparsity" | "recover" | "metric" | "variant">): RunConfigInput {
  const single = variant === "single";
  const samples = Number(values.samples) * (single ? calibration.length : 1);
  return {
    sparsity,
    metric,
    samples,
    seqLen,
    recover: recover as "bias" | "lstsq",
    method: variant === "gprune" ? "gprune" : "none",
    calibration: single ? calibration.filter(({ name }) => name === values.single) : calibration,
  };
}

async function measure(path: string): Promise<Pick<Row, "ppl" | "geometricMean">> {
  const opened = await openModel(path);
  const runtime = new Runtime();
  try {
    const { texts: scores } = await evaluate({ model: opened, runtime }, texts, {
      seqLen,
      limit: Number(values.limit),
    });
    const ppl = Object.fromEntries(Object.entries(scores).map(([name, score]) => [name, score.ppl]));
    return { ppl, geometricMean: geometricMean(Object.values(scores)) };
  } finally {
    await runtime.close();
    await opened.weights.close();
  }
}

function namedTexts(directory: string): { name: string; path: string; weight: number }[] {
  const files = readdirSync(directory)
    .filter((file) => file.endsWith(".txt"))
    .sort();
  return files.map((file) => ({ name: file.slice(0, -4), path: join(directory, file), weight: 1 }));
}

function finishedRows(): Row[] {
  try {
    return JSON.parse(readFileSync(join(results, `${values.tag}.json`), "utf8")) as Row[];
  } catch {
    return [];
  }
}

function isFinished(key: Pick<Row, "sparsity" | "recover" | "metric" | "variant">): boolean {
  return rows.some((row) => Object.entries(key).every(([name, value]) => row[name as keyof Row] === value));
}

function keep(row: Row): void {
  rows.push(row);
  writeFileSync(join(results, `${values.tag}.json`), `${JSON.stringify(rows, null, 1)}\n`);
  writeFileSync(join(results, `${values.tag}.md`), markdown());
  console.log(`${row.sparsity} ${row.recover} ${row.metric} ${row.variant}: ${row.geometricMean.toFixed(2)}`);
}

function markdown(): string {
  const names = texts.map(({ name }) => name);
  const head = ["removed", "recovery", "metric", "variant", ...names, "geometric mean", "seconds"];
  const body = rows.map(({ sparsity, recover, metric, variant, ppl, geometricMean: mean, seconds }) => [
    String(sparsity),
    recover,
    metric,
    variant,
    ...names.map((name) => ppl[name]!.toFixed(2)),
    mean.toFixed(2),
    String(seconds),
  ]);
  return [head, head.map(() => "---"), ...body].map((cells) => `| ${cells.join(" | ")} |\n`).join("");
}

function list(text: string): readonly string[] {
  return text.split(",").map((item) => item.trim());
}
