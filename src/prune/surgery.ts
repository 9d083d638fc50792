/**
 * Carries out a plan by a lazy gather along every axis that carries a pruned space. It uses spaces and axes, never
 * names of projections, so a new kind of space or a bias needs no change here. Tensors are read on demand.
 */
import { inheritedCard } from "../model/card_fields.ts";
import type { Model } from "../model/model.ts";
import { type WeightSpec, weightsOf } from "../model/weights.ts";
import { derivedSource } from "../tensor/derived.ts";
import { gatherBlocks, type RowRange, type Tensor, type TensorSource } from "../tensor/tensor.ts";
import { badPlan, type Keep, type PruningPlan, prunedSpec, validatePlan } from "./plan.ts";

/** Kept blocks along one axis of one tensor. */
interface Cut {
  readonly axis: number;
  readonly keep: readonly number[];
  readonly blockSize: number;
}

/**
 * The pruned model. Tensors without a pruned axis, and tensors that are not in the spec, pass through unchanged, so a
 * plan that keeps everything returns the model's own tensors. It reads the files of `model`: closing the weights of
 * either closes both.
 * @throws GpruneError BAD_PLAN if the plan is not for this model
 */
export function applyPlan(model: Model, plan: PruningPlan): Model {
  const check = validatePlan(plan, model.spec);
  if (!check.ok) throw badPlan(`plan for ${model.origin.name}`, check.problems);
  const cuts = new Map<string, readonly Cut[]>();
  for (const weight of weightsOf(model.spec)) {
    const cutsOfWeight = cutsOf(weight, plan.keep);
    if (cutsOfWeight.length > 0) cuts.set(weight.name, cutsOfWeight);
  }
  const { card, ...rest } = model;
  return {
    ...rest,
    ...inheritedCard(card),
    spec: prunedSpec(model.spec, plan),
    weights: gatheredSource(model.weights, cuts),
  };
}

function cutsOf({ axes, shape }: WeightSpec, keep: Keep): readonly Cut[] {
  return axes.flatMap(({ space, blockSize }, axis) => {
    const kept = space === null ? undefined : keep[space];
    if (kept === undefined || kept.length * blockSize === shape[axis]) return [];
    return [{ axis, keep: kept, blockSize }];
  });
}

function gatheredSource(source: TensorSource, cuts: ReadonlyMap<string, readonly Cut[]>): TensorSource {
  const gathered = Array.from(cuts, ([name, cutsOfTensor]) => {
    const { dtype, shape } = source.info(name)!;
    const rowCut = cutsOfTensor.find(({ axis }) => axis === 0);
    const read = async (rows: RowRange): Promise<Tensor> => {
      const tensor =
        rowCut === undefined ? await source.read(name, rows) : await readRows(source, name, { rowCut, rows });
      return cutsOfTensor.filter((cut) => cut !== rowCut).reduce(gather, tensor);
    };
    return [name, { info: { dtype, shape: cutShape(shape, cutsOfTensor) }, read }] as const;
  });
  return derivedSource(source, new Map(gathered));
}

/**
 * Rows of a tensor whose rows are cut: reads the smallest run of stored rows that contains them, and gathers. Row r of
 * the result is row keep[floor(r / b)] * b + r mod b of the stored tensor, b the block size.
 */
async function readRows(
  source: TensorSource,
  name: string,
  { rowCut, rows }: { readonly rowCut: Cut; readonly rows: RowRange },
): Promise<Tensor> {
  const { keep, blockSize } = rowCut;
  if (rows.start === rows.end) return source.read(name, { start: 0, end: 0 });
  const stored = Array.from({ length: rows.end - rows.start }, (_, i) => {
    const row = rows.start + i;
    return keep[Math.floor(row / blockSize)]! * blockSize + (row % blockSize);
  });
  const start = stored[0]!;
  const run = await source.read(name, { start, end: stored.at(-1)! + 1 });
  return gatherBlocks(run, 0, { keep: stored.map((row) => row - start), blockSize: 1 });
}

function gather(tensor: Tensor, { axis, keep, blockSize }: Cut): Tensor {
  return gatherBlocks(tensor, axis, { keep, blockSize });
}

function cutShape(shape: readonly number[], cuts: readonly Cut[]): readonly number[] {
  return cuts.reduce(
    (result, { axis, keep, blockSize }) => result.with(axis, keep.length * blockSize),
    shape,
  );
}
