/**
 * The main job on the embedded model: prune it with a single calibration set and with several, by a published metric
 * alone and with GPrune, and measure every result on held-out text of every kind.
 */
import { join } from "node:path";
import { packageDirectory } from "./base/package.ts";
import { type OnProgress, silent } from "./base/progress.ts";
import { type RunConfigInput, resolveRunConfig } from "./config.ts";
import { endingIds } from "./evaluate/decoding.ts";
import { evaluate } from "./evaluate/evaluate.ts";
import { generate } from "./evaluate/generate.ts";
import { meanPerplexity, type TextScore } from "./evaluate/perplexity.ts";
import { DecoderRunner } from "./graph/decoder/decoder_runner.ts";
import { CPU, type Device } from "./graph/runtime/device.ts";
import { Runtime } from "./graph/runtime/runtime.ts";
import { openModel } from "./model/checkpoint/checkpoint.ts";
import { Tokenizer } from "./model/tokenizer/tokenizer.ts";
import { prune } from "./pipeline.ts";

/** Kinds of text that the demo model was trained on; demo/texts has files of these names. */
export const DEMO_KINDS = ["almanac", "arithmetic", "code", "records", "stories", "tongue"] as const;

/** The kind that is used alone, as an example of a narrow calibration set. */
const SINGLE_KIND = "stories";
const SEQ_LEN = 256;
const EVALUATION_WINDOWS = 12;

/**
 * A model of the demo: its settings in words, its scores on each kind of text, and its continuations of the prompts.
 */
export interface DemoRow {
  readonly title: string;
  readonly path: string;
  readonly scores: Readonly<Record<string, TextScore>>;
  readonly geometricMean: number;
  readonly continuations: Readonly<Record<string, string>>;
}

export interface DemoOptions {
  /** Directory for the pruned models, each in a directory of its own. */
  readonly output: string;
  readonly sparsity: number;
  /** Where graphs run; the CPU when absent. */
  readonly device?: Device;
  /** Prompts to continue, by kind of text. */
  readonly prompts: Readonly<Record<string, string>>;
  readonly onProgress?: OnProgress;
  /** Called with the directories that pruning a model writes, once no other run can be writing them. */
  readonly onOutput?: (paths: readonly string[]) => void;
  /** Ends the demo after the current unit of work, or in ten seconds. It cannot be resumed. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Prunes and measures; the first row is the dense model.
 * @throws GpruneError INTERRUPTED after the signal, and what `prune` and `evaluate` throw
 */
export async function runDemo(options: DemoOptions): Promise<readonly DemoRow[]> {
  const model = join(packageDirectory(), "demo", "model");
  const rows = [await measure("dense", model, options)];
  for (const [title, settings] of Object.entries(VARIANTS)) {
    const output = join(options.output, directoryName(title));
    const { sparsity, device = CPU, onProgress = silent, onOutput = () => {}, signal } = options;
    const place = { device: device.name, deviceDtype: device.dtype };
    const input = { ...SHARED_SETTINGS, ...settings, ...place, model, output, sparsity };
    const config = resolveRunConfig(input, "demo");
    const onProgressOfRun: OnProgress = (event) => {
      // A run that is refused because another one has the output reports no progress.
      onOutput([output, `${output}.run`]);
      onProgress(event);
    };
    await prune(config, { onProgress: onProgressOfRun, ...(signal && { signal }) });
    rows.push(await measure(title, output, options));
  }
  return rows;
}

const SHARED_SETTINGS = { metric: "flap-wifv", seqLen: SEQ_LEN } as const;

const VARIANTS: Readonly<Record<string, RunConfigInput>> = {
  [`flap, ${SINGLE_KIND} only`]: {
    method: "none",
    calibration: calibrationOf([SINGLE_KIND]),
    samples: 8 * DEMO_KINDS.length,
  },
  "flap, all kinds": { method: "none", calibration: calibrationOf(DEMO_KINDS), samples: 8 },
  "gprune, all kinds": { method: "gprune", calibration: calibrationOf(DEMO_KINDS), samples: 8 },
};

function directoryName(title: string): string {
  return title.replaceAll(/[^a-z0-9]+/g, "-");
}

function calibrationOf(kinds: readonly string[]): { name: string; path: string }[] {
  return kinds.map((name) => ({ name, path: textPath("calibration", name) }));
}

function textPath(part: "calibration" | "heldout", kind: string): string {
  return join(packageDirectory(), "demo", "texts", part, `${kind}.txt`);
}

async function measure(
  title: string,
  path: string,
  { device = CPU, prompts, onProgress = silent, signal }: DemoOptions,
): Promise<DemoRow> {
  const model = await openModel(path);
  const runtime = new Runtime({ device });
  try {
    const texts = DEMO_KINDS.map((name) => ({ name, path: textPath("heldout", name), weight: 1 }));
    const evaluation = await evaluate({ model, runtime }, texts, {
      seqLen: SEQ_LEN,
      limit: EVALUATION_WINDOWS,
      signal,
      onProgress: (event) => onProgress({ ...event, stage: `${title}: ${event.stage}` }),
    });
    const tokenizer = Tokenizer.of(model);
    const runner = new DecoderRunner(model, runtime);
    const continuations: Record<string, string> = {};
    for (const [kind, prompt] of Object.entries(prompts)) {
      const ids = await generate(runner, tokenizer.encode(prompt), {
        maxTokens: 24,
        stopIds: endingIds(model, tokenizer),
      });
      continuations[kind] = tokenizer.decode(ids);
    }
    const { texts: scores } = evaluation;
    return { title, path, scores, geometricMean: meanPerplexity(Object.values(scores)), continuations };
  } finally {
    await runtime.close();
    await model.weights.close();
  }
}
