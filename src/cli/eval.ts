/** `gprune eval` */
import { type Evaluation, evaluate, geometricMean } from "../evaluate/evaluate.ts";
import { Runtime } from "../graph/runtime.ts";
import { openModel } from "../model/checkpoint.ts";
import type { Model } from "../model/model.ts";
import type { OnProgress } from "../progress.ts";
import { withProgress } from "./progress.ts";
import { plainText, print, printJson, table } from "./terminal.ts";
import { parseTextSets, requireTexts } from "./text_sets.ts";

interface EvalOptions {
  readonly text: readonly string[];
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
  { text, seqLen, limit, baseline, threads, quiet }: EvalOptions,
): Promise<Evaluations> {
  const texts = parseTextSets(text, "--text");
  await requireTexts(texts);
  const models: Model[] = [];
  const runtime = new Runtime(threads === undefined ? {} : { threads });
  try {
    for (const name of baseline === undefined ? [path] : [path, baseline]) models.push(await openModel(name));
    const [first, second] = await withProgress({ quiet }, async (onProgress) => {
      const results: Evaluation[] = [];
      for (const [index, model] of models.entries()) {
        const options = { seqLen, limit, onProgress: index === 0 ? onProgress : ofBaseline(onProgress) };
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

function ofBaseline(onProgress: OnProgress): OnProgress {
  return (event) => onProgress({ ...event, stage: `${event.stage} (baseline)` });
}

function report(own: Evaluation, baseline: Evaluation | undefined): string {
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
  const names = [own, baseline].flatMap((evaluation) => (evaluation ? [plainText(evaluation.model)] : []));
  return [names.join(" against "), table([[...header, "windows"], ...rows])].join("\n");
}
