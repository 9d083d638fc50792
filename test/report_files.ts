/** Made-up files of a run with everything that a report can show, and any names. */

import { analyseUnits, type SplitImportance } from "../src/gprune/analysis.ts";
import { explainDecision } from "../src/gprune/explanation.ts";
import type { JsonValue } from "../src/io/files/json_document.ts";
import { spacesOf } from "../src/model/spaces.ts";
import { makePlan } from "../src/prune/plan.ts";
import type { RunFiles } from "../src/report/report_data.ts";
import { runRecord } from "../src/report/run_record.ts";
import { savedEvaluation } from "../src/report/saved_evaluation.ts";
import { randomStream } from "../src/tensor/random.ts";
import { tinyConvolution, tinyDelta, tinyMamba, tinyModel } from "./tiny_model.ts";

export interface ReportFilesOptions {
  /** Names of sets, texts, tasks, paths and models. */
  readonly names?: readonly [string, string];
  /** Whether the model was trained by distillation, which gives a loss curve. */
  readonly trained?: boolean;
  /** Baseline of the evaluation; the model that was pruned when absent. */
  readonly baseline?: string;
  /** The model that was pruned. */
  readonly base?: string;
}

const model = tinyModel({
  layers: [
    { neurons: 90 },
    { neurons: 70, kvGroups: 3 },
    tinyConvolution({ length: 3, biases: false }, 80),
    tinyDelta({}, 80),
    tinyMamba({}, 80),
    tinyMamba({}, 0),
  ],
});
const spaces = spacesOf(model.spec);

/** Files with a plan, an evaluation against a baseline and, if trained, a loss curve. */
export function reportFiles({
  names = ["web", "code"],
  trained = false,
  base = `models/${names[0]}`,
  baseline = base,
}: ReportFilesOptions = {}): RunFiles {
  const keep = { "layers.0.ffn": [0, 2, 5, 80], "layers.1.kv": [0, 2] };
  const widths = { ffn: [4, 70, 80, 80, 80, 0], kv: [2, 2, 0, 0, 0, 0] };
  const per = <T>(of: (name: string, index: number) => T): Readonly<Record<string, T>> =>
    Object.fromEntries(names.map((name, index) => [name, of(name, index)]));
  const record = runRecord(
    {
      sparsity: { asked: 0.4, achieved: 0.398 },
      parameters: { before: 5000, after: 2900 },
      widths,
      runtimes: { gprune: "yes", transformers: `no (${names[0]})` },
      held_out: per((_, index) => ({ windows: 2, dense: 10 + index, pruned: 15 + 2 * index })),
      timings: { open: 0.1, calibrate: 12.5, decide: 70, save: 0 },
      calibration: per(() => ({ windows: 4, tokens: 400, refit_windows: 1234 })),
      tokens_per_second: 1234.5,
      peak_rss_bytes: 2 ** 29,
      versions: { gprune: "0.0.0", node: "20.0.0" },
    },
    {
      model,
      started: new Date("2026-01-02T03:04:05Z"),
      settings: {
        model: base,
        output: `runs/${names[1]}`,
        ...({
          method: "gprune",
          metric: "flap-wifv",
          allocation: "learned",
          recover: "lstsq",
          rounds: 2,
        } as object),
        calibration: names.map((name) => ({ name, path: `texts/${name}`, weight: 2 })),
      },
    },
  );
  return {
    record,
    plan: makePlan(
      model.spec,
      keep,
      JSON.parse(JSON.stringify(provenance(names, keep))) as Readonly<Record<string, JsonValue>>,
    ),
    evaluation: evaluation(names, baseline),
    curve: trained
      ? [1, 2, 3].map((step) => ({ step, divergence: 1 / step, hidden: 0.1, learningRate: 1e-4 }))
      : null,
  };
}

function provenance(names: readonly string[], keep: Readonly<Record<string, readonly number[]>>) {
  const importance = (seed: string): Map<string, Float64Array> =>
    new Map(
      spaces.map(({ id, units, unitChannels }) => {
        return [id, Float64Array.from({ length: units * unitChannels }, randomStream(0, seed + id))];
      }),
    );
  const sets = new Map(
    names.map((name): [string, SplitImportance] => [
      name,
      { whole: importance(name), halves: [importance(`${name}1`), importance(`${name}2`)] },
    ]),
  );
  const request = {
    spaces,
    sets,
    pooled: importance("p"),
    fallback: importance("f"),
    seed: 0,
    maxModules: 4,
  };
  const losses = (more: number) => Object.fromEntries(names.map((name, index) => [name, 2 + index + more]));
  const rounds = [0.2, 0.4].map((sparsity) => ({ sparsity, losses: losses(sparsity), weights: losses(0) }));
  const analyses = analyseUnits(request);
  const consensus = new Map(analyses.map(({ space, orders }) => [space.id, orders.map(() => 0.25)]));
  return { rounds, ...explainDecision({ analyses, keep, rounds: [], consensus }) };
}

function evaluation([first, second]: readonly [string, string], against: string) {
  const score = (ppl: number) => ({ ppl, nll: Math.log(ppl), windows: 3, tokens: 30 });
  const accuracy = (acc: number) => ({ acc, acc_norm: acc, stderr: 0.1, acc_norm_stderr: null, n: 10 });
  const far = { kl: 0.5, agreement: 0.75, loss_difference: 0.25, layers: [0.1, 0.3] };
  const measured = {
    model: first,
    texts: { [first]: score(14), [second]: score(30) },
    tasks: { [first]: accuracy(0.5) },
    fromFirst: { divergence: { [first]: far, [second]: far } },
  };
  const baseline = {
    model: against,
    texts: { [first]: score(10), [second]: score(20) },
    tasks: { [first]: accuracy(0.6) },
  };
  return savedEvaluation(measured, baseline, { seqLen: 64 });
}
