/**
 * Checkpoints whose experts have tensors of their own (Mixtral, Qwen3 MoE), or one for all of them (Granite MoE: [E,
 * rows, columns]). Reading joins them to the usual projections of an FFN, whose neurons are those of one expert after
 * another; writing takes them apart again.
 */
import { getOrMake } from "../../base/map_values.ts";
import { checkRows } from "../../tensor/memory.ts";
import {
  putColumns,
  type RowRange,
  type Tensor,
  type TensorInfo,
  type TensorSource,
  zeros,
} from "../../tensor/tensor.ts";
import type { Family, StoredExperts } from "../family.ts";
import { expertNeurons, type ModelSpec, type Projection } from "../spec.ts";
import { CORRECTION, correctionsOf, projectionName } from "../weights.ts";

/** A stored tensor of one expert, or of all. */
export interface ExpertTensor {
  readonly name: string;
  /** Null where it has all of them. */
  readonly expert: number | null;
  readonly layer: number;
  /** The projections that it has the matrices of, one's rows after another's. */
  readonly parts: readonly Projection[];
}

/** As transformers 5 has them in memory, which it loads too, and as Qwen 3.5 MoE was published. */
const TOGETHER: readonly StoredExperts[] = [
  { name: "mlp.experts.gate_up_proj", parts: ["gate_proj", "up_proj"] },
  { name: "mlp.experts.down_proj", parts: ["down_proj"] },
];

/** The tensors of experts that a model may be read from, layer by layer. */
export function readableExperts(
  spec: ModelSpec,
  { stored }: Pick<Family, "stored">,
): readonly ExpertTensor[] {
  return stored.experts === null ? [] : tensorsOf(spec, [...stored.experts, ...TOGETHER]);
}

/** The tensors of experts of a model as its family's checkpoints have them, layer by layer. */
export function expertTensors(spec: ModelSpec, { stored }: Pick<Family, "stored">): readonly ExpertTensor[] {
  return tensorsOf(spec, stored.experts ?? []);
}

function tensorsOf(spec: ModelSpec, stored: readonly StoredExperts[]): readonly ExpertTensor[] {
  return spec.layers.flatMap(({ experts }, layer) => {
    if (experts === undefined) return [];
    return stored.flatMap(({ name, parts }): readonly ExpertTensor[] => {
      const whole = `model.layers.${layer}.${name}`;
      if (!name.includes("*")) return [{ name: whole, expert: null, layer, parts }];
      return Array.from({ length: experts.count }, (_, expert) => {
        return { name: whole.replace("*", String(expert)), expert, layer, parts };
      });
    });
  });
}

/** The usual names of the tensors that a tensor of experts has a part of. */
export function joinedNames({ layer, parts }: ExpertTensor): readonly string[] {
  return parts.map((part) => projectionName(layer, part));
}

/** The shape of a tensor of experts. */
export function expertShape(spec: ModelSpec, { layer, expert, parts }: ExpertTensor): readonly number[] {
  const { count } = spec.layers[layer]!.experts!;
  const neurons = expertNeurons(spec.layers[layer]!);
  const matrix = isOutput(parts) ? [spec.hiddenSize, neurons] : [parts.length * neurons, spec.hiddenSize];
  return expert === null ? [count, ...matrix] : matrix;
}

/** The shape that a family's checkpoints have for a weight that stands alone. @param shape - its usual one */
export function loneShape(
  name: string,
  shape: readonly number[],
  { stored }: Pick<Family, "stored">,
): readonly number[] {
  return stored.correctionsInRows && name.endsWith(`.${CORRECTION}`) ? [1, ...shape] : shape;
}

/** A view of a checkpoint's tensors with corrections of routers as vectors; those of other shapes stay as they are. */
export function withVectors(source: TensorSource, spec: ModelSpec, family: Family): TensorSource {
  const sizes = new Map(
    correctionsOf(spec)
      .filter(({ name, shape }) => source.info(name)?.shape.join() === loneShape(name, shape, family).join())
      .map(({ name, shape: [count = 0] }) => [name, count] as const),
  );
  return {
    names: source.names,
    info: (name) => {
      const [info, size] = [source.info(name), sizes.get(name)];
      return info && size !== undefined ? { ...info, shape: [size] } : info;
    },
    read: async (name, rows) => {
      const size = sizes.get(name);
      if (size === undefined) return source.read(name, rows);
      if (rows !== undefined) checkRows(rows, [size], name);
      const { start, end } = rows ?? { start: 0, end: size };
      const { data } = await source.read(name);
      return { shape: [end - start], data: data.subarray(start, end) };
    },
    close: () => source.close(),
  };
}

/** A view of a checkpoint's tensors with those of experts joined; those of other shapes stay as they are. */
export function joinExperts(source: TensorSource, spec: ModelSpec, family: Family): TensorSource {
  const joined = new Map<string, { readonly part: Projection; readonly tensors: ExpertTensor[] }>();
  const found = new Set<string>();
  for (const tensor of readableExperts(spec, family)) {
    const shape = expertShape(spec, tensor);
    if (source.info(tensor.name)?.shape.join() !== shape.join()) continue;
    found.add(tensor.name);
    for (const [index, name] of joinedNames(tensor).entries()) {
      const part = tensor.parts[index]!;
      getOrMake(joined, name, () => ({ part, tensors: [] })).tensors.push(tensor);
    }
  }
  if (found.size === 0) return source;
  const matrices = Array.from(joined, ([name, { part, tensors }]) => {
    return [name, new JoinedExperts(spec, part, tensors)] as const;
  });
  const whole = new Map(matrices.filter(([, { isComplete }]) => isComplete));
  return {
    names: [...source.names.filter((name) => !found.has(name)), ...whole.keys()],
    info: (name): TensorInfo | undefined => {
      const matrix = whole.get(name);
      if (matrix === undefined) return source.info(name);
      return { dtype: source.info(matrix.tensors[0]!.name)!.dtype, shape: matrix.shape };
    },
    read: async (name, rows) => {
      const matrix = whole.get(name);
      if (matrix === undefined) return source.read(name, rows);
      if (rows !== undefined) checkRows(rows, matrix.shape, name);
      return matrix.read(source, rows ?? { start: 0, end: matrix.shape[0]! });
    },
    close: () => source.close(),
  };
}

/** A projection of all experts. */
class JoinedExperts {
  readonly tensors: readonly ExpertTensor[];
  readonly shape: readonly [number, number];
  readonly isComplete: boolean;
  readonly #part: Projection;
  readonly #count: number;
  /** Neurons of an expert. */
  readonly #size: number;

  constructor(spec: ModelSpec, part: Projection, tensors: readonly ExpertTensor[]) {
    const layer = spec.layers[tensors[0]!.layer]!;
    this.tensors = tensors;
    this.#part = part;
    this.#count = layer.experts!.count;
    this.#size = expertNeurons(layer);
    this.isComplete = tensors[0]!.expert === null || tensors.length === this.#count;
    this.shape = isOutput([part]) ? [spec.hiddenSize, layer.neurons] : [layer.neurons, spec.hiddenSize];
  }

  async read(source: TensorSource, { start, end }: RowRange): Promise<Tensor> {
    const columns = this.shape[1];
    const result = zeros([end - start, columns]);
    if (isOutput([this.#part])) {
      for (let expert = 0; expert < this.#count; expert++) {
        putColumns(result, await this.#matrix(source, expert, { start, end }), expert * this.#size);
      }
      return result;
    }
    for (let row = start; row < end; ) {
      const expert = Math.floor(row / this.#size);
      const first = expert * this.#size;
      const last = Math.min(end, first + this.#size);
      const { data } = await this.#matrix(source, expert, { start: row - first, end: last - first });
      result.data.set(data, (row - start) * columns);
      row = last;
    }
    return result;
  }

  /** Rows of an expert's matrix of the projection. */
  async #matrix(source: TensorSource, expert: number, { start, end }: RowRange): Promise<Tensor> {
    const tensor = this.tensors.find((each) => each.expert === expert) ?? this.tensors[0]!;
    const before = tensor.parts.indexOf(this.#part) * this.#size;
    if (tensor.expert !== null) return source.read(tensor.name, { start: before + start, end: before + end });
    const { shape, data } = await source.read(tensor.name, { start: expert, end: expert + 1 });
    const width = shape[2]!;
    return {
      shape: [end - start, width],
      data: data.subarray((before + start) * width, (before + end) * width),
    };
  }
}

/** The tensor of experts, from the joined projections. @param read - reads one of them, or some of its rows */
export async function readExperts(
  spec: ModelSpec,
  tensor: ExpertTensor,
  read: (name: string, rows?: RowRange) => Promise<Tensor>,
): Promise<Tensor> {
  const layer = spec.layers[tensor.layer]!;
  const [size, { count }] = [expertNeurons(layer), layer.experts!];
  const experts =
    tensor.expert === null ? Array.from({ length: count }, (_, expert) => expert) : [tensor.expert];
  const result = zeros(expertShape(spec, tensor));
  let offset = 0;
  const append = (values: Float32Array): void => {
    result.data.set(values, offset);
    offset += values.length;
  };
  const outputs = isOutput(tensor.parts) ? await read(projectionName(tensor.layer, "down_proj")) : null;
  for (const expert of experts) {
    const rows = { start: expert * size, end: (expert + 1) * size };
    if (outputs === null) for (const name of joinedNames(tensor)) append((await read(name, rows)).data);
    else
      for (let row = 0; row < spec.hiddenSize; row++) {
        const start = row * layer.neurons;
        append(outputs.data.subarray(start + rows.start, start + rows.end));
      }
  }
  return result;
}

function isOutput(parts: StoredExperts["parts"]): boolean {
  return parts[0] === "down_proj";
}
