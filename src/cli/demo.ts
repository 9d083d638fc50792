/** `gprune demo`: the table and the texts that src/demo.ts produces. */
import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DEMO_KINDS, type DemoRow, runDemo } from "../demo.ts";
import { requireEmptyDirectory } from "../io/output_place.ts";
import { type DeviceOptions, findDeviceFor } from "./device.ts";
import { onInterrupt } from "./interrupt.ts";
import { withProgress } from "./progress.ts";
import { plainText, print, printJson, table } from "./terminal.ts";

interface DemoCommandOptions extends DeviceOptions {
  readonly output?: string;
  readonly sparsity: number;
  readonly quiet?: boolean;
  readonly json?: boolean;
}

/** Beginnings in three of the languages the demo model knows. */
const PROMPTS = {
  stories: "Once there was a girl called",
  arithmetic: "Exercise 1. Multiply 34 by 6.\nFirst:",
  code: "# count the tables whose size is above the limit\nfn",
};

export async function demoCommand({ output, ...options }: DemoCommandOptions): Promise<void> {
  if (output === undefined) return inTemporaryDirectory((directory) => demo(directory, options));
  await requireEmptyDirectory(output);
  await demo(output, options);
}

async function demo(
  output: string,
  { sparsity, quiet, json, ...options }: Omit<DemoCommandOptions, "output">,
): Promise<void> {
  const { used: device } = await findDeviceFor(options);
  const rows = await withProgress({ quiet }, (onProgress) =>
    runDemo({ output, sparsity, device, prompts: PROMPTS, onProgress }),
  );
  if (json) return printJson({ sparsity, models: rows.map(plainRow) });
  print(report(rows, sparsity));
  print(plainText(rows.at(-1)!.path));
}

/** The directory stays when `run` succeeds, and only then. */
async function inTemporaryDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "gprune-demo-"));
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  const forget = onInterrupt(remove);
  try {
    await run(directory);
  } catch (error) {
    remove();
    throw error;
  } finally {
    forget();
  }
}

/** A row as `--json` prints it. */
function plainRow({ geometricMean, ...row }: DemoRow): Readonly<Record<string, unknown>> {
  return { ...row, geometric_mean: geometricMean };
}

function report(rows: readonly DemoRow[], sparsity: number): string {
  const header = ["perplexity on held-out text", ...DEMO_KINDS, "mean"];
  const body = rows.map(({ title, scores, geometricMean }) => [
    title,
    ...DEMO_KINDS.map((kind) => scores[kind]!.ppl.toFixed(2)),
    geometricMean.toFixed(2),
  ]);
  const texts = Object.entries(PROMPTS).flatMap(([kind, prompt]) => [
    "",
    `${oneLine(prompt)} ...`,
    ...rows.map(({ title, continuations }) => `  ${title.padEnd(20)} ${oneLine(continuations[kind]!)}`),
  ]);
  const removed = `${Math.round(100 * sparsity)} % of attention and FFN removed; mean = geometric mean`;
  return ["", table([header, ...body]), removed, ...texts, ""].join("\n");
}

function oneLine(text: string): string {
  return plainText(text.replaceAll("\n", " / ")).slice(0, 90);
}
