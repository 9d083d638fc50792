/** What layers of the reference decoder have in place of attention, or beside it. */
import type { ConvolutionSpec, DeltaSpec, Mamba2Spec, MixerSpec } from "../src/model/mixer_spec.ts";
import {
  chunks,
  dot,
  linear,
  matrix,
  norm,
  type Row,
  type Rows,
  sigmoid,
  silu,
  unit,
} from "./reference_functions.ts";
import { type ReferenceLayer, scaled } from "./reference_layer.ts";

export function mixed(layer: ReferenceLayer, stream: Rows, mixer: MixerSpec): Rows {
  switch (mixer.type) {
    case "convolution":
      return convolution(layer, stream, mixer);
    case "delta":
      return delta(layer, stream, mixer);
    case "mamba2":
      return mamba2(layer, mixer, { stream, joined: stream });
    case "none":
      return stream;
  }
}

function convolution(layer: ReferenceLayer, stream: Rows, { biases }: ConvolutionSpec): Rows {
  const size = layer.spec.hiddenSize;
  const thirds = layer.norm(stream, "input_layernorm").map((row) => layer.project("conv", "in_proj", row));
  const entering = thirds.map((row) => Array.from({ length: size }, (_, c) => row[c]! * row[2 * size + c]!));
  const bias = biases ? layer.vector("conv.conv.bias") : null;
  const mixed = filtered(layer, entering, "conv.conv").map((row, t) =>
    row.map((x, c) => thirds[t]![size + c]! * (x + (bias?.[c] ?? 0))),
  );
  const out = mixed.map((row) => layer.project("conv", "out_proj", row));
  return layer.join(stream, layer.given(out, "post_attention_layernorm"));
}

/** Every channel of rows with its causal filter. */
function filtered(layer: ReferenceLayer, rows: Rows, module: string): Rows {
  const filters = layer.weights.get(`${layer.prefix}${module}.weight`)!;
  const length = filters.shape[2]!;
  return rows.map((row, t) =>
    row.map((_, c) => {
      let sum = 0;
      for (let place = 0; place < length; place++) {
        const source = rows[t - (length - 1 - place)];
        if (source !== undefined) sum += filters.data[c * length + place]! * source[c]!;
      }
      return sum;
    }),
  );
}

/** Mamba 2, token by token. @param joined - what its output is added to */
export function mamba2(
  layer: ReferenceLayer,
  mixer: Mamba2Spec,
  { stream, joined }: { readonly stream: Rows; readonly joined: Rows },
): Rows {
  const { keyHeads, valueHeads, keyDim, valueDim, filterBiases, multipliers } = mixer;
  const [values, keys] = [valueHeads * valueDim, keyHeads * keyDim];
  const [ofGates = 1, ofValues = 1, ofKeys = 1, ofQueries = 1, ofSteps = 1] = multipliers?.parts ?? [];
  const partOf = (c: number): number => {
    if (c < values) return ofGates;
    if (c < 2 * values) return ofValues;
    if (c < 2 * values + keys) return ofKeys;
    return c < 2 * values + 2 * keys ? ofQueries : ofSteps;
  };
  const projected = scaled(layer.norm(stream, "input_layernorm"), multipliers?.input).map((row) =>
    layer.project("mamba", "in_proj", row).map((x, c) => x * partOf(c)),
  );
  const filterBias = filterBiases ? layer.vector("mamba.conv1d.bias") : null;
  const entering = projected.map((row) => row.slice(values, 2 * values + 2 * keys));
  const mixed = filtered(layer, entering, "mamba.conv1d").map((row) =>
    row.map((x, c) => silu(x + (filterBias?.[c] ?? 0))),
  );
  const [speeds, biases, passing] = ["A_log", "dt_bias", "D"].map((name) =>
    layer.vector(`mamba.${name}`),
  ) as [Row, Row, Row];
  const gated = (row: Row, gates: Row): Row => row.map((x, c) => x * silu(gates[c]!));
  const normed = (row: Row): Row => {
    const rule = { ...layer.spec, normType: "rms" } as const;
    const parts = chunks(row, values / keyHeads).map((part) =>
      norm(part, { weight: null, bias: null }, rule),
    );
    return parts.flat().map((x, c) => x * layer.vector("mamba.norm.weight")[c]!);
  };
  const states = Array.from({ length: valueHeads }, () =>
    Array.from({ length: keyDim }, () => new Array<number>(valueDim).fill(0)),
  );
  const outputs = mixed.map((row, t) => {
    const gates = projected[t]!.slice(0, values);
    const rates = projected[t]!.slice(-valueHeads);
    const read = states.flatMap((state, head) => {
      const first = values + Math.floor((head * keyHeads) / valueHeads) * keyDim;
      const [key, query] = [row.slice(first, first + keyDim), row.slice(first + keys, first + keys + keyDim)];
      const step = Math.log1p(Math.exp(rates[head]! + biases[head]!));
      const left = Math.exp(-Math.exp(speeds[head]!) * step);
      return Array.from({ length: valueDim }, (_, v) => {
        const x = row[head * valueDim + v]!;
        for (const [k, line] of state.entries()) line[v] = left * line[v]! + key[k]! * step * x;
        const line = state.map((values) => values[v]!);
        return dot(query, line) + passing[head]! * x;
      });
    });
    if (mixer.norm === "none") return gated(read, gates);
    return mixer.norm === "before_gates" ? gated(normed(read), gates) : normed(gated(read, gates));
  });
  return layer.join(
    joined,
    outputs.map((row) => layer.project("mamba", "out_proj", row)),
    multipliers?.output,
  );
}

/** The gated delta rule, token by token. */
function delta(
  layer: ReferenceLayer,
  stream: Rows,
  { keyHeads, valueHeads, keyDim, valueDim, overcorrects, normEps = layer.spec.normEps }: DeltaSpec,
): Rows {
  const read = layer.norm(stream, "input_layernorm");
  const projected = (name: string): Rows =>
    read.map((row) => linear(row, matrix(layer.weights, `${layer.prefix}linear_attn.${name}.weight`)));
  const mixed = filtered(layer, projected("in_proj_qkv"), "linear_attn.conv1d").map((row) => row.map(silu));
  const [strengths, rates, gates] = ["in_proj_b", "in_proj_a", "in_proj_z"].map(projected) as [
    Rows,
    Rows,
    Rows,
  ];
  const [speeds, biases, weight] = ["A_log", "dt_bias", "norm.weight"].map((name) =>
    layer.vector(`linear_attn.${name}`),
  ) as [Row, Row, Row];
  const states = Array.from({ length: valueHeads }, () =>
    Array.from({ length: keyDim }, () => new Array<number>(valueDim).fill(0)),
  );
  const keyChannels = keyHeads * keyDim;
  const outputs = mixed.map((row, t) =>
    states.flatMap((state, head) => {
      const keyHead = Math.floor((head * keyHeads) / valueHeads);
      const ofKeys = (start: number): Row =>
        unit(row.slice(start + keyHead * keyDim, start + (keyHead + 1) * keyDim));
      const [query, key] = [ofKeys(0), ofKeys(keyChannels)];
      const value = row.slice(2 * keyChannels + head * valueDim, 2 * keyChannels + (head + 1) * valueDim);
      const left = Math.exp(
        -Math.exp(speeds[head]!) * Math.log1p(Math.exp(rates[t]![head]! + biases[head]!)),
      );
      for (const line of state) for (const v of line.keys()) line[v]! *= left;
      const found = value.map((_, v) =>
        dot(
          key,
          state.map((line) => line[v]!),
        ),
      );
      const strength = sigmoid(strengths[t]![head]!) * (overcorrects ? 2 : 1);
      for (const [k, line] of state.entries())
        for (const v of line.keys()) line[v]! += key[k]! * strength * (value[v]! - found[v]!);
      const output = value.map(
        (_, v) =>
          dot(
            query,
            state.map((line) => line[v]!),
          ) / Math.sqrt(keyDim),
      );
      const rule = { ...layer.spec, normEps, normType: "rms", normOffset: 0 } as const;
      const normed = norm(output, { weight, bias: null }, rule);
      return normed.map((x, v) => x * silu(gates[t]![head * valueDim + v]!));
    }),
  );
  return layer.join(
    stream,
    outputs.map((row) => linear(row, matrix(layer.weights, `${layer.prefix}linear_attn.out_proj.weight`))),
  );
}
