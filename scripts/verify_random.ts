/**
 * Checks that gprune computes random models as PyTorch does, and that transformers computes pruned outputs of them as
 * gprune does: models with configurations near those of the fixtures of all families (scripts/clients/random_models.py
 * makes them).
 *
 *   npm run verify:random -- [--count N] [--seed N] [--fixture NAME]... [--python PATH]
 *
 * N models of each fixture (3), or only of those that are named. pip installs transformers as for verify:clients,
 * unless --python names a Python that has it. Every second output has uniform widths, and every third biases.
 *
 * Configurations that gprune refuses are listed. Exits with 1 where it fails otherwise, where logits of a model differ
 * by more than 1e-4 of the largest, or where an output fails a check of verify:clients.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { GpruneError } from "../src/errors.ts";
import { DecoderRunner } from "../src/graph/decoder/decoder_runner.ts";
import { Runtime } from "../src/graph/runtime/runtime.ts";
import { openModel } from "../src/model/checkpoint/checkpoint.ts";
import { readAll } from "../test/golden_model.ts";
import { maxAbs, maxDifference } from "../test/numbers.ts";
import { runModel } from "../test/run_model.ts";
import { installPython } from "./clients/clients.ts";
import { FORMATS } from "./clients/formats.ts";
import { parseOptions, positiveInteger } from "./clients/options.ts";
import { withScratch } from "./clients/scratch.ts";
import { prunedSubject, SHAPES, type Subject } from "./clients/subjects.ts";
import { trial } from "./clients/trial.ts";

const HERE = import.meta.dirname;
const GOLDEN = join(HERE, "..", "test", "golden");

/** Largest accepted difference of logits, as a part of the largest. */
const TOLERANCE = 1e-4;

async function main(): Promise<number> {
  const { values } = parseOptions({
    options: {
      count: { type: "string", default: "3" },
      seed: { type: "string", default: "1" },
      fixture: { type: "string", multiple: true, default: [] },
      python: { type: "string" },
    },
  });
  const count = positiveInteger("count", values.count);
  const seed = positiveInteger("seed", values.seed);
  const python = values.python ?? installPython();
  return withScratch("random", async (scratch) => {
    const root = join(scratch, "models");
    makeModels(python, [GOLDEN, root, String(count), String(seed), ...values.fixture]);
    if (!existsSync(root)) throw new Error("transformers made no model of any of these configurations");
    const problems: string[] = [];
    const subjects: Subject[] = [];
    for (const [index, name] of readdirSync(root).sort().entries()) {
      const directory = join(root, name);
      const changed = readFileSync(join(directory, "changed.json"), "utf8");
      try {
        const problem = await problemOf(directory);
        if (problem !== null) problems.push(`${name}: ${problem}, with ${changed}`);
        const how = { shape: SHAPES[index % 2]!, biased: index % 3 === 0 };
        subjects.push(await prunedSubject(directory, join(scratch, `${name}-pruned`), how));
      } catch (error) {
        if (!(error instanceof GpruneError)) throw error;
        console.log(`refused: ${name}: ${error.message.replaceAll(directory, "")}`);
      }
    }
    console.log(
      `${readdirSync(root).length} models, of which ${problems.length} are not computed as PyTorch does`,
    );
    const options = {
      clients: ["transformers"],
      pythons: { transformers: python },
      threads: 1,
      scratch,
    } as const;
    const rows = await trial(
      subjects,
      FORMATS.filter(({ name }) => name === "hf f32"),
      options,
    );
    const failed = rows.flatMap(({ model, widths, problems: of }) =>
      of.map((each) => `${model} (${widths}): ${each}`),
    );
    console.log(`${rows.length} pruned outputs, of which transformers fails or differs in ${failed.length}`);
    for (const line of [...problems, ...failed]) console.log(line);
    return problems.length + failed.length > 0 ? 1 : 0;
  });
}

/** @throws Error when the program fails */
function makeModels(python: string, args: readonly string[]): void {
  const program = join(HERE, "clients", "random_models.py");
  const { status, error } = spawnSync(python, [program, ...args], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) throw new Error(`${program}: ${error?.message ?? `exit code ${status}`}`);
}

/** How a model's logits differ from PyTorch's; null where they do not. */
async function problemOf(directory: string): Promise<string | null> {
  const expected = await readAll(join(directory, "logits.safetensors"));
  const model = await openModel(directory);
  const runtime = new Runtime({ threads: 1 });
  try {
    const { maxPositions, vocabSize } = model.spec;
    const ids = Int32Array.from(expected.get("input_ids")!.data).slice(0, maxPositions);
    const theirs = expected.get("logits")!.data.subarray(0, ids.length * vocabSize);
    const { logits } = await runModel(new DecoderRunner(model, runtime), [ids]);
    const difference = maxDifference(logits, theirs) / Math.max(1, maxAbs(theirs));
    return difference <= TOLERANCE ? null : `logits differ by ${difference.toExponential(1)} of the largest`;
  } finally {
    await runtime.close();
    await model.weights.close();
  }
}

process.exitCode = await main();
