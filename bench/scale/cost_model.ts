/**
 * Cost model of the units of a distributed prune, from measured rates of one machine: the same units as in
 * workers/remote_passes.ts, with the floating-point operations, bytes and waits of each. Times are in seconds, sizes in
 * bytes, rates per second.
 */
import { SHARD_TOKENS } from "../../src/calibrate/shards.ts";
import { HELD_OUT_WINDOWS } from "../../src/calibrate/windows.ts";
import { SLOPE_ROUNDS } from "../../src/gprune/gprune.ts";
import { MICRO_BATCH_TOKENS } from "../../src/graph/decoder/forward.ts";
import { GRAM_STRIPS } from "../../src/graph/decoder/programs.ts";
import type { LlamaShape } from "./shapes.ts";

/** Rates of one machine, and of the store and queue. */
export interface Rates {
  /** Floating-point operations of a forward pass with statistics, and of a forward and backward pass. */
  readonly forward: number;
  readonly backward: number;
  /** Weights read and converted to float32. */
  readonly read: number;
  /** Bytes transferred to and from the store by a worker, and by the run. */
  readonly workerStore: number;
  readonly runStore: number;
  /** Numbers that the run adds to sums. */
  readonly add: number;
  /** Weights that the run reads and multiplies by means to compute biases. */
  readonly compensate: number;
  /** Operations of Cholesky factorisation and substitution. */
  readonly solve: number;
  /** Seconds of overhead of a unit: queue, messages, files. */
  readonly overhead: number;
  /** Memory of a worker in bytes; it keeps refitted tensors between units while half of it is free. */
  readonly memory: number;
}

/** Model and settings of a run. */
export interface Work {
  readonly shape: LlamaShape;
  readonly sets: number;
  /** Windows of every set. */
  readonly windows: number;
  readonly seqLen: number;
  readonly rounds: number;
  /** Windows of every set in a round. */
  readonly gradientWindows: number;
  readonly sparsity: number;
  readonly recovery: "lstsq" | "bias";
}

/**
 * Seconds of a unit: `compute` for work that a single machine has to do as well, `move` for transfers and everything
 * else that only a distributed run does.
 */
export interface UnitCost {
  readonly compute: number;
  readonly move: number;
}

/** Units that depend on each other in order. */
export interface Chain {
  readonly units: readonly UnitCost[];
  /** Work of the run on the results. */
  readonly reduce: UnitCost;
}

/** Chains that can be computed in parallel, after some work of the run itself. */
export interface Phase {
  readonly name: string;
  readonly before: UnitCost;
  /** Additional seconds of every worker's first unit. */
  readonly first?: number;
  readonly chains: readonly Chain[];
}

/** Most parameters of a unit's layers, and ranges that layers are cut into (workers/remote_passes.ts). */
const UNIT_PARAMETERS = 2 ** 30;
const TARGET_RANGES = 8;
/** Step between alternative widths as a fraction of the neurons (gprune/width_moves.ts). */
const STEP = 0.08;
/** Computed share of the Gram matrix of all channels; the rest follows by symmetry. */
const PRODUCTS = (GRAM_STRIPS + 1) / (2 * GRAM_STRIPS);
const NOTHING: UnitCost = { compute: 0, move: 0 };

/** The phases of a run, in order. */
export function phasesOf(work: Work, rates: Rates): readonly Phase[] {
  const model = new Costs(work, rates);
  const rounds = Array.from({ length: work.rounds }, (_, round) => model.round(round + 1));
  const fits = work.recovery === "lstsq";
  const recovery = fits ? [model.refine(), model.slopes(), model.refit()] : [];
  return [model.statistics(), ...(fits ? [model.moments()] : []), ...rounds, ...recovery, model.check()];
}

/** Costs of the phases of one run. */
class Costs {
  readonly #work: Work;
  readonly #rates: Rates;
  /** Parameters of a layer, and of its output projections. */
  readonly #layer: number;
  readonly #projections: number;
  readonly #channels: number;
  readonly #range: number;

  constructor(work: Work, rates: Rates) {
    const { hiddenSize: c, neurons: f, heads, kvGroups, layers } = work.shape;
    const head = c / heads;
    this.#work = work;
    this.#rates = rates;
    this.#layer = 3 * c * f + 2 * c * c + 2 * c * kvGroups * head;
    this.#projections = c * (f + c);
    this.#channels = f + c;
    const most = Math.floor(UNIT_PARAMETERS / this.#layer);
    this.#range = Math.max(1, Math.min(most, Math.ceil(layers / TARGET_RANGES)));
  }

  statistics(): Phase {
    const { sets, windows, seqLen } = this.#work;
    const perShard = Math.max(1, Math.floor(SHARD_TOKENS / seqLen));
    const shards = Array.from({ length: sets }, () => sizes(windows, perShard)).flat();
    return {
      name: "statistics",
      before: NOTHING,
      chains: shards.map((count) => this.#shard(count * seqLen)),
    };
  }

  /** A shard through all ranges of layers. */
  #shard(tokens: number): Chain {
    const { add, runStore } = this.#rates;
    const hidden = 4 * tokens * this.#work.shape.hiddenSize;
    // Sums are kept by halves of a set.
    const sums = 2 * 4 * 8 * this.#channels;
    const units = this.#ranges().map((layers, range, all) => {
      const ends = (range > 0 ? 1 : 0) + (range < all.length - 1 ? 1 : 0);
      return this.#unit(this.#forward(tokens, layers), ends * hidden + sums * layers);
    });
    const { layers } = this.#work.shape;
    return {
      units,
      reduce: { compute: (2 * 4 * this.#channels * layers) / add, move: (sums * layers) / runStore },
    };
  }

  /** A unit for each range of layers, which takes all windows. The run reads the results. */
  moments(): Phase {
    const { sets, windows, seqLen, shape } = this.#work;
    const { forward, runStore } = this.#rates;
    const tokens = sets * windows * seqLen;
    const states = 4 * tokens * shape.hiddenSize;
    const products = 2 * tokens * PRODUCTS * this.#squares;
    const chains = this.#ranges().map((layers): Chain => {
      const { compute, move } = this.#unit(
        (layers * products) / forward,
        2 * states + layers * this.#covariances,
      );
      // A single machine gets statistics and moments from one pass.
      const unit = { compute, move: move + this.#forward(tokens, layers) };
      return { units: [unit], reduce: { compute: 0, move: (layers * this.#covariances) / runStore } };
    });
    return { name: "moments", before: NOTHING, chains };
  }

  /** Sum of the squared numbers of channels of a layer's spaces. */
  get #squares(): number {
    return this.#work.shape.neurons ** 2 + this.#work.shape.hiddenSize ** 2;
  }

  /** Bytes of a layer's covariances. */
  get #covariances(): number {
    return (4 * this.#squares) / 2;
  }

  round(round: number): Phase {
    const { gradientWindows, rounds, sparsity, shape } = this.#work;
    // The model of a round is already pruned in part.
    const left = 1 - (sparsity * (round - 1)) / rounds;
    const moments = 2 * 8 * shape.layers * (shape.neurons + shape.kvGroups);
    const before = round === 1 ? 0 : (shape.layers * this.#projections) / this.#rates.compensate;
    return {
      name: `round ${round}`,
      before: { compute: before, move: 0 },
      chains: this.#thereAndBack(gradientWindows, { left, gives: moments, takes: 0 }),
    };
  }

  /** Slopes of the refitted model with all neurons. */
  slopes(): Phase {
    const { gradientWindows, windows, shape } = this.#work;
    const [there, back] = [this.#projected(STEP), this.#changes(STEP)].map((own) => shape.layers * own) as [
      number,
      number,
    ];
    // Tensors that are read first stay in memory: projections in the forward pass, changes in the backward pass.
    const held = this.#held();
    const [thereHeld, backHeld] = [Math.min(held, there), Math.min(Math.max(0, held - there), back)];
    const takes = 2 * (there - thereHeld) + back - backHeld;
    const gives = (16 * 6 + 8 * shape.neurons) * shape.layers;
    const left = (3 * shape.hiddenSize * shape.neurons * (1 - this.#wide)) / this.#layer + this.#wide;
    const options = { left, gives, takes };
    const count = Math.min(SLOPE_ROUNDS * gradientWindows, windows);
    const first = (thereHeld + backHeld) / this.#rates.workerStore;
    return { name: "slopes", before: NOTHING, first, chains: this.#thereAndBack(count, options) };
  }

  /** Bytes for refitted tensors in memory, besides two layers and the layer inputs of a window. */
  #held(): number {
    const { seqLen, shape } = this.#work;
    const working = 2 * 4 * this.#layer + 4 * seqLen * shape.layers * shape.hiddenSize;
    return Math.max(0, this.#rates.memory / 2 - working);
  }

  /** Chains of forward and backward units. @param windows - of every set */
  #thereAndBack(
    windows: number,
    { left, gives, takes }: { readonly left: number; readonly gives: number; readonly takes: number },
  ): readonly Chain[] {
    const { sets, seqLen, shape } = this.#work;
    const { backward, read, add, runStore } = this.#rates;
    const perUnit = Math.max(1, Math.floor(MICRO_BATCH_TOKENS / seqLen));
    const parameters = left * shape.layers * this.#layer + shape.hiddenSize * shape.vocabSize;
    const chain = (count: number): Chain => {
      const compute = (6 * parameters * count * seqLen) / backward;
      // Weights are read in the forward and in the backward pass.
      const reading = (2 * parameters) / read;
      return {
        units: [this.#unit(Math.max(compute, reading), takes + gives * count)],
        reduce: { compute: (gives * count) / 8 / add, move: (gives * count) / runStore },
      };
    };
    return Array.from({ length: sets }, () => sizes(windows, perUnit).map(chain)).flat();
  }

  /** A unit for each range of layers, which reads its moments. */
  refit(): Phase {
    return { name: "refit", before: NOTHING, chains: this.#refits(0) };
  }

  /** As `refit`, for the present widths and all alternatives. */
  refine(): Phase {
    return { name: "refine", before: NOTHING, chains: this.#refits(STEP) };
  }

  #refits(step: number): readonly Chain[] {
    const { sparsity, shape } = this.#work;
    const { solve, runStore } = this.#rates;
    const c = shape.hiddenSize;
    const perLayer = [shape.neurons, c].map((n) => {
      const kept = (1 - sparsity) * n;
      const lost = 2 * c * (n - kept) * (kept + step * n);
      // Changes need another factorisation, with a row for each channel that is added or removed.
      const changes = step === 0 ? 0 : kept ** 3 / 3 + 4 * kept * kept * step * n;
      return (lost + kept ** 3 / 3 + 2 * kept * kept * c + changes) / solve;
    });
    const weights = this.#projected(step) + this.#changes(step);
    return this.#ranges().map((layers): Chain => {
      const unit = this.#unit(layers * (perLayer[0]! + perLayer[1]!), layers * (this.#covariances + weights));
      return { units: [unit], reduce: { compute: 0, move: (layers * weights) / runStore } };
    });
  }

  /** Share of the channels in the widest alternatives. */
  get #wide(): number {
    return 1 - this.#work.sparsity + STEP;
  }

  /** Bytes of a layer's refitted projections, which have all neurons when there are alternatives. */
  #projected(step: number): number {
    const { hiddenSize: c, neurons: f } = this.#work.shape;
    return step === 0 ? 4 * (1 - this.#work.sparsity) * this.#projections : 4 * c * (f + this.#wide * c);
  }

  /** Bytes of a layer's changes to alternatives. */
  #changes(step: number): number {
    const { hiddenSize: c, neurons: f } = this.#work.shape;
    return 4 * 2 * step * (f * (f + c) + c * (this.#wide * c + c));
  }

  check(): Phase {
    const { sets, seqLen, sparsity, shape } = this.#work;
    const vocabulary = 2 * HELD_OUT_WINDOWS * seqLen * shape.hiddenSize * shape.vocabSize;
    const chain = (left: number): Chain => {
      const layers = left * this.#forward(HELD_OUT_WINDOWS * seqLen, shape.layers);
      const move = left < 1 ? 4 * left * shape.layers * this.#projections : 0;
      return { units: [this.#unit(layers + vocabulary / this.#rates.forward, move)], reduce: NOTHING };
    };
    const pairs = Array.from({ length: sets }, () => [chain(1), chain(1 - sparsity)]);
    return { name: "check", before: NOTHING, chains: pairs.flat() };
  }

  /** Seconds of a forward pass; weights are read while the previous layer is computed. */
  #forward(tokens: number, layers: number): number {
    const { forward, read } = this.#rates;
    return layers * Math.max((2 * this.#layer * tokens) / forward, this.#layer / read);
  }

  #unit(compute: number, bytes: number): UnitCost {
    return { compute, move: bytes / this.#rates.workerStore + this.#rates.overhead };
  }

  #ranges(): readonly number[] {
    return sizes(this.#work.shape.layers, this.#range);
  }
}

/** Sizes of the parts when `count` items are cut into parts of `size`; the last one may be smaller. */
function sizes(count: number, size: number): readonly number[] {
  const whole = Array.from({ length: Math.floor(count / size) }, () => size);
  return count % size === 0 ? whole : [...whole, count % size];
}
