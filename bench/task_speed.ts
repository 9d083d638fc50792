/**
 * Time of evaluating a task, relative to bare forward passes over the same tokens.
 *
 *   node --import tsx bench/task_speed.ts MODEL TASK [--limit 200] [--rounds 5] [--lengths 64,128,256,512] [--threads N]
 *       [--out bench/results/task_speed]
 *
 * Evaluation is `evaluate` as `gprune eval --tasks` calls it, from the task's file to its accuracies; the model is
 * already open. Bare passes take every distinct token once: all prompts, and all answers without their last token,
 * which predicts nothing; a common prefix counts once, even of different questions. These tokens, cut into windows of
 * one length, go through embeddings and layers, and as many rows as there are predictions through the head; the results
 * are dropped. The length is the one of `--lengths` that is fastest in a first round, which does not count. Rounds
 * measure both, alternating in which comes first. Times are wall-clock time, which other load lengthens, and CPU time
 * of all threads, which it does not. The table goes to PATH.md and PATH.json.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { basename, dirname, join } from "node:path";
import { parseOptions, positiveInteger, positiveIntegers, threadsOf } from "../scripts/clients/options.ts";
import { machine, markdownTable, rangeCell } from "../scripts/clients/table.ts";
import { versions } from "../src/base/package.ts";
import { silent } from "../src/base/progress.ts";
import { evaluate } from "../src/evaluate/evaluate.ts";
import type { Continuation } from "../src/evaluate/log_likelihood.ts";
import { readTask } from "../src/evaluate/task_file.ts";
import { encodeDocument, type TaskScore } from "../src/evaluate/tasks.ts";
import { DecoderRunner } from "../src/graph/decoder/decoder_runner.ts";
import { embedMicroBatches, forwardLayers, microBatches } from "../src/graph/decoder/forward.ts";
import { PrefixForest } from "../src/graph/decoder/prefix_forest.ts";
import { headRows } from "../src/graph/runtime/memory_policy.ts";
import { Runtime } from "../src/graph/runtime/runtime.ts";
import { openModel } from "../src/model/checkpoint/checkpoint.ts";
import type { Model } from "../src/model/model.ts";
import { Tokenizer } from "../src/model/tokenizer/tokenizer.ts";
import { type Spread, spread } from "../src/tensor/statistics.ts";

/** Distinct tokens of a task. */
interface BareTokens {
  readonly ids: Int32Array;
  /** Number of tokens from which something is predicted. */
  readonly predictions: number;
}

/** Wall-clock time and CPU time in seconds. */
interface Time {
  readonly clock: number;
  readonly processor: number;
}

/** Times of one round. */
interface Round {
  readonly evaluation: Time;
  readonly layers: Time;
  readonly head: Time;
}

/** Bare passes. */
interface Bare {
  readonly tokens: BareTokens;
  /** Tokens of a window. */
  readonly length: number;
}

const { values, positionals } = parseOptions({
  allowPositionals: true,
  options: {
    limit: { type: "string", default: "200" },
    rounds: { type: "string", default: "5" },
    lengths: { type: "string", default: "64,128,256,512" },
    threads: { type: "string" },
    out: { type: "string", default: join("bench", "results", "task_speed") },
  },
});
const [path, task] = positionals;
if (path === undefined || task === undefined) {
  throw new Error("usage: bench/task_speed.ts MODEL TASK; --help says more");
}
const limit = positiveInteger("limit", values.limit);
const rounds = positiveInteger("rounds", values.rounds);
const lengths = positiveIntegers("lengths", values.lengths);
const threads = threadsOf(values.threads);
const load = loadavg()[0]!;

const model = await openModel(path);
const runtime = new Runtime(threads === null ? {} : { threads });
const runner = new DecoderRunner(model, runtime);
const tokens = await bareTokens(model, task);
const { score } = await evaluated();
const bare: Bare = { tokens, length: await fastestLength() };
const measured: Round[] = [];
for (let round = 0; round < rounds; round++) {
  measured.push(await oneRound(round % 2 === 0));
  console.error(`round ${round + 1} of ${rounds}`);
}
write();
await runtime.close();
await model.weights.close();

/** Distinct tokens of all questions: the nodes of their prefix forest, predecessors first. */
async function bareTokens({ files, spec }: Model, file: string): Promise<BareTokens> {
  const tokenizer = Tokenizer.fromFiles(files);
  const documents = await readTask(file, limit);
  const forest = new PrefixForest();
  const predicting = new Set<number>();
  const add = ({ ids, context }: Continuation): void => {
    const nodes = forest.add(ids.subarray(0, -1));
    for (const node of nodes.subarray(context - 1)) predicting.add(node);
  };
  for (const document of documents) {
    encodeDocument(document, tokenizer, spec.maxPositions).continuations.forEach(add);
  }
  return { ids: forest.finish().ids, predictions: predicting.size };
}

async function oneRound(evaluationFirst: boolean): Promise<Round> {
  const early = evaluationFirst ? await evaluated() : null;
  const passes = await bareTime(bare);
  const { time } = early ?? (await evaluated());
  return { evaluation: time, ...passes };
}

async function evaluated(): Promise<{ readonly time: Time; readonly score: TaskScore }> {
  const since = stopwatch();
  const options = { seqLen: 512, tasks: [{ name: "task", path: task!, weight: 1 }], limit };
  const { tasks } = await evaluate({ model, runtime }, [], options);
  return { time: since(), score: tasks.task! };
}

async function fastestLength(): Promise<number> {
  const seconds: number[] = [];
  for (const length of lengths) seconds.push((await bareTime({ tokens, length })).layers.clock);
  return lengths[seconds.indexOf(Math.min(...seconds))]!;
}

async function bareTime({ tokens: { ids, predictions }, length }: Bare): Promise<Omit<Round, "evaluation">> {
  const since = stopwatch();
  const windows = Array.from({ length: Math.ceil(ids.length / length) }, (_, index) =>
    ids.subarray(index * length, (index + 1) * length),
  );
  const batches = await embedMicroBatches(runner, microBatches(windows));
  await forwardLayers(runner, batches, { stage: "bare", onProgress: silent });
  const layers = since();
  return { layers, head: await headTime(predictions) };
}

async function headTime(predictions: number): Promise<Time> {
  const { vocabSize, hiddenSize } = model.spec;
  const since = stopwatch();
  const head = await runner.loadHead();
  const most = headRows(vocabSize, runner.memory);
  for (let done = 0; done < predictions; done += most) {
    const rows = Math.min(most, predictions - done);
    const data = new Float32Array(rows * hiddenSize).fill(1);
    await runner.runHead("logits", head, { hidden: { shape: [rows, hiddenSize], data } });
  }
  return since();
}

/** Starts a clock. @returns a function that reads it */
function stopwatch(): () => Time {
  const [start, used] = [performance.now(), process.cpuUsage()];
  return () => {
    const { user, system } = process.cpuUsage(used);
    return { clock: (performance.now() - start) / 1000, processor: (user + system) / 1e6 };
  };
}

function write(): void {
  const times = (["clock", "processor"] as const).map((by) => ({ by, ...summaryBy(by) }));
  const result = {
    versions: versions(),
    machine: machine(),
    load,
    threads,
    model: basename(path!),
    task: basename(task!),
    score,
    tokens: tokens.ids.length,
    predictions: tokens.predictions,
    window: bare.length,
    rounds: measured,
    times,
  };
  const table = markdownTable(
    ["time by", "evaluation, s", "bare passes, s", "ratio", "over the layers alone"],
    times.map(({ by, evaluation, passes, ratio, overLayers }) => [
      by,
      ...[evaluation, passes].map((of) => rangeCell(of, 1)),
      ...[ratio, overLayers].map((of) => rangeCell(of, 2)),
    ]),
  );
  const text =
    `${machine()}, load ${load.toFixed(2)} at the start; ${result.model}, ${score.n} documents of ${result.task}, ` +
    `${result.tokens} different tokens in windows of ${bare.length}, ${tokens.predictions} predictions. ` +
    `Median (range) of ${rounds} rounds; ratios are those of each round.\n\n${table}\n`;
  mkdirSync(dirname(values.out), { recursive: true });
  writeFileSync(`${values.out}.md`, text);
  writeFileSync(`${values.out}.json`, `${JSON.stringify(result, null, 1)}\n`);
  console.log(text);
}

function summaryBy(
  by: keyof Time,
): Readonly<Record<"evaluation" | "passes" | "ratio" | "overLayers", Spread>> {
  const passes = measured.map(({ layers, head }) => layers[by] + head[by]);
  const evaluation = measured.map((round) => round.evaluation[by]);
  return {
    evaluation: spread(evaluation),
    passes: spread(passes),
    ratio: spread(evaluation.map((time, round) => time / passes[round]!)),
    overLayers: spread(evaluation.map((time, round) => time / measured[round]!.layers[by])),
  };
}
