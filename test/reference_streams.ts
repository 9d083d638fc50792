/** Streams of the reference decoder: what layers do with them before and after their blocks (modeling_gemma3n.py). */
import { ofOwn } from "./reference_ffn.ts";
import { add, linear, matrix, type Row, type Rows } from "./reference_functions.ts";
import type { ReferenceLayer } from "./reference_layer.ts";

/** All streams, each of rows of C. */
export type Streams = readonly Rows[];

/** The embedding and its projections. */
export function expanded(layer: ReferenceLayer, embedded: Rows): Streams {
  const others = Array.from({ length: layer.spec.updates!.streams - 1 }, (_, index) =>
    embedded.map((row) => sized(product(layer, `altup_projection_${index + 1}`, row), row)),
  );
  return [embedded, ...others];
}

export function predicted(layer: ReferenceLayer, streams: Streams): Streams {
  const count = streams.length;
  const coefficients = modalities(layer, streams[0]!).map((routed) =>
    product(layer, "altup.prediction_coefs", routed),
  );
  return streams.map((own, j) =>
    own.map((row, t) =>
      row.map((x, c) =>
        streams.reduce((sum, other, i) => sum + coefficients[t]![j * count + i]! * other[t]![c]!, x),
      ),
    ),
  );
}

/** @param own - the layer's own input by token */
export function corrected(
  layer: ReferenceLayer,
  predictions: Streams,
  { activated, own }: { readonly activated: Rows; readonly own: Rows },
): Streams {
  const errors = modalities(layer, activated).map((routed) =>
    product(layer, "altup.correction_coefs", routed),
  );
  const after = predictions.map((rows, j) =>
    rows.map((row, t) =>
      row.map((x, c) => x + (1 + errors[t]![j]!) * (activated[t]![c]! - predictions[0]![t]![c]!)),
    ),
  );
  const scale = layer.vector("altup.correct_output_scale");
  const added = after[0]!.map((row, t) =>
    ofOwn(
      layer,
      row.map((x, c) => x * scale[c]!),
      own[t]!,
    ),
  );
  return after.map((rows, j) => (j === 0 ? rows : add(rows, added)));
}

/** The mean of the first stream and of projections of the others. */
export function joined(layer: ReferenceLayer, streams: Streams): Rows {
  return streams[0]!.map((first, t) => {
    const others = streams
      .slice(1)
      .map((rows, index) => sized(product(layer, `altup_unembed_projection_${index + 1}`, rows[t]!), first));
    return first.map((x, c) => others.reduce((sum, row) => sum + row[c]!, x) / streams.length);
  });
}

/** @param input - of attention, before its norm */
export function withResidual(layer: ReferenceLayer, input: Rows, attended: Rows): Rows {
  const read = layer.norm(input, "input_layernorm");
  const inner = read.map((row) =>
    product(layer, "laurel.linear_right", product(layer, "laurel.linear_left", row)),
  );
  const residual = add(read, layer.norm(inner, "laurel.post_laurel_norm"));
  return add(attended, residual).map((row) => row.map((x) => x / Math.SQRT2));
}

function modalities(layer: ReferenceLayer, rows: Rows): Rows {
  return layer.norm(rows, "altup.router_norm").map((row) =>
    product(
      layer,
      "altup.modality_router",
      row.map((x) => x / row.length),
    ).map(Math.tanh),
  );
}

/** A row with the root mean square of another. */
function sized(row: Row, like: Row): Row {
  const meanSquare = (values: Row): number => values.reduce((sum, x) => sum + x * x, 0) / values.length;
  const factor = Math.sqrt(meanSquare(like) / Math.max(meanSquare(row), 1e-5));
  return row.map((x) => x * factor);
}

function product(layer: ReferenceLayer, name: string, row: Row): Row {
  return linear(row, matrix(layer.weights, `${layer.prefix}${name}.weight`));
}
