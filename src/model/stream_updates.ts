/**
 * Alternating updates (AltUp, arXiv 2301.13310) with a learned residual (LAuReL, arXiv 2411.07501), as in Gemma 3n
 * (modeling_gemma3n.py): a token has several hidden states between layers, its streams. A layer predicts all of them
 * from all of them, its blocks compute the first from its prediction, and the error of that prediction corrects all.
 */

/** Those of a model, as a JSON value. */
export interface StreamUpdates {
  /** Streams between layers, 2 to `MAX_STREAMS`. Before the first layer and after the last one there is one. */
  readonly streams: number;
  /** Inner size of the residual beside attention, which adds a norm of two products to what attention reads. */
  readonly residualRank: number;
}

/** What the table of matrices has names for; all published models have as many. */
export const MAX_STREAMS = 4;

/** What a layer routes, predicts and corrects with, and its residual. */
export const UPDATES = {
  /** [C] */
  routerNorm: "altup.router_norm",
  /** [S, C], S the number of streams. */
  router: "altup.modality_router",
  /** [S * S, S] */
  predictions: "altup.prediction_coefs",
  /** [S, S] */
  corrections: "altup.correction_coefs",
  /** [C], factors of what gates the layer's own input. */
  outputScale: "altup.correct_output_scale",
  /** [rank, C] */
  residualIn: "laurel.linear_left",
  /** [C, rank] */
  residualOut: "laurel.linear_right",
  /** [C] */
  residualNorm: "laurel.post_laurel_norm",
} as const;

/** The matrices [C, C] that make the other streams from the embedding, in the first layer. */
export const STREAMS_IN = ["altup_projection_1", "altup_projection_2", "altup_projection_3"] as const;
/** The matrices [C, C] that the other streams go through before they are averaged, in the last layer. */
export const STREAMS_OUT = [
  "altup_unembed_projection_1",
  "altup_unembed_projection_2",
  "altup_unembed_projection_3",
] as const;

/** Names of those matrices in checkpoints, which have them outside of layers, by their names here. */
export function outerNamesOf(names: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    names.map((name) => [name, name.replace(/_(\d)$/, (_, n) => `s.${Number(n) - 1}`)]),
  );
}

/** A layer's tensors for updates: shapes by name without the layer's prefix. */
export function updateParts(
  { streams, residualRank: rank }: StreamUpdates,
  hiddenSize: number,
  { isFirst, isLast }: { readonly isFirst: boolean; readonly isLast: boolean },
): readonly (readonly [name: string, shape: readonly number[]])[] {
  const others = (names: readonly string[]) =>
    names.slice(0, streams - 1).map((name) => [`${name}.weight`, [hiddenSize, hiddenSize]] as const);
  return [
    ...(isFirst ? others(STREAMS_IN) : []),
    [`${UPDATES.routerNorm}.weight`, [hiddenSize]],
    [`${UPDATES.router}.weight`, [streams, hiddenSize]],
    [`${UPDATES.predictions}.weight`, [streams ** 2, streams]],
    [`${UPDATES.corrections}.weight`, [streams, streams]],
    [UPDATES.outputScale, [hiddenSize]],
    [`${UPDATES.residualIn}.weight`, [rank, hiddenSize]],
    [`${UPDATES.residualOut}.weight`, [hiddenSize, rank]],
    [`${UPDATES.residualNorm}.weight`, [hiddenSize]],
    ...(isLast ? others(STREAMS_OUT) : []),
  ];
}
