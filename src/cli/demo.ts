/** `gprune demo`: prints the results of src/demo.ts as a table and continued texts. */
import { rmdirSync, rmSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { DEMO_KINDS, type DemoOptions, type DemoRow, runDemo } from "../demo.ts";
import { GpruneError } from "../errors.ts";
import { nearestExisting } from "../io/files/nearest_existing.ts";
import { requireEmptyDirectory } from "../io/files/output_place.ts";
import { makeTemporary } from "../io/files/scratch.ts";
import { stopSignal } from "./compute_child.ts";
import { findDeviceFor } from "./device.ts";
import type { DeviceOptions } from "./device_options.ts";
import { onInterrupt } from "./interrupt.ts";
import { withProgress } from "./progress.ts";
import { plainText, print, printJson, table } from "./terminal.ts";

interface DemoCommandOptions extends DeviceOptions {
  readonly output?: string;
  readonly sparsity: number;
  readonly quiet?: boolean;
  readonly json?: boolean;
}

/** Prompts for three of the kinds of text that the demo model was trained on. */
const PROMPTS = {
  stories: "Once there was a girl called",
  arithmetic: "Exercise 1. Multiply 34 by 6.\nFirst:",
  code: "# count the tables whose size is above the limit\nfn",
};

export async function demoAction({ output, ...options }: DemoCommandOptions): Promise<void> {
  if (output === undefined) {
    const directory = makeTemporary("gprune-demo-");
    return keptWhenDone(async (makes) => {
      makes([directory]);
      await demo(directory, options);
    });
  }
  await requireEmptyDirectory(output);
  const above = missingDirectories(resolve(output));
  await keptWhenDone((makes) => demo(output, { ...options, onOutput: makes }), above);
}

async function demo(
  output: string,
  {
    sparsity,
    quiet,
    json,
    onOutput,
    ...options
  }: Omit<DemoCommandOptions, "output"> & Pick<DemoOptions, "onOutput">,
): Promise<void> {
  const { used: device } = await findDeviceFor(options);
  const rows = await withProgress({ quiet }, (onProgress) =>
    runDemo({
      output,
      sparsity,
      device,
      prompts: PROMPTS,
      onProgress,
      signal: stopSignal(),
      ...(onOutput && { onOutput }),
    }),
  );
  if (json) return printJson({ sparsity, models: rows.map(plainRow) });
  print(report(rows, sparsity));
  print(rows.at(-1)!.path);
}

/** A path and the directories above it that do not exist yet, the deepest first. */
function missingDirectories(path: string): readonly string[] {
  return nearestExisting(path) === path ? [] : [path, ...missingDirectories(dirname(path))];
}

/**
 * Runs, and removes what it has made when it fails.
 * @param run - calls `makes` with the paths it is about to make; others in the same place may belong to another process
 * @param above - directories that are removed as well if nothing else is in them
 */
export async function keptWhenDone(
  run: (makes: (paths: readonly string[]) => void) => Promise<void>,
  above: readonly string[] = [],
): Promise<void> {
  const made = new Set<string>();
  const remove = (): void => {
    for (const path of made)
      unlessRefused(() => rmSync(path, { recursive: true, force: true, maxRetries: 3 }));
    for (const path of above) unlessRefused(() => rmdirSync(path));
  };
  const forget = onInterrupt(remove);
  try {
    await run((paths) => {
      for (const path of paths) made.add(path);
    });
  } catch (error) {
    remove();
    throw inDemo(error);
  } finally {
    forget();
  }
}

/** The error with a hint that fits the demo: its runs cannot be resumed, and its options are few. */
function inDemo(error: unknown): unknown {
  if (!(error instanceof GpruneError)) return error;
  const { code, message, hint } = error;
  if (code === "INTERRUPTED") return new GpruneError(code, message, { cause: error });
  if (code !== "OUTPUT_FAILED" || !hint?.includes("--")) return error;
  return error.inOtherWords({ hint: "Free some space, or write to another disk: gprune demo -o DIR." });
}

/** Ignores errors of removing files: the error that ended the demo is the one to report. */
function unlessRefused(work: () => void): void {
  try {
    work();
  } catch {}
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
