/**
 * Weights that a checkpoint stores in float8, with their scales in other tensors, as what they stand for: each weight
 * times its scale in float32, rounded once to the dtype of the model's other weights. So do transformers
 * (`Fp8Dequantize` of integrations/finegrained_fp8.py) and compressed-tensors (`dequantize` of
 * quantization/lifecycle/forward.py). Scales of activations are ignored: the model computes in full precision.
 */
import { firstFew } from "../../base/lists.ts";
import { plainName } from "../../base/plain_text.ts";
import { GpruneError } from "../../errors.ts";
import { derivedSource } from "../../tensor/derived.ts";
import { type FloatDType, isFloatDType, roundTo, STORED_DTYPES } from "../../tensor/dtype.ts";
import { type RowRange, shapeText, type Tensor, type TensorSource } from "../../tensor/tensor.ts";
import { FLOAT8_HINT, type Float8Scales } from "../hf/quantization.ts";
import { EMBEDDING, HEAD } from "../weight_names.ts";

const FLOAT8 = "F8_E4M3";
const WEIGHT = ".weight";

/** Names of a weight's scales: those of transformers, of compressed-tensors and AutoFP8. Both are factors. */
const SCALE_SUFFIXES = [".weight_scale_inv", ".weight_scale"] as const;

/** What else belongs to a quantised weight: scales of activations. */
const ACTIVATION_SUFFIXES = [".activation_scale", ".input_scale"] as const;

/** An offset of the quantised numbers, which symmetric ones do not have. */
const OFFSET_SUFFIX = ".weight_zero_point";

/** The tensor with the scales of a matrix, and the size of the blocks that share one. */
interface BlockScales {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
}

/** A checkpoint's tensors as plain numbers. */
export interface PlainTensors {
  readonly tensors: TensorSource;
  /** dtype of what is read of weights in float8; absent when there are none. */
  readonly readAs?: FloatDType;
}

/**
 * A view of the tensors in which weights in float8 are multiplied by their scales, which it does not show.
 * @param source - tensors of files: what is read of them is changed in place
 * @param options - the names that the model may read, what config.json says of scales, and the file's name for messages
 * @throws GpruneError UNSUPPORTED for numbers that are not read, and float8 that config.json does not describe;
 *   BAD_TENSOR for scales that are missing or do not fit
 */
export function withPlainWeights(
  source: TensorSource,
  options: { readonly used: readonly string[]; readonly scales: Float8Scales | null; readonly where: string },
): PlainTensors {
  const { used, scales, where } = options;
  const present = [...new Set(used)].filter((name) => source.info(name) !== undefined);
  for (const name of present) requirePlain(source, name, { where, isDescribed: scales !== null });
  const quantised = present.filter((name) => source.info(name)!.dtype === FLOAT8);
  if (quantised.length === 0 || scales === null) return { tensors: source };
  const readAs = dtypeOfOthers(source);
  return { tensors: scaledSource(source, scalesOf(source, quantised, { scales, where }), readAs), readAs };
}

/** The dtype of weights beside quantised ones: that of the embedding, or of the output matrix. */
export function dtypeOfOthers(source: TensorSource): FloatDType {
  return [EMBEDDING, HEAD].map((name) => source.info(name)?.dtype ?? "").find(isFloatDType) ?? "BF16";
}

/** @throws GpruneError UNSUPPORTED unless a tensor is of plain numbers, or of float8 that config.json describes */
function requirePlain(
  source: TensorSource,
  name: string,
  { where, isDescribed }: { readonly where: string; readonly isDescribed: boolean },
): void {
  const { dtype } = source.info(name)!;
  const fail = (expected: string, got: string): GpruneError =>
    new GpruneError("UNSUPPORTED", `${where}: ${name}: expected ${expected}, got ${got}`, {
      hint: FLOAT8_HINT,
    });
  if (STORED_DTYPES.get(dtype)?.decode === null) throw fail(`plain numbers or ${FLOAT8}`, dtype);
  if (dtype === FLOAT8 && !isDescribed) {
    throw fail("a quantization_config in config.json that describes its scales", `${dtype} without one`);
  }
  const scale = companion(source, name, SCALE_SUFFIXES);
  if (dtype !== FLOAT8 && scale !== undefined) throw fail(`${FLOAT8} for a weight with ${scale}`, dtype);
}

/** The first tensor that stands beside a weight under one of the suffixes. */
function companion(source: TensorSource, name: string, suffixes: readonly string[]): string | undefined {
  if (!name.endsWith(WEIGHT)) return undefined;
  const names = suffixes.map((suffix) => name.slice(0, -WEIGHT.length) + suffix);
  return names.find((other) => source.info(other) !== undefined);
}

/** The scales of each weight. @throws GpruneError BAD_TENSOR listing the first few that do not fit */
function scalesOf(
  source: TensorSource,
  names: readonly string[],
  { scales, where }: { readonly scales: Float8Scales; readonly where: string },
): ReadonlyMap<string, BlockScales> {
  const fitting = new Map<string, BlockScales>();
  const problems: string[] = [];
  for (const name of names) {
    const found = blockScalesOf(source, name, scales);
    if (typeof found === "string") problems.push(`${plainName(name)}: ${found}`);
    else fitting.set(name, found);
  }
  if (problems.length === 0) return fitting;
  const list = firstFew(problems).map((problem) => `\n  ${problem}`);
  throw new GpruneError(
    "BAD_TENSOR",
    `${where}: scales of weights in ${FLOAT8} do not fit:${list.join("")}`,
    {
      hint: "config.json and the weights must come from the same model.",
    },
  );
}

/** The scales of one weight, or what is wrong with them. */
function blockScalesOf(source: TensorSource, name: string, scales: Float8Scales): BlockScales | string {
  const offset = companion(source, name, [OFFSET_SUFFIX]);
  if (offset !== undefined) return `expected scales alone, got ${offset}`;
  const scale = companion(source, name, SCALE_SUFFIXES);
  const { shape: matrix } = source.info(name)!;
  const [rows, columns] = matrix;
  if (scale === undefined)
    return `expected ${SCALE_SUFFIXES.map((suffix) => suffix.slice(1)).join(" or ")}, got none`;
  if (rows === undefined || columns === undefined || matrix.length !== 2) {
    return `expected a matrix, got ${shapeText(matrix)}`;
  }
  const { dtype, shape } = source.info(scale)!;
  if (!isFloatDType(dtype)) return `expected ${scale} in F32, F16 or BF16, got ${dtype}`;
  const layouts = layoutsOf([rows, columns], scales);
  const layout = layouts.find(({ shapes }) => shapes.some((expected) => expected.join() === shape.join()));
  if (layout !== undefined) return { name: scale, rows: layout.rows, columns: layout.columns };
  const expected = layouts.map(({ shapes }) => shapeText(shapes[0]!)).join(" or ");
  return `expected ${scale} of shape ${expected}, got ${shapeText(shape)}`;
}

/** The blocks that a matrix may have, each with the shapes that its scales may have. */
function layoutsOf([rows, columns]: readonly [number, number], { tensor, channel, block }: Float8Scales) {
  const grid = (height: number, width: number): readonly number[] => [
    Math.ceil(rows / height),
    Math.ceil(columns / width),
  ];
  return [
    ...(tensor ? [{ rows, columns, shapes: [[1], [], [1, 1]] }] : []),
    ...(channel ? [{ rows: 1, columns, shapes: [[rows, 1]] }] : []),
    ...(block ? [{ rows: block[0], columns: block[1], shapes: [grid(...block)] }] : []),
  ];
}

function scaledSource(
  source: TensorSource,
  scales: ReadonlyMap<string, BlockScales>,
  readAs: FloatDType,
): TensorSource {
  const hidden = new Set(
    [...scales].flatMap(([name, { name: scale }]) => [
      scale,
      ...ACTIVATION_SUFFIXES.map((suffix) => name.slice(0, -WEIGHT.length) + suffix),
    ]),
  );
  const scaled = Array.from(scales, ([name, blocks]) => {
    const read = async (rows: RowRange): Promise<Tensor> => {
      const tensor = await source.read(name, rows);
      const factors = await readScales(source, blocks.name);
      multiply(tensor, { ...blocks, factors, firstRow: rows.start });
      roundTo(readAs, tensor.data);
      return tensor;
    };
    return [name, { info: source.info(name)!, read }] as const;
  });
  return derivedSource(source, new Map(scaled), hidden);
}

/** @throws GpruneError BAD_TENSOR unless all scales are finite and at least 0 */
async function readScales(source: TensorSource, name: string): Promise<Float32Array> {
  const { data } = await source.read(name);
  const bad = data.findIndex((scale) => !(scale >= 0 && scale < Number.POSITIVE_INFINITY));
  if (bad === -1) return data;
  const message = `${plainName(name)}: expected finite scales of at least 0, got ${data[bad]} at index ${bad}`;
  throw new GpruneError("BAD_TENSOR", message, {
    hint: "The file is damaged, or its scales are not read as they are meant.",
  });
}

/** Multiplies rows of a matrix, of which the first is row `firstRow` of the whole, by the scales of their blocks. */
function multiply(
  { shape, data }: Tensor,
  {
    rows,
    columns,
    factors,
    firstRow,
  }: Omit<BlockScales, "name"> & { readonly factors: Float32Array; readonly firstRow: number },
): void {
  const width = shape[1]!;
  const blocksInRow = Math.ceil(width / columns);
  for (let row = 0; row < shape[0]!; row++) {
    const first = Math.floor((firstRow + row) / rows) * blocksInRow;
    for (let block = 0; block < blocksInRow; block++) {
      const factor = factors[first + block]!;
      const end = row * width + Math.min(width, (block + 1) * columns);
      for (let i = row * width + block * columns; i < end; i++) data[i] = data[i]! * factor;
    }
  }
}
