/**
 * Quality of pruned models as perplexity on held-out texts and accuracy on tasks: every metric alone on one calibration
 * set, alone on all sets, and with GPrune on all sets, at several sparsities and with several recoveries.
 *
 *   node --import tsx bench/quality.ts MODEL --calib DIR --texts DIR [--tasks DIR] [--single wiki]
 *       [--metrics flap-wifv,wanda-sp] [--sparsities 0.5,0.35,0.2] [--recover bias,lstsq]
 *       [--variants single,base,gprune] [--samples 24] [--limit 24] [--task-limit 200] [--leave-out] [--tag NAME]
 *
 * DIRs hold NAME.txt and NAME.jsonl files. Finished rows are kept in bench/results/TAG.json and not run again; a file
 * is for one model, --single and number of windows, documents and tokens. bench/results/TAG.md has the tables. Both
 * sides of a comparison see the same number of calibration tokens: a single set gets as many windows as all sets
 * together, and with an additional set each gets fewer. A plan is made once and carried out with every recovery, except
 * that only plans for least squares are refined. Models are not saved, so changed weights stay float32. Seconds are
 * those of deciding and recovering, without calibration statistics, which rows share.
 *
 * Variants: `single`, `base` (the metric with its own allocation), `modules` (that with behaviour modules and the
 * fallback), `learned` (learned sparsity without modules and refined widths), `curves` (sparsity from error curves),
 * `gprune` (everything), `unrefined` (everything but refined widths), `robust` (everything, with robust set weights),
 * `own` (everything, with the model's own text as an additional set). bench/results/smollm2-135m also has rows
 * `widths`, of an earlier version that refined widths without exchanging neurons (docs/RESULTS.md).
 *
 * Recoveries: `bias`, `lstsq` (on the windows of the decision), `lstsq:48` (on 48 windows of each set), `distill:48:60`
 * (`lstsq:48` and 60 steps of training on all text of the sets that is not held out).
 *
 * --leave-out: for each set in turn, calibrates on all other sets, and evaluates on the text of that set.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseOptions, positiveInteger } from "../scripts/clients/options.ts";
import { mapValues } from "../src/base/map_values.ts";
import type { TextSet } from "../src/calibrate/text_sets.ts";
import { OWN_TEXT } from "../src/calibrate/text_sets.ts";
import { type RunConfigInput, resolveRunConfig, type SettledConfig } from "../src/config.ts";
import { meanPerplexity } from "../src/evaluate/perplexity.ts";
import type { Model } from "../src/model/model.ts";
import { achievedSparsity } from "../src/prune/plan.ts";
import { settle } from "../src/run/inputs.ts";
import { metricByName } from "../src/score/registry.ts";
import { namedFiles } from "./named_files.ts";
import { Lab } from "./quality/lab.ts";
import { readRows, type Settings, writeRows } from "./quality/results.ts";
import { type Key, markdown, type Row } from "./quality/table.ts";

const { values, positionals } = parseOptions({
  allowPositionals: true,
  options: {
    calib: { type: "string" },
    texts: { type: "string" },
    tasks: { type: "string" },
    single: { type: "string", default: "wiki" },
    metrics: { type: "string", default: "magnitude,wanda-sp,flap-wifv,minitron,taylor,fisher" },
    sparsities: { type: "string", default: "0.5,0.35,0.2" },
    recover: { type: "string", default: "bias,lstsq" },
    variants: { type: "string", default: "single,base,gprune" },
    samples: { type: "string", default: "24" },
    limit: { type: "string", default: "24" },
    "task-limit": { type: "string", default: "200" },
    "seq-len": { type: "string", default: "512" },
    "leave-out": { type: "boolean", default: false },
    tag: { type: "string", default: "quality" },
  },
});
const model = positionals[0];
if (model === undefined || values.calib === undefined || values.texts === undefined) {
  throw new Error("usage: bench/quality.ts MODEL --calib DIR --texts DIR; --help says more");
}

/** Settings of each variant, by metric. */
const VARIANTS: Readonly<Record<string, (metric: string) => RunConfigInput>> = {
  single: () => ({ method: "none" }),
  base: () => ({ method: "none" }),
  modules: (metric) => ({ method: "gprune", allocation: metricByName(metric).allocation }),
  learned: () => ({ method: "gprune", maxModules: 1, refine: false }),
  curves: () => ({ method: "gprune", allocation: "curves" }),
  gprune: () => ({ method: "gprune" }),
  unrefined: () => ({ method: "gprune", refine: false }),
  robust: () => ({ method: "gprune", robust: true }),
  own: () => ({ method: "gprune" }),
};

const results = join(import.meta.dirname, "results");
mkdirSync(results, { recursive: true });
const calibration = namedFiles(values.calib, ".txt");
const texts = namedFiles(values.texts, ".txt");
const tasks = values.tasks === undefined ? [] : namedFiles(values.tasks, ".jsonl");
const leftOuts = values["leave-out"] ? calibration.map(({ name }) => name) : [""];
requireSingle();
const settings: Settings = {
  model: basename(model),
  single: values.single,
  samples: positiveInteger("samples", values.samples),
  limit: positiveInteger("limit", values.limit),
  taskLimit: positiveInteger("task-limit", values["task-limit"]),
  seqLen: positiveInteger("seq-len", values["seq-len"]),
};
const { seqLen } = settings;
const kept = join(results, `${values.tag}.json`);
const rows = readRows(kept, settings);
const lab = await Lab.open(model);

const wanted: readonly Omit<Key, "recover">[] = list(values.sparsities).flatMap((sparsity) =>
  list(values.metrics).flatMap((metric) =>
    list(values.variants).flatMap((variant) =>
      leftOuts.map((leftOut) => ({ sparsity: Number(sparsity), metric, variant, leftOut })),
    ),
  ),
);
// Fails on an unknown variant, metric, recovery or sparsity before hours are spent on others.
for (const about of wanted) {
  metricByName(about.metric);
  for (const recover of list(values.recover)) configOf({ ...about, recover });
}

for (const leftOut of leftOuts) {
  const key = { sparsity: 0, recover: "none", metric: "dense", variant: "dense", leftOut };
  if (!isFinished(key)) keep({ ...key, achieved: 0, seconds: 0, ...(await measure(lab.dense, leftOut)) });
}
for (const about of wanted) await addRows(about);
await lab.close();
console.log(markdown(rows));

/** Adds the missing rows of all recoveries. */
async function addRows(about: Omit<Key, "recover">): Promise<void> {
  const missing = list(values.recover).filter((recover) => !isFinished({ ...about, recover }));
  for (const refined of [true, false]) {
    const recoveries = missing.filter((recover) => configOf({ ...about, recover }).refine === refined);
    if (recoveries.length > 0) await addRowsOfPlan(about, recoveries);
  }
}

/** Adds rows of recoveries that share a plan. */
async function addRowsOfPlan(about: Omit<Key, "recover">, recoveries: readonly string[]): Promise<void> {
  const start = performance.now();
  const plan = await lab.plan(configOf({ ...about, recover: recoveries[0]! }));
  const decided = performance.now() - start;
  for (const recover of recoveries) {
    const recoveryStart = performance.now();
    const pruned = await lab.pruned(plan, configOf({ ...about, recover }));
    const seconds = Math.round((decided + performance.now() - recoveryStart) / 1000);
    const achieved = achievedSparsity(plan, lab.dense.spec);
    keep({ ...about, recover, achieved, seconds, ...(await measure(pruned, about.leftOut)) });
  }
}

function configOf({ sparsity, recover, metric, variant, leftOut }: Key): SettledConfig {
  const changes = VARIANTS[variant];
  if (changes === undefined) throw new Error(`variant: ${variant} is none of ${Object.keys(VARIANTS)}`);
  const seen = calibration.filter(({ name }) => name !== leftOut);
  const sets = setsOf(variant, seen);
  const [how, refitWindows = values.samples, steps] = recover.split(":");
  const [samples, refitSamples] = [values.samples, refitWindows].map((windows) =>
    Math.floor((Number(windows) * seen.length) / sets.length),
  );
  const training = steps === undefined ? {} : { steps: Number(steps) };
  const shared = { model, output: "nowhere", samples, refitSamples, seqLen, calibration: sets, ...training };
  const input = { ...shared, ownText: "never", sparsity, metric, recover: how, ...changes(metric) };
  return settle(resolveRunConfig(input as RunConfigInput, "bench"), lab.dense.spec);
}

/** Calibration sets of a variant. @param seen - sets that it may see */
function setsOf(variant: string, seen: readonly TextSet[]): readonly TextSet[] {
  if (variant === "single") return seen.filter(({ name }) => name === values.single);
  return variant === "own" ? [...seen, { name: "own", path: OWN_TEXT, weight: 1 }] : seen;
}

async function measure(
  pruned: Model,
  leftOut: string,
): Promise<Pick<Row, "ppl" | "geometricMean" | "tasks">> {
  const isLeftOut = leftOut !== "";
  const { texts: scores, tasks: scored } = await lab.examine(pruned, {
    texts: isLeftOut ? calibration.filter(({ name }) => name === leftOut) : texts,
    tasks: isLeftOut ? [] : tasks,
    seqLen,
    windows: settings.limit,
    documents: settings.taskLimit,
  });
  return {
    ppl: mapValues(scores, ({ ppl }) => ppl),
    geometricMean: meanPerplexity(Object.values(scores)),
    tasks: mapValues(scored, ({ acc, acc_norm }) => ({ acc, acc_norm })),
  };
}

/** Checks --single. @throws Error when variant `single` would have no calibration set */
function requireSingle(): void {
  if (!list(values.variants).includes("single")) return;
  const names = calibration.map(({ name }) => name);
  if (!names.includes(values.single)) {
    throw new Error(`--single: expected one of ${names.join(", ")}, got ${values.single}`);
  }
  if (leftOuts.includes(values.single)) {
    throw new Error(
      `--leave-out: expected --variants without single, whose set ${values.single} is left out`,
    );
  }
}

/** Whether there is a row with all tasks. */
function isFinished(key: Key): boolean {
  const row = rows[placeOf(key)];
  const wanted = key.leftOut === "" ? tasks : [];
  return row !== undefined && wanted.every(({ name }) => name in row.tasks);
}

/** Index of the row of a key; -1 when there is none. */
function placeOf({ sparsity, recover, metric, variant, leftOut }: Key): number {
  const key = { sparsity, recover, metric, variant, leftOut };
  return rows.findIndex((row) =>
    Object.entries(key).every(([name, value]) => row[name as keyof Row] === value),
  );
}

function keep(row: Row): void {
  const place = placeOf(row);
  if (place < 0) rows.push(row);
  else rows[place] = row;
  writeRows(kept, settings, rows);
  writeFileSync(join(results, `${values.tag}.md`), markdown(rows));
  const { sparsity, recover, metric, variant, leftOut } = row;
  console.log(`${sparsity} ${recover} ${metric} ${variant} ${leftOut}: ${row.geometricMean.toFixed(2)}`);
}

function list(text: string): readonly string[] {
  return text.split(",").map((item) => item.trim());
}
