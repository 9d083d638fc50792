/** `gprune demo`: the table and the texts that src/demo.ts produces. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DEMO_KINDS, type DemoRow, runDemo } from "../demo.ts";
import { plainText, print, progressDisplay, table } from "./terminal.ts";

interface DemoCommandOptions {
  readonly output?: string;
  readonly sparsity: number;
  readonly quiet?: boolean;
}

/** Beginnings in two of the languages the demo model knows. */
const PROMPTS = {
  stories: "Once upon a time",
  arithmetic: "12 + 7 =",
};

export async function demoCommand({ output, sparsity, quiet }: DemoCommandOptions): Promise<void> {
  const directory = output ?? (await mkdtemp(join(tmpdir(), "gprune-demo-")));
  const display = progressDisplay({ quiet });
  try {
    const { onProgress } = display;
    const rows = await runDemo({ output: directory, sparsity, prompts: PROMPTS, onProgress });
    display.stop();
    print(report(rows, sparsity));
    print(plainText(rows.at(-1)!.path));
  } finally {
    display.stop();
  }
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
    `${prompt} ...`,
    ...rows.map(({ title, continuations }) => `  ${title.padEnd(20)} ${oneLine(continuations[kind]!)}`),
  ]);
  const removed = `${Math.round(100 * sparsity)} % of attention and FFN removed; mean = geometric mean`;
  return ["", table([header, ...body]), removed, ...texts, ""].join("\n");
}

function oneLine(text: string): string {
  return plainText(text.replaceAll("\n", " / ")).slice(0, 90);
}
