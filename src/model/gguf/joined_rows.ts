/**
 * Two weights whose rows take turns in a tensor of a GGUF file: gate_proj and up_proj of one expert after another
 * (`ffn_gate_up_exps`), and what gives strengths and rates to delta rules, of one key head after another (`ssm_ba`).
 */
import { type RowRange, type Tensor, type TensorSource, zeros } from "../../tensor/tensor.ts";
import { LINEAR_MODULES } from "../mixer_weights.ts";
import { expertNeurons, type LayerSpec, type ModelSpec } from "../spec.ts";
import { moduleOf } from "../weight_names.ts";
import type { GgufArchitecture } from "./architecture.ts";

/** Rows of one of the two weights. */
export interface JoinedRows {
  /** Rows of a turn, which are as many as those of the other weight. */
  readonly size: number;
  /** Rows of the other weight before them in each turn. */
  readonly before: number;
}

/** The weights of a model that take turns, by name. */
export function joinedWeights(
  { layers }: ModelSpec,
  architecture: GgufArchitecture,
): ReadonlyMap<string, JoinedRows> {
  const entries = layers.flatMap((layer, index) =>
    pairsOf(layer, architecture).flatMap(({ size, modules }) =>
      modules.map((module, part) => {
        return [`model.layers.${index}.${module}.weight`, { size, before: part * size }] as const;
      }),
    ),
  );
  return new Map(entries);
}

/** Two modules of a layer, and the rows of a turn of each. */
interface Pair {
  readonly size: number;
  readonly modules: readonly [string, string];
}

function pairsOf(layer: LayerSpec, { experts, tiledHeads }: GgufArchitecture): readonly Pair[] {
  const pairs: Pair[] = [];
  if (experts?.joined && layer.experts !== undefined)
    pairs.push({ size: expertNeurons(layer), modules: [moduleOf("gate_proj"), moduleOf("up_proj")] });
  const { mixer } = layer;
  if (mixer?.type === "delta" && !tiledHeads) {
    const { delta } = LINEAR_MODULES;
    const size = mixer.valueHeads / mixer.keyHeads;
    pairs.push({ size, modules: [`${delta}.in_proj_b`, `${delta}.in_proj_a`] });
  }
  return pairs;
}

/** Row of the tensor that holds row `row` of a weight. */
export function joinedRow(row: number, { size, before }: JoinedRows): number {
  return row + Math.floor(row / size) * size + before;
}

/** Reads rows of a weight. */
export async function readJoined(
  source: TensorSource,
  tensor: string,
  { rows: { start, end }, joined }: { readonly rows: RowRange; readonly joined: JoinedRows },
): Promise<Tensor> {
  const width = source.info(tensor)!.shape[1]!;
  const result = zeros([end - start, width]);
  for (const turn of turnsOf({ start, end }, joined)) {
    const from = joinedRow(turn.start, joined);
    const { data } = await source.read(tensor, { start: from, end: from + turn.end - turn.start });
    result.data.set(data, (turn.start - start) * width);
  }
  return result;
}

/** Puts a whole weight into the tensor of both. */
export function putJoined(target: Float32Array, { shape, data }: Tensor, joined: JoinedRows): void {
  const [rows = 0, width = 0] = shape;
  for (const { start, end } of turnsOf({ start: 0, end: rows }, joined))
    target.set(data.subarray(start * width, end * width), joinedRow(start, joined) * width);
}

/** The parts of some rows that follow one another in the tensor. */
function turnsOf({ start, end }: RowRange, { size }: JoinedRows): readonly RowRange[] {
  const turns: RowRange[] = [];
  for (let row = start; row < end; ) {
    const next = Math.min(end, (Math.floor(row / size) + 1) * size);
    turns.push({ start: row, end: next });
    row = next;
  }
  return turns;
}
