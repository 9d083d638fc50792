/**
 * Least squares for several widths of an output projection from the same moments: what a projection would be if a few more or
 * fewer of its units stayed. All of them are said on the units of the widest one, so that a model that has those units can hold
 * the present projection, and the way from it to each of the others is a change of weights (calibrate/slopes.ts).
 */
import { changeNames } from "../calibrate/slopes.ts";
import { internalError } from "../errors.ts";
import type { Runtime } from "../graph/runtime.ts";
import { OUTPUT_PROJECTION, projectionName, type Space } from "../model/spaces.ts";
import { type Tensor, zeros } from "../tensor/tensor.ts";
import { centred, type LinearChange, type Moments, onFewerInputs, regress } from "./regression.ts";

/** By space id: lists of units that may stay, ascending, the present one first; none has a unit that the plan removes. */
export type Alternatives = Readonly<Record<string, readonly (readonly number[])[]>>;

/** An output projection on the units of the widest alternative. */
export interface WideProjection {
  readonly space: Space;
  /** Units, ascending. */
  readonly units: readonly number[];
  /** The dense model's, [C, channels of the units] and [C]. */
  readonly weight: Tensor;
  readonly bias: Tensor;
}

/**
 * Fits every alternative. @returns by tensor name: the present projection with its bias, and the changes to all others
 * @throws GpruneError NOT_FINITE naming the projection
 */
export async function fitAlternatives(
  runtime: Runtime,
  moments: Moments,
  { wide, alternatives, ridge }: { wide: WideProjection; alternatives: Alternatives[string]; ridge: number },
): Promise<ReadonlyMap<string, Tensor>> {
  const projection = OUTPUT_PROJECTION[wide.space.kind];
  const name = projectionName(wide.space.layer, projection);
  const { weight } = wide;
  const [size = 0, channels = 0] = weight.shape;
  const others = alternatives.length - 1;
  const present = { weight: zeros([size, channels]), bias: zeros([size]) };
  const changes = { weight: zeros([others, size, channels]), bias: zeros([others, 1, size]) };
  const { order, areNested } = fromTheWidest(alternatives);
  let covariances = centred(moments);
  let map = weight.data;
  let places: Int32Array = Int32Array.from({ length: channels }, (_, channel) => channel);
  for (const index of order) {
    const kept = channelsAmong(wide, alternatives[index]!);
    const own = areNested ? placesIn(places, kept) : kept;
    const fewer = await onFewerInputs(runtime, covariances, { kept: own, map, inPlace: areNested });
    if (areNested) [covariances, map, places] = [fewer, columnsOf(weight, kept), kept];
    const change = await regress(runtime, fewer, { ridge, name });
    const into = (tensor: Tensor, length: number): Float32Array =>
      index === 0 ? tensor.data : tensor.data.subarray((index - 1) * length, index * length);
    const [weights, biases] = index === 0 ? [present.weight, present.bias] : [changes.weight, changes.bias];
    putFitted(wide, { kept, change }, { weight: into(weights, size * channels), bias: into(biases, size) });
  }
  for (const key of ["weight", "bias"] as const) {
    const { length } = present[key].data;
    for (let i = 0; i < changes[key].data.length; i++)
      changes[key].data[i]! -= present[key].data[i % length]!;
  }
  const names = changeNames(wide.space);
  return new Map([
    [name, present.weight],
    [projectionName(wide.space.layer, projection, "bias"), present.bias],
    [names.weights, changes.weight],
    [names.biases, changes.bias],
  ]);
}

/**
 * The alternatives' indices, the widest first, and whether each is a part of the one before: then one matrix serves all of them,
 * and that of an FFN is the largest thing in memory.
 */
function fromTheWidest(alternatives: Alternatives[string]): {
  readonly order: readonly number[];
  readonly areNested: boolean;
} {
  if (alternatives.length === 0) throw internalError("no alternatives");
  const order = [...alternatives.keys()].sort((a, b) => alternatives[b]!.length - alternatives[a]!.length);
  const areNested = order.slice(1).every((index, before) => {
    const wider = new Set(alternatives[order[before]!]!);
    return alternatives[index]!.every((unit) => wider.has(unit));
  });
  return { order, areNested };
}

/** The places of units' channels among those of the widest alternative. */
function channelsAmong({ space, units: all }: WideProjection, units: readonly number[]): Int32Array {
  const places = new Map(all.map((unit, place) => [unit, place]));
  const { unitChannels: size, id } = space;
  return Int32Array.from({ length: units.length * size }, (_, i) => {
    const unit = units[Math.floor(i / size)]!;
    const place = places.get(unit);
    if (place === undefined) throw internalError(`${id}: unit ${unit} of an alternative is removed`);
    return place * size + (i % size);
  });
}

/** Where some channels stand in a list that has them all, both ascending. */
function placesIn(list: Int32Array, some: Int32Array): Int32Array {
  const places = new Map(Array.from(list, (channel, place) => [channel, place]));
  return some.map((channel) => places.get(channel)!);
}

/** [C, k] */
function columnsOf({ shape, data }: Tensor, chosen: Int32Array): Float32Array {
  const [rows = 0, columns = 0] = shape;
  const result = new Float32Array(rows * chosen.length);
  let next = 0;
  for (let row = 0; row < rows; row++) {
    for (const column of chosen) result[next++] = data[row * columns + column]!;
  }
  return result;
}

/** Puts the kept columns with their change, and the bias, where zeros are. */
function putFitted(
  { weight, bias }: WideProjection,
  { kept, change }: { kept: Int32Array; change: LinearChange },
  into: { weight: Float32Array; bias: Float32Array },
): void {
  const [, channels = 0] = weight.shape;
  for (const row of bias.data.keys()) {
    into.bias[row] = bias.data[row]! + change.bias[row]!;
    for (const [i, channel] of kept.entries()) {
      const place = row * channels + channel;
      into.weight[place] = weight.data[place]! + change.weight[row * kept.length + i]!;
    }
  }
}
