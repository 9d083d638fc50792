/**
 * Progress of a training run on disk: weights, both moments and the loss curve, so that an interrupted run goes on where it
 * was and ends with the same bytes. A checkpoint is a directory `step-N` that appears complete or not at all; the one
 * before it goes when the new one is there.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { z } from "zod";
import { GpruneError } from "../errors.ts";
import { CONFIG_JSON_LIMITS, readJsonFile } from "../io/json.ts";
import { listDirectories, removeDirectory, writeDirectoryAtomically } from "../io/output_directory.ts";
import { writeNewFile } from "../io/output_file.ts";
import { openCheckpointTensors } from "../io/safetensors_shards.ts";
import { type TensorToWrite, writeSafetensors } from "../io/safetensors_writer.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { TrainingState } from "./training_state.ts";

/** Seconds between two checkpoints. */
const INTERVAL_SECONDS = 300;
const FACTS_FILE = "training.json";

const factsSchema = z.strictObject({
  fingerprint: z.string(),
  curve: z.array(
    z.strictObject({
      step: z.int().positive(),
      divergence: z.number(),
      hidden: z.number(),
      learningRate: z.number(),
    }),
  ),
});

/** The checkpoints of one run. */
export class DistillCheckpoints {
  readonly #directory: string;
  readonly #settings: string;
  #fingerprint = "";
  #lastSaved = performance.now();

  /**
   * @param directory - made when the first checkpoint is written
   * @param settings - all that decides how training goes on, besides the weights it starts from
   */
  constructor(directory: string, settings: string) {
    this.#directory = directory;
    this.#settings = settings;
  }

  /**
   * Brings a state that has not made a step yet to where the last run stopped; leaves it alone when there was none.
   * @throws GpruneError BAD_CHECKPOINT when the run there had other settings or other weights
   */
  async restore(state: TrainingState): Promise<void> {
    this.#fingerprint = fingerprintOf(state, this.#settings);
    const name = await this.#newest();
    if (name === undefined) return;
    const path = join(this.#directory, name);
    const facts = factsSchema.parse(await readJsonFile(join(path, FACTS_FILE), CONFIG_JSON_LIMITS));
    if (facts.fingerprint !== this.#fingerprint) {
      throw new GpruneError("BAD_CHECKPOINT", `${path}: expected progress of this run, got another one's`, {
        hint: `Repeat the command that made it, or remove ${this.#directory} to start anew.`,
      });
    }
    await readState(path, state);
    state.curve.push(...facts.curve);
  }

  /** Writes a checkpoint when the last one is some minutes old. */
  async save(state: TrainingState): Promise<void> {
    if (performance.now() - this.#lastSaved < INTERVAL_SECONDS * 1000) return;
    await this.write(state);
    this.#lastSaved = performance.now();
  }

  /** Writes a checkpoint now. */
  async write({ tensors, optimizer, curve }: TrainingState): Promise<void> {
    const before = await this.#newest();
    const name = stepName(curve.length);
    if (name === before) return;
    const facts = `${JSON.stringify({ fingerprint: this.#fingerprint, curve })}\n`;
    await writeDirectoryAtomically(join(this.#directory, name), async (directory) => {
      await writeSafetensors(directory, [
        ...stored("weight", tensors),
        ...[...optimizer.moments].flatMap(([of, { first, second }]) => [
          ...stored("first", new Map([[of, vector(first)]])),
          ...stored("second", new Map([[of, vector(second)]])),
        ]),
      ]);
      await writeNewFile(join(directory, FACTS_FILE), (file) => file.write(Buffer.from(facts)));
    });
    if (before !== undefined) await removeDirectory(join(this.#directory, before));
  }

  /** Removes all of it, once the result is safe. */
  async clear(): Promise<void> {
    await removeDirectory(this.#directory);
  }

  async #newest(): Promise<string | undefined> {
    const names = await listDirectories(this.#directory);
    return names
      .filter((name) => /^step-\d+$/.test(name))
      .sort()
      .at(-1);
  }
}

function stepName(step: number): string {
  return `step-${String(step).padStart(9, "0")}`;
}

function vector(data: Float32Array): Tensor {
  return { shape: [data.length], data };
}

function stored(part: string, tensors: ReadonlyMap<string, Tensor>): readonly TensorToWrite[] {
  return Array.from(tensors, ([name, tensor]) => ({
    name: `${part}/${name}`,
    shape: tensor.shape,
    dtype: "F32" as const,
    read: async () => tensor,
  }));
}

/** Fills the state's weights in place, and the optimiser's moments. */
async function readState(path: string, { tensors, optimizer }: TrainingState): Promise<void> {
  const source = await openCheckpointTensors(path);
  try {
    for (const [name, { data }] of tensors) {
      data.set((await source.read(`weight/${name}`)).data);
      const first = (await source.read(`first/${name}`)).data;
      optimizer.moments.set(name, { first, second: (await source.read(`second/${name}`)).data });
    }
  } finally {
    await source.close();
  }
}

function fingerprintOf({ tensors }: TrainingState, settings: string): string {
  const hash = createHash("sha256").update(settings);
  for (const [name, { data }] of tensors) {
    hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest("hex");
}
