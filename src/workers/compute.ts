/** Computes units: reads the inputs from the store, runs the pass, writes the outputs to the store. */

import { silent } from "../base/progress.ts";
import { calibrationSetText, measureActivations } from "../calibrate/calibrate.ts";
import { windowStatistics } from "../calibrate/gate_stats.ts";
import { windowSlopes } from "../calibrate/slopes.ts";
import { GpruneError } from "../errors.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { microBatches } from "../graph/decoder/forward.ts";
import { predictionLosses } from "../graph/decoder/loss.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { isHalfFree } from "../io/files/machine.ts";
import type { Digest } from "../io/files/stage_file.ts";
import { keepValue, requireValue, type Store } from "../io/store/store.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import { modelHashes } from "../model/checkpoint/model_hashes.ts";
import type { Model } from "../model/model.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { momentsUnit } from "./compute_moments.ts";
import { refitUnit } from "./compute_refit.ts";
import { overLayers } from "./layer_range.ts";
import { LastMadeModel } from "./made_model.ts";
import type {
  GradientsUnit,
  LossesUnit,
  OwnedWindows,
  SlopesUnit,
  StatisticsUnit,
  UnitJob,
  UnitResult,
  Windows,
} from "./unit.ts";

/** Options of {@link UnitComputer}. */
export interface ComputerOptions {
  readonly store: Store;
  /** Path of the model on this machine; the job's when absent. */
  readonly model?: string | undefined;
  readonly threads?: number | undefined;
  /** Whether tensors that were read may stay in memory; when absent, while half of the memory is free. */
  readonly hasRoom?: (() => boolean) | undefined;
}

/** Milliseconds without a unit after which the cached pruned model is dropped. */
const IDLE_MS = 60_000;

/** An open model whose files have been checked against the hashes of a run. */
interface VerifiedModel {
  readonly name: string;
  /** Expected hashes of its files, as JSON. */
  readonly hashes: string;
  readonly model: Model;
}

/** Computes one unit after another; the open model and compiled graphs stay between them. */
export class UnitComputer {
  readonly #options: ComputerOptions;
  readonly #runtime: Runtime;
  readonly #made: LastMadeModel;
  #dense: VerifiedModel | null = null;
  #idle: NodeJS.Timeout | undefined;

  constructor(options: ComputerOptions) {
    this.#options = options;
    this.#runtime = new Runtime({ threads: options.threads });
    const { store, hasRoom = isHalfFree } = options;
    this.#made = new LastMadeModel({ store, hasRoom });
  }

  /**
   * Opens the model of a unit unless it is open. Separate from `compute`, so that failures of this machine can be
   * distinguished from failures of the unit.
   * @throws GpruneError as `openModel`; MODEL_DIFFERS when this machine has another model
   */
  async open({ model, unit }: UnitJob): Promise<void> {
    await this.#verified(this.#options.model ?? model, unit.hashes);
  }

  /**
   * Computes a unit and writes its result to the store.
   * @throws GpruneError as the pass; STORE_FAILED; MODEL_DIFFERS when this machine has another model
   */
  async compute(job: UnitJob): Promise<UnitResult> {
    clearTimeout(this.#idle);
    try {
      return await this.#compute(job);
    } finally {
      this.#idle = setTimeout(() => this.#made.forget(), IDLE_MS).unref();
    }
  }

  async close(): Promise<void> {
    clearTimeout(this.#idle);
    await this.#dense?.model.weights.close();
    await this.#runtime.close();
  }

  async #compute({ model, unit }: UnitJob): Promise<UnitResult> {
    const { store } = this.#options;
    const dense = await this.#verified(this.#options.model ?? model, unit.hashes);
    const place = { dense, runtime: this.#runtime, store };
    if (unit.kind === "moments" || unit.kind === "refit") {
      // They take more memory than any other kind.
      this.#made.forget();
      return unit.kind === "moments" ? momentsUnit(unit, place) : refitUnit(unit, place);
    }
    const windows = (await requireValue(store, unit.windows)) as Windows;
    switch (unit.kind) {
      case "statistics":
        return this.#statistics(dense, unit, windows as OwnedWindows);
      case "gradients":
        return this.#gradients(dense, unit, windows);
      case "slopes":
        return this.#slopes(dense, unit, windows);
      case "losses":
        return this.#losses(dense, unit, windows);
    }
  }

  async #statistics(
    dense: Model,
    { first, end, hidden }: StatisticsUnit,
    { set, windows, owners }: OwnedWindows,
  ): Promise<UnitResult> {
    const { store } = this.#options;
    const before = hidden && ((await requireValue(store, hidden)) as readonly Tensor[]);
    let after: Digest | undefined;
    const range = { first, end, layers: dense.spec.layers.length };
    const checkpoints = overLayers(range, {
      before: () => before,
      after: async (output) => {
        after = await keepValue(store, output);
      },
    });
    const sets = [{ name: set, windows, owners }];
    const runner = new DecoderRunner(dense, this.#runtime);
    const { stats } = await measureActivations(runner, sets, { checkpoints, end });
    return { stats: await keepValue(store, stats), ...(after && { hidden: after }) };
  }

  async #gradients(
    dense: Model,
    { recipe, damped, centres }: GradientsUnit,
    { set, windows }: Windows,
  ): Promise<UnitResult> {
    const { store } = this.#options;
    const runner = new DecoderRunner(await this.#makeModel(dense, recipe), this.#runtime);
    const values = centres && ((await requireValue(store, centres)) as ReadonlyMap<string, Float32Array>);
    const batches = microBatches(windows, calibrationSetText({ name: set }));
    const gates = await windowStatistics(runner, batches, { damped, ...(values && { centres: values }) });
    return { windows: await keepValue(store, [...gates]) };
  }

  async #slopes(
    dense: Model,
    { recipe, centres }: SlopesUnit,
    { set, windows }: Windows,
  ): Promise<UnitResult> {
    const { store } = this.#options;
    const runner = new DecoderRunner(await this.#makeModel(dense, recipe), this.#runtime);
    const values = (await requireValue(store, centres)) as ReadonlyMap<string, Float32Array>;
    const batches = microBatches(windows, calibrationSetText({ name: set }));
    const slopes = await windowSlopes({ runner, dense }, batches, { centres: values });
    return { windows: await keepValue(store, [...slopes]) };
  }

  async #losses(dense: Model, { recipe }: LossesUnit, { windows }: Windows): Promise<UnitResult> {
    const runner = new DecoderRunner(await this.#makeModel(dense, recipe), this.#runtime);
    return { losses: await keepValue(this.#options.store, await predictionLosses(runner, windows)) };
  }

  async #makeModel(dense: Model, recipe: Digest | null): Promise<Model> {
    return recipe === null ? dense : this.#made.of(dense, recipe);
  }

  /** The open model, after its files were found to have the expected hashes. */
  async #verified(name: string, expected: Readonly<Record<string, string>>): Promise<Model> {
    const hashes = JSON.stringify(Object.entries(expected).sort());
    if (this.#dense?.name === name && this.#dense.hashes === hashes) return this.#dense.model;
    await this.#dense?.model.weights.close();
    this.#dense = null;
    const model = await openModel(name);
    try {
      await requireHashes(model, expected, name);
    } catch (error) {
      await model.weights.close();
      throw error;
    }
    this.#dense = { name, hashes, model };
    return model;
  }
}

/** @throws GpruneError MODEL_DIFFERS when the model's files have other hashes; BAD_FILE when one cannot be read */
async function requireHashes(
  model: Model,
  expected: Readonly<Record<string, string>>,
  name: string,
): Promise<void> {
  const actual = await modelHashes(model, silent);
  const names = Object.keys(actual);
  const wrong = names.find((file) => expected[file] !== actual[file]);
  if (wrong === undefined && names.length === Object.keys(expected).length) return;
  throw new GpruneError(
    "MODEL_DIFFERS",
    `${name}: expected the files of the model that is pruned, got different ones${wrong ? ` (${wrong})` : ""}`,
    { hint: "Copy the model to this machine again, or give the path of the right one (--model)." },
  );
}
