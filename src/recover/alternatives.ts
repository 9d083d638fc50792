/**
 * Least squares for several widths of an output projection from the same moments: what a projection would be if a few more or
 * fewer of its units stayed. All of them are said on the units of the widest one, so that a model that has those units can hold
 * the present projection, and the way from it to each of the others is a change of weights (calibrate/slopes.ts).
 */
import { changeNames } from "../calibrate/slopes.ts";
import { internalError } from "../errors.ts";
import type { Runtime } from "../graph/runtime.ts";
import { OUTPUT_PROJECTION, projectionName, type Space } from "../model/spaces.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Moments, onFewerInputs, regress } from "./regression.ts";

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

/** A projection on the widest one's channels, zero where an alternative has none. */
interface Fitted {
  /** [C, channels] */
  readonly weight: Float32Array;
  /** [C] */
  readonly bias: Float32Array;
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
  const name = projectionName(wide.space.layer, OUTPUT_PROJECTION[wide.space.kind]);
  const fitted: Fitted[] = [];
  for (const units of alternatives) {
    const kept = channelsAmong(wide, units);
    const own = await onFewerInputs(runtime, moments, { kept, map: wide.weight.data });
    const change = await regress(runtime, own, { ridge, name });
    fitted.push(onWideChannels(wide, { kept, change }));
  }
  const [present, ...others] = fitted;
  if (present === undefined) throw internalError(`${wide.space.id}: no alternatives`);
  const [size = 0, channels = 0] = wide.weight.shape;
  const names = changeNames(wide.space);
  const changes = (key: keyof Fitted, shape: readonly number[]): Tensor => {
    const parts = others.map((other) => other[key].map((value, i) => value - present[key][i]!));
    return { shape: [others.length, ...shape], data: joined(parts) };
  };
  return new Map([
    [name, { shape: wide.weight.shape, data: present.weight }],
    [
      projectionName(wide.space.layer, OUTPUT_PROJECTION[wide.space.kind], "bias"),
      { shape: [size], data: present.bias },
    ],
    [names.weights, changes("weight", [size, channels])],
    [names.biases, changes("bias", [1, size])],
  ]);
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

/** The kept columns with their change, and zeros beside them. */
function onWideChannels(
  { weight, bias }: WideProjection,
  { kept, change }: { kept: Int32Array; change: { weight: Float64Array; bias: Float64Array } },
): Fitted {
  const [, channels = 0] = weight.shape;
  const result = new Float32Array(weight.data.length);
  for (const row of bias.data.keys()) {
    for (const [i, channel] of kept.entries()) {
      const place = row * channels + channel;
      result[place] = weight.data[place]! + change.weight[row * kept.length + i]!;
    }
  }
  return { weight: result, bias: bias.data.map((value, i) => value + change.bias[i]!) };
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const result = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let start = 0;
  for (const part of parts) {
    result.set(part, start);
    start += part.length;
  }
  return result;
}
