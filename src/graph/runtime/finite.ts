/**
 * Checks that stop a run at NaN or infinity, with a message that names the origin: the tensor when a weight is at
 * fault, else the layer whose activations grew too large; and the texts that were being processed.
 */
import { GpruneError, hasCode } from "../../errors.ts";
import { type BlockTensor, blocksOfRow } from "../../tensor/blocks.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { DeviceDtype } from "./device.ts";
import type { Feeds } from "./runtime.ts";

/** A computation whose result is checked. */
export interface Computation {
  /** `forward of layer 3` */
  readonly what: string;
  readonly weights: Feeds;
  /** The name of a weight in the model, by its name in the graph. */
  readonly nameOf: (feed: string) => string;
  /** The expert that a weight belongs to; null for other weights, and absent where there are none. */
  readonly expertOf?: (feed: string) => number | null;
  /** Number format of its products with weights. */
  readonly dtype: DeviceDtype;
}

/**
 * @throws GpruneError NOT_FINITE naming a weight of the computation that is not finite, or the computation when all are
 */
export function requireFiniteResult({ data }: Tensor, computation: Computation): void {
  if (isAllFinite(data)) return;
  const { what, weights, nameOf, expertOf, dtype } = computation;
  for (const [feed, weight] of Object.entries(weights)) {
    if (!(weight.data instanceof Float32Array)) continue;
    const reader = { where: what, expert: expertOf?.(feed) ?? null };
    requireFiniteFor(reader, nameOf(feed), weight as Tensor);
  }
  throw new GpruneError("NOT_FINITE", `${what}: expected finite activations, got NaN or infinity`, {
    hint:
      dtype === "f32"
        ? "All weights are finite, so the activations overflow float32; check the checkpoint and the texts."
        : "All weights are finite, so the activations overflow float16; use f32 on the device (--device-dtype f32).",
  });
}

/** @param where - the reader of the weight, for messages. @throws GpruneError NOT_FINITE naming tensor and place */
export function requireFiniteWeight(name: string, tensor: Tensor, where: string): void {
  requireFiniteFor({ where, expert: null }, name, tensor);
}

function requireFiniteFor(
  { where, expert }: { readonly where: string; readonly expert: number | null },
  name: string,
  { shape, data }: Tensor,
): void {
  if (isAllFinite(data)) return;
  const bad = data.findIndex((value) => !Number.isFinite(value));
  const place = shape.length < 2 ? `${bad}` : placeText(bad, shape, expert);
  throw new GpruneError(
    "NOT_FINITE",
    `${name}: expected finite weights, got ${data[bad]} at ${place} (${where})`,
    {
      hint: "The checkpoint is damaged; copy or download it again.",
    },
  );
}

/** `row 3, column 5`, or `row 3, column 5 of expert 2`, in the expert's own matrix. */
function placeText(index: number, shape: readonly number[], expert: number | null): string {
  const width = shape.slice(1).reduce((product, size) => product * size, 1);
  const place = `row ${Math.floor(index / width)}, column ${index % width}`;
  return expert === null ? place : `${place} of expert ${expert}`;
}

/** @throws GpruneError NOT_FINITE naming the matrix and the place of a scale or an offset that is not finite */
export function requireFiniteBlocks(name: string, { shape, layout, scales, offsets }: BlockTensor): void {
  const width = blocksOfRow(shape[1], layout);
  const blocks = [scales.length / width, width];
  for (const [what, data] of [
    ["scales", scales],
    ["offsets", offsets ?? new Float32Array(0)],
  ] as const) {
    requireFiniteWeight(name, { shape: blocks, data }, `${what} of blocks`);
  }
}

/** Runs a computation and adds the texts to its NOT_FINITE errors. @param texts - `calibration set web` */
export async function withTextsInErrors<T>(texts: string | undefined, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!hasCode(error, "NOT_FINITE") || texts === undefined) throw error;
    throw error.inOtherWords({ message: `${error.message}, on ${texts}` });
  }
}

/** NaN and infinities survive addition in float64, where finite float32 numbers never overflow, so one sum tells. */
function isAllFinite(data: Float32Array): boolean {
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += data[i]!;
  return Number.isFinite(sum);
}
