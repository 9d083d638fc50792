/**
 * A causal convolution of tokens with a short filter for each channel (`causal_conv1d_fn` of modeling_lfm2.py), as sums
 * of products with shifted copies: whole operators for whole sequences, each of which has a derivative.
 */
import { internalError } from "../../errors.ts";
import type { Value } from "../ir/graph.ts";
import type { GraphBuilder } from "../ir/graph_builder.ts";
import { gatherRows, last } from "../ir/operators.ts";
import { plus } from "../ir/shapes.ts";

/** Where a filter's inputs before the present tokens come from. */
export interface ConvolutionInputs {
  /** Those of the last P tokens before, [B, P, C], P at least length - 1; null where sequences begin, with zeros. */
  readonly past: Value | null;
  /** 1 for tokens and 0 for padding, [B, T, 1]; all are tokens when absent. */
  readonly visible?: Value;
  /**
   * For forests, the row of B*T that is the d-th predecessor of each token, int32 [B, T] for d = 1 to length - 1; B*T
   * where there is none.
   */
  readonly ancestors?: readonly Value[];
}

/** Filters of all channels. */
export interface Filters {
  /** [C, 1, length] */
  readonly weight: Value;
  /** [C] */
  readonly bias: Value | null;
}

/** A convolution's output. */
export interface Convolved {
  /** [B, T, C] */
  readonly output: Value;
  /** Adds the inputs that a convolution of the next tokens starts from, as many as `past` has, to the graph. */
  state(): Value;
}

/**
 * Output t of a channel is the sum over d of x[t - d] w[length - 1 - d], and the bias. Padding counts as zeros, where
 * transformers masks what in_proj reads, so that its bias passes.
 * @param input - x, [B, T, C]
 */
export function convolve(
  b: GraphBuilder,
  input: Value,
  { weight, bias, visible, past, ancestors }: Filters & ConvolutionInputs,
): Convolved {
  const x = visible === undefined ? input : b.mul(input, visible);
  const length = weight.shape[2] as number;
  const { earlier, state } =
    ancestors === undefined ? inSequences(b, x, { past, length }) : inForests(b, x, ancestors);
  const tap = (d: number): Value => {
    const place = length - 1 - d;
    return b.reshape(b.slice(weight, 2, { start: place, end: place + 1 }), [weight.shape[0]!]);
  };
  const terms = Array.from({ length }, (_, d) => b.mul(d === 0 ? x : earlier(d), tap(d)));
  const sum = terms.reduce((total, term) => b.add(total, term));
  return { output: bias === null ? sum : b.add(sum, bias), state };
}

/** Inputs of the d-th token before each one, [B, T, C]. */
interface Earlier {
  earlier(d: number): Value;
  state(): Value;
}

function inSequences(
  b: GraphBuilder,
  x: Value,
  { past, length }: { readonly past: Value | null; readonly length: number },
): Earlier {
  const tokens = x.shape[1]!;
  const before = past === null ? length - 1 : (past.shape[1] as number);
  const whole =
    past === null
      ? b.pad(x, 1, { before, after: 0 })
      : b.concat([past, b.cast(x, past.type)], 1, plus(tokens, before));
  return {
    earlier: (d) => b.cast(b.trim(whole, 1, { before: before - d, after: d, size: tokens }), x.type),
    state: () => last(b, whole, { axis: 1, count: before }),
  };
}

function inForests(b: GraphBuilder, x: Value, ancestors: readonly Value[]): Earlier {
  const rows = b.pad(b.flatten(x), 0, { before: 0, after: 1 });
  return {
    earlier: (d) => gatherRows(b, rows, ancestors[d - 1]!),
    state: () => {
      throw internalError("a forest has no last tokens");
    },
  };
}
