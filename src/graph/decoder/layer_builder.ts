/** The blocks of a decoder layer: attention, what is in its place or beside it, the FFN, and what follows it. */
import type { LayerMatrix } from "../../model/projections.ts";
import { LAYER_SCALAR, PER_LAYER_NORM, SINKS } from "../../model/weight_names.ts";
import { BLOCK_NORMS } from "../../model/weights.ts";
import type { Value } from "../ir/graph.ts";
import type { GraphBuilder } from "../ir/graph_builder.ts";
import { softplus } from "../ir/operators.ts";
import type { Dim } from "../ir/shapes.ts";
import { addAttention } from "./attention.ts";
import { attentionHeads } from "./attention_heads.ts";
import { ffn, noParameter } from "./ffn.ts";
import { ACTIVATIONS } from "./formulas.ts";
import { LayerOperators } from "./layer_operators.ts";
import {
  type AttentionInputs,
  type HalfValues,
  type LayerParts,
  type LayerValues,
  type LinearAttentionInputs,
  type MixerInputs,
  multiple,
} from "./layer_structure.ts";
import { gatedDeltaNet, type Mixed, mamba2, shortConvolution } from "./mixers.ts";
import { corrected, type Predictions, predictions, withLearnedResidual } from "./stream_updates.ts";

/** The half of a layer that mixes tokens. */
export interface FirstHalf
  extends Pick<HalfValues, "stream" | "beforeOutputGate">,
    Pick<LayerValues, "carried"> {
  /** Null without attention of the layer's own units. */
  readonly tap: Value | null;
}

/**
 * Builds the blocks of one layer. Element types follow from the weights: a product has the type that its supply gives
 * it, keys and values that of the past; neurons, norms, softmax and the residual stream are float32. A cast to the type
 * that a value already has adds no node.
 */
export class LayerBuilder {
  readonly #layer: LayerOperators;

  constructor(b: GraphBuilder, parts: LayerParts) {
    this.#layer = new LayerOperators(b, parts);
  }

  /** See `LayerValues`; complete once all blocks are built. */
  get projected(): LayerValues["projected"] {
    return this.#layer.projected;
  }

  /** What the layer predicts of a token's streams; null where a token has one hidden state. */
  predictions(input: Value): Predictions | null {
    return this.#layer.structure.updates === undefined ? null : predictions(this.#layer, input);
  }

  /** Attention, and what is beside it, with its inputs. */
  attentionBlock(input: Value, inputs: AttentionInputs, recurrent?: LinearAttentionInputs): FirstHalf {
    const layer = this.#layer;
    const { norms, hiddenSize, sharing, beside, multipliers, updates } = layer.structure;
    const { input: before, output: after } = BLOCK_NORMS[norms].kv;
    const read = layer.scaled(layer.blockNorm(input, before), multipliers?.attentionInput);
    const { tap, beforeOutputGate, keys, values } = this.#attention(read, inputs);
    const projected = layer.linear(tap, "o_proj", hiddenSize);
    const added = layer.residual(input, layer.blockNorm(projected, after), multipliers?.attentionOutput);
    const stream = updates === undefined ? added : withLearnedResidual(layer, { stream: added, read });
    const isShared = sharing?.read !== undefined || sharing?.added !== undefined;
    const attended = { tap: isShared ? null : tap, beforeOutputGate };
    const kept = { keys, values };
    if (beside === undefined) return { ...attended, stream, carried: () => kept };
    const mixed = this.#mixed({ input, stream }, { mixer: beside, recurrent: recurrent! });
    return { ...attended, ...mixed, carried: () => ({ ...kept, ...mixed.carried() }) };
  }

  /** Grouped-query attention: the g query heads of a group share one [S, H] key and value matrix. */
  #attention(
    x: Value,
    inputs: AttentionInputs,
  ): Readonly<Record<"tap" | "beforeOutputGate" | "keys" | "values", Value>> {
    const { b, structure, sizes } = this.#layer;
    const { mask, slopes = null, cache = null } = inputs;
    const { headDim, valueDim, groupSize } = structure;
    const { K, N } = sizes;
    const [batch, tokens] = x.shape as readonly [Dim, Dim, Dim];
    const { queries, gates, keys, values } = attentionHeads(this.#layer, x, inputs);
    const grouped = b.transpose(b.reshape(queries, [batch, tokens, K, groupSize, headDim]), [0, 2, 3, 1, 4]);
    const sources = {
      ...{ queries: b.cast(grouped, keys.type), keys, values, mask, slopes, cache },
      sinks: this.#sinks(),
    };
    const joined = b.transpose(addAttention(b, sources, structure), [0, 3, 1, 2, 4]);
    const output = b.reshape(joined, [batch, tokens, multiple(N, valueDim)]);
    if (gates === null) return { tap: output, beforeOutputGate: output, keys, values };
    const heads = b.reshape(b.cast(output, "float32"), [batch, tokens, N, valueDim]);
    const gated = b.mul(heads, structure.softplusGates ? softplus(b, gates) : b.sigmoid(gates));
    return { tap: b.reshape(gated, output.shape), beforeOutputGate: output, keys, values };
  }

  /** Logits of attention sinks, [K, g]; null without. */
  #sinks(): Value | null {
    const { b, structure, weights, sizes } = this.#layer;
    if (!structure.attentionSinks) return null;
    return b.reshape(weights.tensor(SINKS, [sizes.N]), [sizes.K, structure.groupSize]);
  }

  /** What the layer has in place of attention; its norms are where those of attention would be. */
  mixerBlock(input: Value, inputs: MixerInputs): FirstHalf {
    return { tap: null, ...this.#mixed({ input, stream: input }, inputs) };
  }

  /** @param stream - what the mixer's output is added to */
  #mixed(
    { input, stream }: { readonly input: Value; readonly stream: Value },
    inputs: MixerInputs,
  ): Pick<FirstHalf, "stream" | "carried"> {
    const layer = this.#layer;
    const { norms, hiddenSize } = layer.structure;
    const { input: before, output: after } = BLOCK_NORMS[norms].kv;
    const multipliers = inputs.mixer.type === "mamba2" ? inputs.mixer.multipliers : undefined;
    const read = layer.scaled(layer.blockNorm(input, before), multipliers?.input);
    const { output, projection, carried } = this.#mix(read, inputs);
    const projected = layer.linear(output, projection, hiddenSize);
    return {
      stream: layer.residual(stream, layer.blockNorm(projected, after), multipliers?.output),
      carried,
    };
  }

  #mix(x: Value, inputs: MixerInputs): Mixed {
    const layer = this.#layer;
    const { b, structure, weights } = layer;
    const project = (matrix: LayerMatrix, outputs: number): Value =>
      b.cast(layer.linear(x, matrix, outputs), "float32");
    const parts = { structure, weights, project };
    if ("convolution" in inputs)
      return shortConvolution(b, { ...parts, mixer: inputs.mixer }, inputs.convolution);
    const { mixer, recurrent } = inputs;
    return mixer.type === "delta"
      ? gatedDeltaNet(b, { ...parts, mixer }, recurrent)
      : mamba2(b, { ...parts, mixer }, recurrent);
  }

  /** @param stream - what the output is added to; the input, unless the blocks are parallel */
  ffnBlock({ input, stream }: { readonly input: Value; readonly stream: Value }): HalfValues {
    const layer = this.#layer;
    const { norms, experts, multipliers } = layer.structure;
    const { channels, toTap, output } = ffn(layer, input);
    const normed = layer.blockNorm(output, BLOCK_NORMS[norms].ffn.output);
    const joined = layer.residual(stream, normed, multipliers?.ffnOutput);
    const values = { channels, ...(experts && { experts: experts.count }), stream: joined };
    if (toTap === undefined) return { ...values, tap: channels };
    let tap: Value | undefined;
    return {
      ...values,
      toTap,
      /** Added to the graph where it is used. */
      get tap(): Value {
        tap ??= toTap(channels);
        return tap;
      },
    };
  }

  /**
   * What follows the FFN: the corrections of streams, the layer's own input [B, T, size], gated by the stream, and the
   * layer's number.
   */
  outputBlock(stream: Value, ownInput: Value | null, predicted: Predictions | null): Value {
    const layer = this.#layer;
    const { b, structure, weights } = layer;
    if (predicted !== null) {
      const added = (gating: Value): Value => this.#ofOwnInput(gating, ownInput!);
      return corrected(layer, predicted, { activated: stream, added });
    }
    const output = ownInput === null ? stream : layer.residual(stream, this.#ofOwnInput(stream, ownInput));
    return structure.scalar ? b.mul(output, weights.tensor(LAYER_SCALAR, [1])) : output;
  }

  /** What a layer's own input adds. @param stream - what gates it, [B, T, C] */
  #ofOwnInput(stream: Value, own: Value): Value {
    const layer = this.#layer;
    const { b, structure } = layer;
    const gates = b.cast(layer.linear(stream, "per_layer_input_gate", own.shape.at(-1)!), "float32");
    const active = ACTIVATIONS[structure.activation](b, gates, noParameter);
    const projected = layer.linear(b.mul(active, own), "per_layer_projection", structure.hiddenSize);
    return layer.blockNorm(projected, PER_LAYER_NORM);
  }
}
