/** `gprune eval` */
import { parseTextSet, type TextSet } from "../calibrate/windows.ts";
import { type Evaluation, evaluate, geometricMean } from "../evaluate/evaluate.ts";
import { Runtime } from "../graph/runtime.ts";
import { openModel } from "../model/checkpoint.ts";
import { plainText, print, printJson, progressDisplay, table } from "./terminal.ts";

interface EvalOptions {
  readonly text: readonly string[];
  readonly seqLen: number;
  readonly limit?: number;
  readonly baseline?: string;
  readonly threads?: number;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export async function evalCommand(path: string, options: EvalOptions): Promise<void> {
  const texts = options.text.map((argument) => parseTextSet(argument, "--text"));
  const evaluation = await evaluateModel(path, texts, options);
  const baseline =
    options.baseline === undefined ? undefined : await evaluateModel(options.baseline, texts, options);
  if (options.json) printJson(baseline === undefined ? evaluation : { ...evaluation, baseline });
  else print(tableOf(evaluation, baseline));
}

async function evaluateModel(
  path: string,
  texts: readonly TextSet[],
  options: EvalOptions,
): Promise<Evaluation> {
  const model = await openModel(path);
  const runtime = new Runtime(options.threads === undefined ? {} : { threads: options.threads });
  const display = progressDisplay({ quiet: options.quiet });
  try {
    const { seqLen, limit } = options;
    return await evaluate({ model, runtime }, texts, { seqLen, limit, onProgress: display.onProgress });
  } finally {
    display.stop();
    await runtime.close();
    await model.weights.close();
  }
}

function tableOf({ model, texts }: Evaluation, baseline: Evaluation | undefined): string {
  const ppl = (value: number): string => value.toFixed(3);
  const names = Object.keys(texts);
  const header = [
    "text",
    "windows",
    ...(baseline ? ["baseline ppl"] : []),
    "ppl",
    ...(baseline ? ["ratio"] : []),
  ];
  const rows = names.map((name) => {
    const own = texts[name]!;
    const base = baseline?.texts[name];
    return base === undefined
      ? [plainText(name), String(own.windows), ppl(own.ppl)]
      : [plainText(name), String(own.windows), ppl(base.ppl), ppl(own.ppl), ppl(own.ppl / base.ppl)];
  });
  if (names.length > 1) {
    const mean = geometricMean(Object.values(texts));
    const base = baseline && geometricMean(Object.values(baseline.texts));
    rows.push(
      base === undefined
        ? ["geometric mean", "", ppl(mean)]
        : ["geometric mean", "", ppl(base), ppl(mean), ppl(mean / base)],
    );
  }
  return [plainText(model), table([header, ...rows])].join("\n");
}
