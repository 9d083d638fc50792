/**
 * Distillation: trains all layer weights of the pruned model to match the dense model, through our own backward graphs.
 * Loss of a batch of windows, means over tokens t:
 *
 *   KL(p_dense(t) || p(t)) + mean over layers l of huber(|h_l(t) - h_dense,l(t)| / |h_dense,l(t)|)
 *
 * h_l is the residual stream after layer l; distances are relative to its norm, because a few tokens have massive
 * activations (arXiv 2402.17762). A token that has them in the pruned model alone is thousands of times as far off as
 * the others. Its square would dominate a step and, in the optimiser's second moments, the sizes of the next hundred
 * steps, so beyond 1 the loss is linear (Huber 1964, doi 10.1214/aoms/1177703732). Embeddings, final norm and head are
 * shared with the dense model and not trained. The learning rate warms up linearly and then falls along a cosine to a
 * tenth.
 *
 * Based on knowledge distillation (Hinton et al., arXiv 1503.02531) with hints from hidden layers (FitNets, arXiv
 * 1412.6550), as Minitron (arXiv 2407.14679) retrains pruned models.
 */

import { requirePositive } from "../base/arguments.ts";
import { type OnProgress, type ProgressEvent, silent } from "../base/progress.ts";
import { type Checkpoints, NO_CHECKPOINTS } from "../base/stages.ts";
import type { WeightedTokenSet } from "../calibrate/calibrate.ts";
import { splitWindows } from "../calibrate/windows.ts";
import { hasCode } from "../errors.ts";
import {
  backwardLayers,
  divergenceFrom,
  forwardKeepingInputs,
  headBackward,
} from "../graph/decoder/backward.ts";
import { DecoderRunner, type Outputs } from "../graph/decoder/decoder_runner.ts";
import { embedWindows, forwardLayers, type MicroBatch, tokensOf } from "../graph/decoder/forward.ts";
import { keepsActivations } from "../graph/decoder/kept_activations.ts";
import { widestState } from "../graph/decoder/layer_structure.ts";
import { requireFiniteWeight } from "../graph/runtime/finite.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { prunableParameters } from "../model/spaces.ts";
import { layerWeightsOf } from "../model/weights.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { AdamW } from "./adamw.ts";
import { planBatches } from "./distill_batches.ts";
import {
  restoreSnapshot,
  snapshotOf,
  type TrainingSnapshot,
  type TrainingState,
  type TrainingStep,
} from "./training_state.ts";
import { withTensors } from "./with_tensors.ts";

/** Teacher, student, training texts and schedule. */
export interface DistillRequest {
  readonly dense: Model;
  /** A pruned `dense`, with the same embeddings and head. */
  readonly student: Model;
  readonly runtime: Runtime;
  /** Windows longer than `TRAINING_TOKENS` are cut into pieces. */
  readonly sets: readonly WeightedTokenSet[];
  /** The BOS token that pieces begin with, like windows; null if the tokenizer puts none before a text. */
  readonly leadingId: number | null;
  readonly steps: number;
  /** Highest learning rate, above 0. Absent: `defaultLearningRate`. */
  readonly learningRate?: number | undefined;
  readonly seed: number;
  /** Keeps its state between steps. */
  readonly checkpoints?: Checkpoints<TrainingSnapshot>;
  readonly onProgress?: OnProgress;
}

/** The trained student, and its loss curve. */
export interface Distilled {
  readonly model: Model;
  readonly curve: readonly TrainingStep[];
}

/** The trained weights by name, and the loss curve. */
export interface TrainedTensors {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly curve: readonly TrainingStep[];
}

/**
 * A tuned learning rate, with the hidden size and the removed share of the prunable parameters that it was tuned for,
 * and the smallest hidden size for which the rule was measured.
 */
const TUNED_RATE = { rate: 4e-4, removed: 0.5, hiddenSize: 576, narrowest: 256 } as const;
/** Share of the steps over which the learning rate rises. */
const WARMUP = 0.05;
/** Final learning rate as a fraction of the highest. */
const FINAL_RATE = 0.1;
/**
 * Largest number of tokens in a training window. Gradients are less noisy when a step's tokens come from many places;
 * windows of 128 tokens train better than longer and shorter ones, also for texts of 2048 tokens (docs/EXPERIMENTS.md).
 */
export const TRAINING_TOKENS = 128;
/** Windows of a step; together one micro-batch. */
export const BATCH_WINDOWS = 8;
/** Bytes of the teacher's hidden states held at once; more if a single step's exceed it. */
export const TEACHER_BYTES: number = 2 ** 28;

/**
 * The default of the highest learning rate. It is proportional to the share of the prunable parameters that the student
 * lacks, up to half: a model that lost less has less far to go, and gradient noise costs it more. It is inversely
 * proportional to the hidden size: a step of Adam changes every weight by the same amount, however many weights a
 * projection sums over (Tensor Programs V, arXiv 2203.03466). Narrower models than were measured get no higher one.
 * docs/EXPERIMENTS.md has the measurements for both.
 */
export function defaultLearningRate({ dense, student }: Pick<DistillRequest, "dense" | "student">): number {
  const { rate, removed, hiddenSize, narrowest } = TUNED_RATE;
  const missing = 1 - prunableParameters(student.spec) / prunableParameters(dense.spec);
  return (rate * Math.min(1, missing / removed) * hiddenSize) / Math.max(narrowest, dense.spec.hiddenSize);
}

/**
 * Trains the student. Holds the layers' weights and both moments in float32, and the dense hidden states of a few
 * steps. Tensors that are not trained are read from the files of `student`: closing the weights of either closes both.
 * @throws GpruneError NOT_FINITE when training diverges, or if a model is not finite; BAD_ARGUMENT for unusable
 *   settings or sets
 */
export async function distill(request: DistillRequest): Promise<Distilled> {
  const { tensors, curve } = await trainTensors(request);
  return { model: withTensors(request.student, tensors), curve };
}

/** The tensors that `distill` puts into the student, and the loss curve. @throws GpruneError as `distill` */
export async function trainTensors(request: DistillRequest): Promise<TrainedTensors> {
  const { dense, steps, seed, leadingId, learningRate = defaultLearningRate(request) } = request;
  const { checkpoints = NO_CHECKPOINTS, onProgress = silent } = request;
  if (request.learningRate !== undefined) requirePositive("learningRate", learningRate);
  const sets = request.sets.map((set) => splitWindows(set, TRAINING_TOKENS, leadingId));
  const batches = planBatches(sets, { steps, size: BATCH_WINDOWS, seed });
  const training = await Training.start({ ...request, learningRate });
  const restored = await checkpoints.restore();
  if (restored !== undefined) restoreSnapshot(training.state, restored);
  const { curve, tensors } = training.state;
  const bytesOfLayer = tokensOf(batches[0]!) * 4 * widestState(dense.spec);
  const lot = Math.max(1, Math.floor(TEACHER_BYTES / (bytesOfLayer * dense.spec.layers.length)));
  const rethrow = (error: unknown): never => {
    throw asDivergence(error, curve.length, learningRate);
  };
  while (curve.length < steps) {
    const lessons = await training.teach(batches.slice(curve.length, curve.length + lot));
    for (const lesson of lessons) {
      const measured = await training.step(lesson, { step: curve.length + 1, steps }).catch(rethrow);
      curve.push(measured);
      onProgress(stepEvent(curve.length, steps, measured));
      await checkpoints.reached(() => snapshotOf(training.state));
    }
  }
  await requireFiniteTensors(tensors).catch(rethrow);
  return { tensors, curve };
}

async function requireFiniteTensors(tensors: ReadonlyMap<string, Tensor>): Promise<void> {
  for (const [name, tensor] of tensors) requireFiniteWeight(name, tensor, "trained");
}

/** Reports values that are not finite as divergence once there was a step. @returns the error to throw */
function asDivergence(error: unknown, steps: number, learningRate: number): unknown {
  if (!hasCode(error, "NOT_FINITE") || steps === 0) return error;
  return error.inOtherWords({
    message: `${error.message}, after step ${steps} of training`,
    hint: `Training diverged: use a learning rate below ${learningRate}.`,
  });
}

function stepEvent(done: number, total: number, { divergence }: TrainingStep): ProgressEvent {
  const values = [{ name: "divergence", value: divergence }];
  return {
    stage: "distill",
    done,
    total,
    unit: "steps",
    detail: `divergence ${divergence.toFixed(3)}`,
    values,
  };
}

/** A batch of windows with the teacher's hidden states. */
interface Lesson {
  readonly windows: readonly Int32Array[];
  /** Dense hidden states after every layer by micro-batch, [B, T, C]. */
  readonly hidden: readonly (readonly Tensor[])[];
}

type RatedRequest = DistillRequest & { readonly learningRate: number };

/** Teacher, student and optimiser during training. */
class Training {
  readonly state: TrainingState;
  readonly #teacher: DecoderRunner;
  readonly #student: DecoderRunner;
  readonly #learningRate: number;

  private constructor(request: RatedRequest, tensors: ReadonlyMap<string, Tensor>) {
    const { dense, student, runtime, learningRate } = request;
    this.state = { tensors, optimizer: new AdamW(), curve: [] };
    this.#teacher = new DecoderRunner(dense, runtime);
    this.#student = new DecoderRunner(withTensors(student, tensors), runtime);
    this.#learningRate = learningRate;
  }

  /** Starts with a copy of all layer weights of the student, which training changes in place. */
  static async start(request: RatedRequest): Promise<Training> {
    const { student } = request;
    const tensors = new Map<string, Tensor>();
    for (const index of student.spec.layers.keys()) {
      for (const { name } of layerWeightsOf(student.spec, index)) {
        const { shape, data } = await student.weights.read(name);
        tensors.set(name, { shape, data: data.slice() });
      }
    }
    return new Training(request, tensors);
  }

  /** Runs the dense model on several batches at once, so that its weights are read once for all of them. */
  async teach(batches: readonly (readonly Int32Array[])[]): Promise<readonly Lesson[]> {
    const groups: MicroBatch[][] = [];
    for (const windows of batches) groups.push([...(await embedWindows(this.#teacher, windows))]);
    const microBatches = groups.flat();
    const hidden: Tensor[][] = microBatches.map(() => []);
    await forwardLayers(this.#teacher, microBatches, {
      stage: "distill",
      onProgress: silent,
      onOutputs: (_layer, batch, outputs) => hidden[batch]!.push(outputs.hidden!),
    });
    let start = 0;
    return batches.map((windows, index) => {
      const end = start + groups[index]!.length;
      const lesson = { windows, hidden: hidden.slice(start, end) };
      start = end;
      return lesson;
    });
  }

  /** One training step: forward, backward layer by layer, and the optimiser's update of each layer. */
  async step(
    { windows, hidden }: Lesson,
    { step, steps }: { readonly step: number; readonly steps: number },
  ): Promise<TrainingStep> {
    const rate = this.#learningRate * schedule(step, steps);
    const reporting = { stage: "distill", onProgress: silent };
    const batches = await embedWindows(this.#student, windows);
    const activations = keepsActivations(this.#student.runtime);
    const inputs = await forwardKeepingInputs(this.#student, batches, { ...reporting, activations });
    const last = batches.map((batch) => batch.hidden);
    const targets = hidden.map((states) => states.at(-1)!);
    const losses = await headBackward(this.#student, batches, divergenceFrom(targets));
    const { hiddenSize: size, layers: specs } = this.#student.model.spec;
    const layers = specs.length;
    const weight = 1 / layers;
    let hiddenLoss = 0;
    const addHiddenLoss = (batch: number, layer: number, state: Tensor): void => {
      const gradient = batches[batch]!.hidden;
      const loss = addHiddenGradient(gradient, { state, target: hidden[batch]![layer]!, size, weight });
      hiddenLoss += loss / layers;
    };
    for (const [batch, state] of last.entries()) addHiddenLoss(batch, layers - 1, state);
    const gradients = new GradientSum();
    await backwardLayers(this.#student, batches, {
      ...reporting,
      program: "train",
      inputs,
      onOutputs: async ({ index }, batch, outputs) => {
        gradients.add(outputs);
        if (index > 0) addHiddenLoss(batch, index - 1, await inputs.get(index, batch));
      },
      onLayer: ({ index }) => this.#update(index, gradients.take(), { time: step, rate }),
    });
    const divergence = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
    return { step, divergence, hidden: hiddenLoss / windows.length, learningRate: rate };
  }

  #update(
    layer: number,
    gradients: ReadonlyMap<string, Float32Array>,
    when: { readonly time: number; readonly rate: number },
  ): void {
    const { tensors, optimizer } = this.state;
    for (const [name, gradient] of gradients) {
      const full = `model.layers.${layer}.${name}`;
      optimizer.update(full, { weights: tensors.get(full)!.data, gradient }, when);
    }
  }
}

/** Gradients of one layer, summed over micro-batches. */
class GradientSum {
  #sums = new Map<string, Float32Array>();

  /** @param outputs - of the program `train` */
  add({ hidden: _, ...gradients }: Outputs): void {
    for (const [name, { data }] of Object.entries(gradients)) {
      const sum = this.#sums.get(name);
      if (sum === undefined) this.#sums.set(name, data);
      else for (let i = 0; i < data.length; i++) sum[i]! += data[i]!;
    }
  }

  take(): ReadonlyMap<string, Float32Array> {
    const sums = this.#sums;
    this.#sums = new Map();
    return sums;
  }
}

/** d^2 up to 1, 2 d - 1 beyond. */
function huber(distance: number): number {
  return distance <= 1 ? distance ** 2 : 2 * distance - 1;
}

/** Hidden states of student and teacher, [B, T, C], or with more channels behind the C = `size` that count. */
interface HiddenLoss {
  readonly state: Tensor;
  readonly target: Tensor;
  readonly size: number;
  readonly weight: number;
}

/**
 * Adds to `gradient`, of the same shape as the states, the gradient of
 *
 *   weight * sum over sequences of mean over tokens of huber(|state - target| / |target|)
 *
 * to which a token with target 0 adds nothing.
 * @returns that sum for weight 1
 */
function addHiddenGradient(gradient: Tensor, { state, target, size, weight }: HiddenLoss): number {
  const [, tokens = 0, width = 0] = target.shape;
  let loss = 0;
  for (let start = 0; start < target.data.length; start += width) {
    let error = 0;
    let square = 0;
    for (let i = start; i < start + size; i++) {
      error += (state.data[i]! - target.data[i]!) ** 2;
      square += target.data[i]! ** 2;
    }
    if (square === 0) continue;
    const distance = Math.sqrt(error / square);
    loss += huber(distance) / tokens;
    const factor = (2 * weight) / square / tokens / Math.max(1, distance);
    for (let i = start; i < start + size; i++)
      gradient.data[i]! += factor * (state.data[i]! - target.data[i]!);
  }
  return loss;
}

/** Factor of the learning rate at step 1..steps. */
function schedule(step: number, steps: number): number {
  const warmup = Math.max(1, Math.round(WARMUP * steps));
  if (step <= warmup) return step / warmup;
  const progress = (step - warmup) / Math.max(1, steps - warmup);
  return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + Math.cos(Math.PI * progress));
}
