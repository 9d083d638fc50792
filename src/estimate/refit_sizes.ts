/**
 * Bytes of what least squares holds: moments, factors, and output projections with their alternatives, wherever these
 * are kept.
 */
import { gramStrips } from "../calibrate/moments.ts";
import { MAX_ALTERNATIVES } from "../gprune/width_moves.ts";
import { channelCount, type Space } from "../model/spaces.ts";
import { SPACE_KINDS, type SpaceKind } from "../model/weights.ts";
import { leftInOutputs } from "../prune/remaining.ts";
import { triangleLength } from "../tensor/symmetric.ts";
import type { PlannedGraphs } from "./planned_graphs.ts";
import { type PlannedRun, refitsOutputs } from "./planned_run.ts";
import { specSizes } from "./spec_sizes.ts";

/** Bytes by purpose. */
export type Items = Readonly<Record<string, number>>;

/** Sizes of everything that refits of a run hold. */
export class RefitSizes {
  readonly #run: PlannedRun;
  readonly #graphs: PlannedGraphs;
  readonly #hiddenSize: number;
  readonly #spaces: readonly Space[];

  constructor(run: PlannedRun, graphs: PlannedGraphs) {
    this.#run = run;
    this.#graphs = graphs;
    this.#hiddenSize = run.spec.hiddenSize;
    this.#spaces = specSizes(run.spec).spaces;
  }

  /** While a layer's moments are gathered: sums of both kinds of spaces in float64, and the covariances of one. */
  get gathered(): number {
    const sumsOf = (space: Space): number =>
      space.parts * total(gramStrips(partChannels(space)).map(({ rows, columns }) => rows * columns));
    const sums = total(SPACE_KINDS.map((kind) => this.#most(sumsOf, kind)));
    return 8 * sums + 4 * this.#most(triangles);
  }

  /** Moments of all spaces (calibrate/moments.ts); 0 for a run without least squares. */
  get moments(): number {
    if (!refitsOutputs(this.#run)) return 0;
    return total(this.#spaces.map((space) => 4 * triangles(space) + 16 * channelCount(space)));
  }

  /** Solving for an output projection: the dense one, its lost part, covariances in float64, and the factor. */
  get solving(): Items {
    const widest = this.#most(channelCount);
    const part = this.#most(partChannels);
    return {
      "output projection": (4 + 8) * widest * this.#hiddenSize,
      "Gram matrices": 8 * (part ** 2 + part * this.#hiddenSize) + 4 * this.#most(triangles),
      factor: this.#factorWith(this.#hiddenSize),
    };
  }

  /** Solving for a projection and its alternatives, whose right-hand sides are beside the factor. */
  get solvingAlternatives(): Items {
    const sides = Math.max(
      ...this.#spaces.map((space) => MAX_ALTERNATIVES[space.kind] * this.#graphs.changedChannels(space)),
    );
    const rows = 8 * this.#most(partChannels) * sides;
    const { "Gram matrices": matrices = 0, factor = 0, ...solving } = this.solving;
    const largestFactor = Math.max(factor, this.#factorWith(sides) + rows);
    // Channels that an alternative adds count twice: as fitted ones, and as lost ones of the present width.
    return { ...solving, "Gram matrices": matrices + rows, factor: largestFactor };
  }

  /** All refitted output projections of the pruned model; 0 for a run without least squares. */
  get projections(): number {
    const { spec, config } = this.#run;
    return refitsOutputs(this.#run) ? 4 * leftInOutputs(spec, config.sparsity) : 0;
  }

  /** Output projections of all spaces with their alternatives. */
  get alternatives(): number {
    return total(this.#spaces.map((space) => this.#alternativesOf(space)));
  }

  /** One output projection with its alternatives, and the covariances of the channels that they add, in float64. */
  get layerAlternatives(): number {
    const each = this.#spaces.map((space) => {
      const [changed, n] = [this.#graphs.changedChannels(space), partChannels(space)];
      const coming = (MAX_ALTERNATIVES[space.kind] / 2) * changed * (n + this.#hiddenSize + changed);
      // Parts are fitted one by one, then joined.
      return (space.parts > 1 ? 2 : 1) * this.#alternativesOf(space) + 8 * coming;
    });
    return Math.max(...each);
  }

  /** One layer's changes as inputs of the graph, and the dense projection beside them. */
  get changes(): number {
    return 2 * Math.max(...this.#spaces.map((space) => this.#alternativesOf(space)));
  }

  /** A projection and the changes to its alternative widths. */
  #alternativesOf(space: Space): number {
    const changes =
      MAX_ALTERNATIVES[space.kind] *
      this.#graphs.changedChannels(space) *
      (channelCount(space) + space.parts * (this.#hiddenSize + 1));
    return 4 * (this.#hiddenSize * channelCount(space) + changes);
  }

  /** A Cholesky factor and its workspace for `sides` right-hand sides (graph/runtime/cholesky.ts). */
  #factorWith(sides: number): number {
    const part = this.#most(partChannels);
    return 8 * part * (part / 2 + 2 * sides);
  }

  /** The largest value of the model's spaces, or of those of a kind; 0 without any. */
  #most(value: (space: Space) => number, kind?: SpaceKind): number {
    return Math.max(
      0,
      ...this.#spaces.filter((space) => kind === undefined || space.kind === kind).map(value),
    );
  }
}

function total(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}

/** Channels of one of a space's parts. */
function partChannels(space: Space): number {
  return channelCount(space) / space.parts;
}

/** Elements of the covariances of a space. */
function triangles(space: Space): number {
  return space.parts * triangleLength(partChannels(space));
}
