/** `gprune compare` */
import { type ComparedModel, compareModels } from "../evaluate/compare.ts";
import { comparisonTable } from "../report/comparison_table.ts";
import { keeping } from "./keeping.ts";
import { withModels } from "./models.ts";
import { print, printJson } from "./terminal.ts";
import { parseTextSets, requireTexts } from "./text_sets.ts";

interface CompareOptions {
  readonly text?: readonly string[];
  readonly tasks?: readonly string[];
  readonly seqLen: number;
  readonly limit?: number;
  readonly resume?: string;
  readonly speed?: boolean;
  readonly batch: number;
  readonly promptTokens: number;
  readonly newTokens: number;
  readonly repeats: number;
  readonly threads?: number;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export async function compareCommand(
  [first, second, others]: readonly [string, string, readonly string[]],
  { text = [], tasks: task = [], seqLen, limit, resume, threads, json, quiet, ...options }: CompareOptions,
): Promise<void> {
  const texts = parseTextSets(text, "--text");
  const tasks = parseTextSets(task, "--tasks");
  await requireTexts(texts);
  await requireTexts(tasks, "documents of task");
  const models: readonly ComparedModel[] = await withModels(
    [first, second, ...others],
    { threads, quiet },
    ({ models: opened, runtime, onProgress }) => {
      const speed = options.speed ? { ...options, onProgress } : undefined;
      const settings = { seqLen, tasks, limit, speed, onProgress, ...keeping(resume) };
      return compareModels({ models: opened, runtime }, texts, settings);
    },
  );
  if (json) printJson({ models });
  else print(comparisonTable(models));
}
