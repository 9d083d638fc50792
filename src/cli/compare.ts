/** `gprune compare` */
import { type ComparedModel, compareModels } from "../evaluate/compare.ts";
import { comparisonTable } from "../report/comparison_table.ts";
import { withModels } from "./models.ts";
import { print, printJson } from "./terminal.ts";
import { parseTextSets, requireTexts } from "./text_sets.ts";

interface CompareOptions {
  readonly text?: readonly string[];
  readonly tasks?: readonly string[];
  readonly seqLen: number;
  readonly limit?: number;
  readonly threads?: number;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export async function compareCommand(
  [first, second, others]: readonly [string, string, readonly string[]],
  { text = [], tasks: task = [], seqLen, limit, threads, json, quiet }: CompareOptions,
): Promise<void> {
  const texts = parseTextSets(text, "--text");
  const tasks = parseTextSets(task, "--tasks");
  await requireTexts(texts);
  await requireTexts(tasks, "documents of task");
  const models: readonly ComparedModel[] = await withModels(
    [first, second, ...others],
    { threads, quiet },
    ({ models: opened, runtime, onProgress }) =>
      compareModels({ models: opened, runtime }, texts, { seqLen, tasks, limit, onProgress }),
  );
  if (json) printJson({ models });
  else print(comparisonTable(models));
}
