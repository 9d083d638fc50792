/** `gprune compare` */
import { type ComparedModel, compareModels } from "../evaluate/compare.ts";
import { comparisonTable } from "../report/comparison_table.ts";
import { keeping } from "./keeping.ts";
import { type MaterialOptions, namedMaterial, sayWithoutBos } from "./material.ts";
import { type ComputingOptions, withModels } from "./models.ts";
import { print, printJson } from "./terminal.ts";

interface CompareOptions extends MaterialOptions, ComputingOptions {
  readonly resume?: string;
  readonly speed?: boolean;
  readonly batch: number;
  readonly promptTokens: number;
  readonly newTokens: number;
  readonly repeats: number;
  readonly json?: boolean;
}

export async function compareCommand(
  [first, second, others]: readonly [string, string, readonly string[]],
  { resume, json, ...options }: CompareOptions,
): Promise<void> {
  const { texts, ...material } = await namedMaterial(options);
  const models: readonly ComparedModel[] = await withModels(
    [first, second, ...others],
    options,
    ({ models: opened, runtime, onProgress }) => {
      const speed = options.speed ? { ...options, onProgress } : undefined;
      const onWithoutBos = options.quiet ? undefined : sayWithoutBos;
      const settings = { ...material, speed, onProgress, onWithoutBos, ...keeping(resume) };
      return compareModels({ models: opened, runtime }, texts, settings);
    },
  );
  if (json) printJson({ models });
  else print(comparisonTable(models));
}
