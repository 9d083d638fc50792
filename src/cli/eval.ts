/** `gprune eval` */

import { join, resolve } from "node:path";
import { RUN_FILES } from "../base/file_names.ts";
import { namesText } from "../base/lists.ts";
import { windowLength } from "../calibrate/windows.ts";
import { GpruneError, hasCode } from "../errors.ts";
import { type ComparedEvaluation, type Evaluation, evaluateTogether } from "../evaluate/evaluate.ts";
import { meanPerplexity } from "../evaluate/perplexity.ts";
import { kindOfPath } from "../io/files/file.ts";
import { writeFileAtomically, writeNewFileAtomically } from "../io/files/output_directory.ts";
import { requireReplaceableFile } from "../io/files/output_place.ts";
import { RunLock } from "../io/run/lock.ts";
import { isSameWeights, modelHashes, weightsHash } from "../model/checkpoint/model_hashes.ts";
import { renderReport } from "../report/report.ts";
import type { RunFiles } from "../report/report_data.ts";
import { readRun } from "../report/run_files.ts";
import {
  addedTo,
  formatEvaluation,
  isSameBaseline,
  type SavedEvaluation,
  savedEvaluation,
} from "../report/saved_evaluation.ts";
import { chatOf, type MaterialCommandOptions, namedMaterial } from "./material.ts";
import { hearing, type MeasuringSettings, settingsOf } from "./measuring_settings.ts";
import { resumeSettings } from "./resume_settings.ts";
import { print, printJson, say, table } from "./terminal.ts";
import { type ComputingOptions, withModels } from "./with_models.ts";

interface EvalOptions extends MaterialCommandOptions, ComputingOptions {
  readonly baseline?: string;
  readonly save?: boolean;
  readonly resume?: string;
  readonly json?: boolean;
}

/** Evaluation of the model and of its baseline, and how they were measured. */
interface Evaluated {
  readonly measured: ComparedEvaluation;
  readonly baseline: Evaluation | undefined;
  readonly settings: MeasuringSettings;
  /** SHA-256 of the baseline's weights; null unless the result is saved. */
  readonly baselineHash: string | null;
}

export async function evalAction(path: string, options: EvalOptions): Promise<void> {
  // Fails on a wrong directory before anything is computed.
  const run = options.save ? await savableRun(path) : null;
  const { measured, baseline, settings, baselineHash } = await evaluateAll(path, options);
  // Printed first, so that it is not lost if saving fails.
  const { fromFirst, ...evaluation } = measured;
  const compared = baseline === undefined ? {} : { ...fromFirst, baseline };
  if (options.json) printJson({ ...evaluation, ...compared, settings });
  else print(report(measured, { baseline, settings }));
  if (run === null) return;
  const counts = new Set(Object.values(settings.tasks).map(({ num_fewshot }) => num_fewshot));
  const told = {
    ...options,
    seqLen: settings.seq_len,
    fewShot: { count: counts.size === 1 ? [...counts][0] : undefined, seed: options.seed },
    chat: chatOf(options),
    baselineHash,
  };
  await save(path, savedEvaluation(measured, namedAsBase(baseline, run, baselineHash), told));
}

const SAVED_WHERE =
  "--save adds the result to the report of a run, in the directory that gprune prune -o RUN wrote; leave it out for other models.";

/** Reads the run that the evaluation is saved with. @throws GpruneError without a run, or if it cannot be written */
async function savableRun(directory: string): Promise<RunFiles> {
  const run = await readRun(directory).catch((error: unknown) => {
    if (!hasCode(error, "NOT_FOUND")) throw error;
    throw error.inOtherWords({ hint: SAVED_WHERE });
  });
  for (const name of [RUN_FILES.evaluation, RUN_FILES.report])
    await requireReplaceableFile(join(directory, name));
  return run;
}

async function evaluateAll(
  path: string,
  { baseline, resume, save, ...options }: EvalOptions,
): Promise<Evaluated> {
  const { texts, ...material } = await namedMaterial(options);
  if (texts.length + material.tasks.length === 0) {
    throw new GpruneError("BAD_ARGUMENT", "eval: expected --text or --tasks, got neither", {
      hint: "For example --text news=news.txt or --tasks arc_easy=arc_easy.jsonl.",
    });
  }
  const paths = baseline === undefined ? [path] : [baseline, path];
  return withModels(paths, options, async ({ models, runtime, device, onProgress }) => {
    const seqLen = windowLength(models, material.seqLen);
    const heard = hearing();
    const told = { ...material, ...heard.listeners, seqLen, onProgress, ...resumeSettings(resume) };
    const hashed = save && baseline !== undefined ? models[0]! : null;
    const baselineHash = hashed && weightsHash(await modelHashes(hashed, onProgress));
    const evaluations = await evaluateTogether({ models, runtime }, texts, told);
    return {
      measured: evaluations.at(-1)!,
      baseline: baseline === undefined ? undefined : evaluations[0],
      settings: settingsOf({ texts, ...material, seqLen }, device.used, heard),
      baselineHash,
    };
  });
}

/** The baseline, renamed as in the run's record if it is the model that the run pruned. */
function namedAsBase(
  baseline: Evaluation | undefined,
  { record, baseHash }: RunFiles,
  hash: string | null,
): Evaluation | undefined {
  if (baseline === undefined) return baseline;
  const isBase = isSameWeights(hash, baseHash) ?? resolve(baseline.model) === resolve(record.base);
  return isBase ? { ...baseline, model: record.base } : baseline;
}

/** Lock of an output while an evaluation is added to it, and seconds to wait for others that do the same. */
const SAVING = { lock: ".evaluation.lock", seconds: 120 };

/** Adds the evaluation to the evaluation.json of an output, one command after the other. */
async function save(directory: string, now: SavedEvaluation): Promise<void> {
  const lock = await RunLock.takeInTurn(join(directory, SAVING.lock), SAVING.seconds);
  try {
    await add(directory, now);
  } finally {
    await lock.release();
  }
}

/** Adds the evaluation to evaluation.json, and renders the report again. */
async function add(directory: string, now: SavedEvaluation): Promise<void> {
  const path = join(directory, RUN_FILES.evaluation);
  // Read again: another command may have saved something meanwhile.
  const run = await readRun(directory);
  const { evaluation, dropped } = addedTo(run.evaluation, now);
  if (dropped.length > 0) {
    const other =
      run.evaluation && isSameBaseline(run.evaluation, now) ? "other settings" : "another baseline or none";
    const kept = await keepBeside(directory, run.evaluation!);
    say(`${path}: ${namesText(dropped)} moved to ${kept}, since measured with ${other}`);
  }
  await writeFileAtomically(path, formatEvaluation(evaluation));
  const page = await renderReport({ ...run, evaluation });
  await writeFileAtomically(join(directory, RUN_FILES.report), page);
}

/** Writes an evaluation to the next free evaluation.N.json. @returns the file's name */
async function keepBeside(directory: string, evaluation: SavedEvaluation): Promise<string> {
  for (let number = 1; ; number++) {
    const name = `evaluation.${number}.json`;
    const path = join(directory, name);
    if ((await kindOfPath(path)) !== "missing") continue;
    await writeNewFileAtomically(path, (file) => file.write(Buffer.from(formatEvaluation(evaluation))));
    return name;
  }
}

function report(
  measured: Evaluated["measured"],
  { baseline, settings }: Pick<Evaluated, "baseline" | "settings">,
): string {
  const names = [measured, baseline].flatMap((evaluation) => (evaluation ? [evaluation.model] : []));
  const all = [textRows(measured, baseline), divergenceRows(measured), taskRows(measured, baseline)];
  const tables = all.filter(({ length }) => length > 1).map(table);
  const { incomparable, other_tokens: others } = measured.fromFirst ?? {};
  const isChat = Object.values(settings.tasks).some(({ chat }) => chat);
  const notes = [
    ...(isChat ? ["Questions were asked as chat messages."] : []),
    ...(incomparable === undefined ? [] : [`No divergence: ${incomparable}.`]),
    ...(others
      ? ["No ratio: the models tokenize the texts differently, so perplexities are not comparable."]
      : []),
  ];
  return [names.join(" against "), [...tables, ...notes].join("\n\n")].join("\n");
}

/** Header, and one row for each text with the divergence of the model from its baseline. */
function divergenceRows({ fromFirst }: Evaluated["measured"]): readonly (readonly string[])[] {
  const rows = Object.entries(fromFirst?.divergence ?? {}).map(([name, divergence]) => [
    name,
    divergence.loss_difference.toFixed(4),
    divergence.kl.toFixed(4),
    `${(100 * divergence.agreement).toFixed(1)} %`,
    divergence.layers.at(-1)!.toFixed(4),
  ]);
  return [
    ["distance from the baseline", "loss, nats", "KL, nats", "same top token", "hidden error"],
    ...rows,
  ];
}

/** Header, and one row for each text with its perplexity. */
function textRows(
  measured: Evaluated["measured"],
  baseline: Evaluation | undefined,
): readonly (readonly string[])[] {
  const ppl = (value: number): string => value.toFixed(3);
  const hasRatio = measured.fromFirst?.other_tokens === undefined;
  const line = (name: string, [value, base]: readonly [number, number | undefined]): string[] => [
    name,
    ...(base === undefined ? [] : [ppl(base)]),
    ppl(value),
    ...(base === undefined || !hasRatio ? [] : [ppl(value / base)]),
  ];
  const scores = Object.entries(measured.texts);
  const rows = scores.map(([name, score]) => [
    ...line(name, [score.ppl, baseline?.texts[name]?.ppl]),
    `${score.windows}`,
  ]);
  const mean = (evaluation: Evaluation): number => meanPerplexity(Object.values(evaluation.texts));
  if (scores.length > 1) {
    rows.push(line("geometric mean", [mean(measured), baseline && mean(baseline)]));
  }
  const beside = ["text", "baseline ppl", "ppl", ...(hasRatio ? ["ratio"] : [])];
  return [[...(baseline === undefined ? ["text", "ppl"] : beside), "windows"], ...rows];
}

/** Header, and one row for each task with its accuracies and their standard errors. */
function taskRows(measured: Evaluation, baseline: Evaluation | undefined): readonly (readonly string[])[] {
  const columns = [baseline, measured].filter((evaluation) => evaluation !== undefined);
  const row = (name: string): string[] => {
    const scores = columns.map(({ tasks }) => tasks[name]!);
    return [
      name,
      ...scores.map(({ acc, stderr }) => accuracy(acc, stderr)),
      ...scores.map(({ acc_norm, acc_norm_stderr }) => accuracy(acc_norm, acc_norm_stderr)),
      `${scores[0]!.n}`,
    ];
  };
  const accuracies = ["acc", "acc_norm"];
  const header = accuracies.flatMap((name) => (baseline === undefined ? [name] : [`baseline ${name}`, name]));
  return [["task", ...header, "documents"], ...Object.keys(measured.tasks).map(row)];
}

function accuracy(mean: number, standardError: number | null): string {
  return `${mean.toFixed(3)} ±${standardError?.toFixed(3) ?? "?"}`;
}
