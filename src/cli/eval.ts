/** `gprune eval` */
import type { TextSet } from "../calibrate/windows.ts";
import { GpruneError } from "../errors.ts";
import { type Evaluation, evaluate, geometricMean } from "../evaluate/evaluate.ts";
import { Runtime } from "../graph/runtime.ts";
import { openModel } from "../model/checkpoint.ts";
import type { Model } from "../model/model.ts";
import type { OnProgress } from "../progress.ts";
import { withProgress } from "./progress.ts";
import { plainText, print, printJson, table } from "./terminal.ts";
import { parseTextSets, requireTexts } from "./text_sets.ts";

interface EvalOptions {
  readonly text?: readonly string[];
  readonly tasks?: readonly string[];
  readonly numFewshot: number;
  readonly fewshot?: readonly string[];
  readonly seed: number;
  readonly seqLen: number;
  readonly limit?: number;
  readonly baseline?: string;
  readonly threads?: number;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** The model, and what it is compared with when there is something. */
type Evaluations = readonly [Evaluation, Evaluation | undefined];

export async function evalCommand(path: string, options: EvalOptions): Promise<void> {
  const [evaluation, baseline] = await evaluateAll(path, options);
  if (options.json) printJson(baseline === undefined ? evaluation : { ...evaluation, baseline });
  else print(report(evaluation, baseline));
}

/** Opens everything before anything is computed, so that a wrong path is reported at once. */
async function evaluateAll(
  path: string,
  {
    text = [],
    tasks: task = [],
    fewshot = [],
    seqLen,
    limit,
    baseline,
    threads,
    quiet,
    ...options
  }: EvalOptions,
): Promise<Evaluations> {
  const texts = parseTextSets(text, "--text");
  const tasks = parseTextSets(task, "--tasks");
  if (texts.length + tasks.length === 0) {
    throw new GpruneError("BAD_ARGUMENT", "eval: expected --text or --tasks, got neither");
  }
  await requireTexts(texts);
  await requireTexts(tasks, "documents of task");
  const fewShot = { count: options.numFewshot, seed: options.seed, pools: poolsOf(fewshot, tasks) };
  await requireTexts(fewShot.pools, "solved questions of task");
  const models: Model[] = [];
  const runtime = new Runtime(threads === undefined ? {} : { threads });
  try {
    const names = baseline === undefined ? [path] : [path, baseline];
    await withProgress({ quiet }, async (onProgress) => {
      for (const name of names) models.push(await openModel(name, { onProgress }));
    });
    const [first, second] = await withProgress({ quiet }, async (onProgress) => {
      const results: Evaluation[] = [];
      for (const [index, model] of models.entries()) {
        const options = {
          seqLen,
          tasks,
          fewShot,
          limit,
          onProgress: index === 0 ? onProgress : ofBaseline(onProgress),
        };
        results.push(await evaluate({ model, runtime }, texts, options));
      }
      return results;
    });
    return [first!, second];
  } finally {
    await runtime.close();
    for (const { weights } of models) await weights.close();
  }
}

/** @throws GpruneError BAD_ARGUMENT for a pool of no task */
function poolsOf(fewshot: readonly string[], tasks: readonly TextSet[]): readonly TextSet[] {
  const pools = parseTextSets(fewshot, "--fewshot");
  const names = tasks.map(({ name }) => name);
  const stray = pools.find(({ name }) => !names.includes(name));
  if (stray === undefined) return pools;
  throw new GpruneError("BAD_ARGUMENT", `--fewshot: expected the name of a task, got ${stray.name}`, {
    hint: `Tasks are ${names.join(", ") || "given with --tasks"}.`,
  });
}

function ofBaseline(onProgress: OnProgress): OnProgress {
  return (event) => onProgress({ ...event, stage: `${event.stage} (baseline)` });
}

function report(own: Evaluation, baseline: Evaluation | undefined): string {
  const names = [own, baseline].flatMap((evaluation) => (evaluation ? [plainText(evaluation.model)] : []));
  const tables = [textRows(own, baseline), taskRows(own, baseline)].filter(({ length }) => length > 1);
  return [names.join(" against "), tables.map(table).join("\n\n")].join("\n");
}

/** A head and one row for each text. */
function textRows(own: Evaluation, baseline: Evaluation | undefined): readonly (readonly string[])[] {
  const ppl = (value: number): string => value.toFixed(3);
  const line = (name: string, [value, base]: readonly [number, number | undefined]): string[] => [
    name,
    ...(base === undefined ? [] : [ppl(base)]),
    ppl(value),
    ...(base === undefined ? [] : [ppl(value / base)]),
  ];
  const scores = Object.entries(own.texts);
  const rows = scores.map(([name, score]) => [
    ...line(plainText(name), [score.ppl, baseline?.texts[name]?.ppl]),
    `${score.windows}`,
  ]);
  const mean = (evaluation: Evaluation): number => geometricMean(Object.values(evaluation.texts));
  if (scores.length > 1) {
    rows.push(line("geometric mean", [mean(own), baseline && mean(baseline)]));
  }
  const header = baseline === undefined ? ["text", "ppl"] : ["text", "baseline", "ppl", "ratio"];
  return [[...header, "windows"], ...rows];
}

/** A head and one row for each task; every accuracy with its standard error. */
function taskRows(own: Evaluation, baseline: Evaluation | undefined): readonly (readonly string[])[] {
  const columns = [baseline, own].filter((evaluation) => evaluation !== undefined);
  const row = (name: string): string[] => {
    const scores = columns.map(({ tasks }) => tasks[name]!);
    return [
      plainText(name),
      ...scores.map(({ acc, stderr }) => accuracy(acc, stderr)),
      ...scores.map(({ acc_norm, acc_norm_stderr }) => accuracy(acc_norm, acc_norm_stderr)),
      `${scores[0]!.n}`,
    ];
  };
  const accuracies = ["acc", "acc_norm"];
  const header = accuracies.flatMap((name) => (baseline === undefined ? [name] : [`baseline ${name}`, name]));
  return [["task", ...header, "documents"], ...Object.keys(own.tasks).map(row)];
}

function accuracy(mean: number, standardError: number | null): string {
  return `${mean.toFixed(3)} ±${standardError?.toFixed(3) ?? "?"}`;
}
