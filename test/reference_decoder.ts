/**
 * The decoder in plain float64 JavaScript, one sequence at a time and row by row, as the papers and transformers'
 * modeling files define it. The naive twin of src/graph/decoder/decoder.ts; it shares no code with it.
 */

import type { LatentSpec } from "../src/model/latent_spec.ts";
import type { ConvolutionSpec, DeltaSpec, Mamba2Spec, MixerSpec } from "../src/model/mixer_spec.ts";
import type { Model } from "../src/model/model.ts";
import type { LayerSpec, ModelSpec } from "../src/model/spec.ts";
import { tensorsOf } from "./plans.ts";
import {
  ACTIVATIONS,
  add,
  chunks,
  crossEntropy,
  dot,
  gatedFactor,
  linear,
  matrix,
  norm,
  type Row,
  type Rows,
  rotate,
  sigmoid,
  silu,
  softcap,
  softmax,
  unit,
  vector,
  type Weights,
} from "./reference_functions.ts";

/** Results of the reference for one sequence. */
export interface ReferenceRun {
  /** Output of every layer, rows of C. */
  readonly hidden: readonly Rows[];
  /** Inputs of the output projections by space id, after edits. */
  readonly taps: ReadonlyMap<string, Rows>;
  /** Rows of V. */
  readonly logits: Rows;
  /** Mean next-token cross entropy, nats. */
  readonly loss: number;
}

/** Replaces the rows that enter an output projection. */
export type EditTap = (space: string, rows: Rows) => Rows;

/** Reads all weights once and returns the model as a function of token ids. */
export async function referenceDecoder(
  model: Model,
): Promise<(ids: ArrayLike<number>, edit?: EditTap) => ReferenceRun> {
  const weights = await tensorsOf(model);
  return (ids, edit = (_, rows) => rows) => run(model.spec, weights, { ids: Array.from(ids), edit });
}

function run(
  spec: ModelSpec,
  weights: Weights,
  { ids, edit }: { readonly ids: readonly number[]; readonly edit: EditTap },
): ReferenceRun {
  const embeddings = matrix(weights, "model.embed_tokens.weight");
  let stream: Rows = ids.map((id) => embeddings[id]!.map((x) => x * spec.embeddingScale));
  if (spec.learnedPositions !== null) {
    const table = matrix(weights, "model.embed_positions.weight").slice(spec.learnedPositions.offset);
    stream = add(stream, table.slice(0, ids.length));
  }
  if (spec.embeddingNorm) {
    const parameters = normParameters(spec, weights, "model.embed_layernorm");
    stream = stream.map((row) => norm(row, parameters, spec));
  }
  const hidden: Rows[] = [];
  const taps = new Map<string, Rows>();
  const attended: Attended[] = [];
  const own = ownInputs(spec, weights, ids);
  for (const [index, layer] of spec.layers.entries()) {
    const context = new LayerContext(spec, layer, { weights, prefix: `model.layers.${index}.`, attended });
    const gate = (kind: "kv" | "ffn", rows: Rows): Rows => {
      const id = `layers.${index}.${kind}`;
      taps.set(id, edit(id, rows));
      return taps.get(id)!;
    };
    const joined =
      layer.mixer === undefined
        ? context.attention(stream, (rows) => gate("kv", rows))
        : context.mixed(stream, layer.mixer);
    const read = spec.parallel ? stream : joined;
    const passed = context.ffn({ read, joined }, (rows) => gate("ffn", rows));
    stream = context.scaled(
      passed.map((row, t) =>
        spec.perLayerInputs === null ? row : context.withOwn(row, own[t]![index]!, spec.perLayerInputs.size),
      ),
    );
    hidden.push(stream);
  }
  const finalNorm = normParameters(spec, weights, "model.norm");
  const biases = spec.headBias ? vector(weights, "lm_head.bias") : new Array<number>(spec.vocabSize).fill(0);
  const head = spec.tiedEmbeddings ? embeddings : matrix(weights, "lm_head.weight");
  const logits = stream.map((row) =>
    softcap(
      linear(norm(row, finalNorm, spec), head).map((x, i) => (x + biases[i]!) / spec.logitDivisor),
      spec.logitSoftcap,
    ),
  );
  return { hidden, taps, logits, loss: crossEntropy(logits, ids) };
}

/** Keys and values of a layer by token and head. */
type Attended = Readonly<Record<"keys" | "values", readonly (readonly Rows[number][])[]>>;

/** The inputs of all layers by token. */
function ownInputs(spec: ModelSpec, weights: Weights, ids: readonly number[]): readonly Rows[] {
  if (spec.perLayerInputs === null) return [];
  const { size } = spec.perLayerInputs;
  const embeddings = matrix(weights, "model.embed_tokens.weight");
  const table = matrix(weights, "model.embed_tokens_per_layer.weight");
  const projection = matrix(weights, "model.per_layer_model_projection.weight");
  const weight = vector(weights, "model.per_layer_projection_norm.weight");
  return ids.map((id) => {
    const embedded = embeddings[id]!.map((x) => x * spec.embeddingScale);
    const projected = linear(embedded, projection).map((x) => x / Math.sqrt(spec.hiddenSize));
    const rows = chunks(table[id]!, size);
    return chunks(projected, size).map((part, layer) =>
      norm(part, { weight, bias: null }, spec).map(
        (x, c) => (x + rows[layer]![c]! * Math.sqrt(size)) / Math.SQRT2,
      ),
    );
  });
}

function normParameters(
  spec: ModelSpec,
  weights: Weights,
  name: string,
): { readonly weight: Row | null; readonly bias: Row | null } {
  return {
    weight: spec.normParameters === "none" ? null : vector(weights, `${name}.weight`),
    bias: spec.normParameters === "weight_and_bias" ? vector(weights, `${name}.bias`) : null,
  };
}

class LayerContext {
  readonly spec: ModelSpec;
  readonly layer: LayerSpec;
  readonly weights: Weights;
  readonly prefix: string;
  /** Of the layers before, to which this one adds its own. */
  readonly attended: Attended[];

  constructor(
    spec: ModelSpec,
    layer: LayerSpec,
    {
      weights,
      prefix,
      attended,
    }: { readonly weights: Weights; readonly prefix: string; readonly attended: Attended[] },
  ) {
    this.spec = spec;
    this.layer = layer;
    this.weights = weights;
    this.prefix = prefix;
    this.attended = attended;
  }

  attention(stream: Rows, gate: (rows: Rows) => Rows): Rows {
    const { norms, attentionScale, scoreSoftcap, latent } = this.spec;
    const normed = norms === "after" ? stream : this.norm(stream, "input_layernorm");
    const { groupSize, window, slopes } = this.layer;
    const gates = this.spec.gatedAttention ? normed.map((row) => this.queryParts(row, 1).flat()) : null;
    const heads = latent === undefined ? this.plainHeads(normed) : this.latentHeads(normed, latent);
    const { queries, keys, values } = heads;
    const mixed = queries.map((row, t) =>
      row.flatMap((query, n) => {
        const group = Math.floor(n / groupSize);
        const first = window === null ? 0 : Math.max(0, t - window + 1);
        const seen = keys.slice(first, t + 1);
        const raw = softcap(
          seen.map((key) => attentionScale * dot(query, key[group]!)),
          scoreSoftcap,
        ).map((score, s) => score - (slopes?.[n] ?? 0) * (t - first - s));
        const sinks = this.spec.attentionSinks ? [this.vector("self_attn.sinks")[n]!] : [];
        const scores = softmax([...raw, ...sinks]).slice(0, raw.length);
        return values[0]![group]!.map((_, c) =>
          dot(
            scores,
            values.slice(first, t + 1).map((value) => value[group]![c]!),
          ),
        );
      }),
    );
    const open = mixed.map((row, t) => row.map((x, c) => (gates === null ? x : x * sigmoid(gates[t]![c]!))));
    const out = (this.layer.kvSharing ? open : gate(open)).map((row) =>
      this.project("self_attn", "o_proj", row),
    );
    const plain = norms === "before" || norms === "shared";
    return this.join(stream, plain ? out : this.norm(out, "post_attention_layernorm"));
  }

  /** Heads whose queries, keys and values are products with the layer's input. */
  private plainHeads(rows: Rows): Attended & { readonly queries: readonly Rows[] } {
    const { qkNorm, projectionClip } = this.spec;
    const { headDim = this.spec.headDim, rope } = this.layer;
    const limit = projectionClip ?? Number.POSITIVE_INFINITY;
    const clipped = (projection: string, input: Row): Row =>
      this.project("self_attn", projection, input).map((value) => Math.max(-limit, Math.min(limit, value)));
    const prepared = (projection: string, normName: string): readonly Rows[] =>
      rows.map((input, t) => {
        const normIf = (kind: string, row: Row): Row =>
          qkNorm === kind ? this.normRow(row, normName, "weight") : row;
        const heads =
          projection === "q_proj" && this.spec.gatedAttention
            ? this.queryParts(input, 0)
            : chunks(normIf("projection", clipped(projection, input)), headDim);
        return heads.map((head, n) => {
          const normed = qkNorm === "each_head" ? this.headNormed(head, normName, n) : normIf("head", head);
          const rotated = normIf("rotated_head", rotate(normed, t, rope));
          const isNormed = qkNorm === "unweighted" && rope !== null;
          return isNormed ? norm(rotated, { weight: null, bias: null }, this.spec) : rotated;
        });
      });
    const queries = prepared("q_proj", "self_attn.q_norm");
    const own = this.keysAndValues({
      keys: () => prepared("k_proj", "self_attn.k_norm"),
      values: () =>
        rows.map((row) =>
          chunks(clipped(this.layer.valuesAreKeys ? "k_proj" : "v_proj", row), headDim).map((head) =>
            this.spec.valueNorm ? norm(head, { weight: null, bias: null }, this.spec) : head,
          ),
        ),
    });
    return { queries, ...own };
  }

  /** Heads whose keys and values come from latents, [nope channels, then those that turn]. */
  private latentHeads(rows: Rows, latent: LatentSpec): Attended & { readonly queries: readonly Rows[] } {
    const { rank, rotated, valueDim, queryRank, biases } = latent;
    const { headDim } = this.spec;
    const product = (row: Row, name: string, biased = false): Row => {
      const outputs = linear(row, matrix(this.weights, `${this.prefix}self_attn.${name}.weight`));
      const bias = biased ? this.vector(`self_attn.${name}.bias`) : [];
      return outputs.map((x, c) => x + (bias[c] ?? 0));
    };
    const normed = (row: Row, name: string): Row => {
      const rule = { ...this.spec, normEps: 1e-6 };
      return norm(row, { weight: this.vector(`self_attn.${name}.weight`), bias: null }, rule);
    };
    const turned = (row: Row, t: number): Row => rotate(row, t, this.layer.rope);
    const made = rows.map((row) => product(row, "kv_a_proj", biases));
    const ofKeys = made.map((row) => normed(row.slice(0, rank), "kv_a_layernorm"));
    const ofQueries =
      queryRank === null
        ? rows
        : rows.map((row) => normed(product(row, "q_a_proj", biases), "q_a_layernorm"));
    const split = headDim - rotated;
    return {
      queries: ofQueries.map((row, t) =>
        chunks(this.project("self_attn", "q_proj", row), headDim).map((head) => [
          ...head.slice(0, split),
          ...turned(head.slice(split), t),
        ]),
      ),
      keys: ofKeys.map((row, t) => {
        const shared = turned(made[t]!.slice(rank), t);
        return chunks(this.project("self_attn", "k_proj", row), split).map((head) => [...head, ...shared]);
      }),
      values: ofKeys.map((row) => chunks(this.project("self_attn", "v_proj", row), valueDim)),
    };
  }

  /** Those of another layer, or the layer's own, which later ones may read. */
  private keysAndValues(own: {
    readonly keys: () => Attended["keys"];
    readonly values: () => Attended["values"];
  }): Attended {
    const { kvSharing } = this.layer;
    const result =
      kvSharing?.role === "reader"
        ? this.attended[kvSharing.source]!
        : { keys: own.keys(), values: own.values() };
    this.attended.push(result);
    return result;
  }

  /** A row with what the layer's own input adds. */
  withOwn(row: Row, own: Row, size: number): Row {
    const gates = linear(row, matrix(this.weights, `${this.prefix}per_layer_input_gate.weight`));
    const open = gates.map((x, c) => ACTIVATIONS[this.spec.activation](x, () => 0) * own[c]!);
    if (open.length !== size) throw new Error(`expected ${size} channels, got ${open.length}`);
    const projected = linear(open, matrix(this.weights, `${this.prefix}per_layer_projection.weight`));
    return this.join([row], this.norm([projected], "post_per_layer_input_norm"))[0]!;
  }

  /** Rows times the layer's number, if it has one. */
  scaled(rows: Rows): Rows {
    if (!this.spec.layerScalars) return rows;
    const [factor] = this.vector("layer_scalar");
    return rows.map((row) => row.map((x) => x * factor!));
  }

  /** The queries (0) or gates (1) of all heads. */
  private queryParts(input: Row, part: 0 | 1): readonly Row[] {
    const { headDim } = this.spec;
    const both = chunks(this.project("self_attn", "q_proj", input), 2 * headDim);
    return both.map((head) => head.slice(part * headDim, (part + 1) * headDim));
  }

  mixed(stream: Rows, mixer: MixerSpec): Rows {
    switch (mixer.type) {
      case "convolution":
        return this.convolution(stream, mixer);
      case "delta":
        return this.delta(stream, mixer);
      case "mamba2":
        return this.mamba2(stream, mixer);
    }
  }

  private convolution(stream: Rows, { biases }: ConvolutionSpec): Rows {
    const size = this.spec.hiddenSize;
    const thirds = this.norm(stream, "input_layernorm").map((row) => this.project("conv", "in_proj", row));
    const entering = thirds.map((row) =>
      Array.from({ length: size }, (_, c) => row[c]! * row[2 * size + c]!),
    );
    const bias = biases ? this.vector("conv.conv.bias") : null;
    const mixed = this.filtered(entering, "conv.conv").map((row, t) =>
      row.map((x, c) => thirds[t]![size + c]! * (x + (bias?.[c] ?? 0))),
    );
    return this.join(
      stream,
      mixed.map((row) => this.project("conv", "out_proj", row)),
    );
  }

  /** Every channel of rows with its causal filter. */
  private filtered(rows: Rows, module: string): Rows {
    const filters = this.weights.get(`${this.prefix}${module}.weight`)!;
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

  /** Mamba 2, token by token. */
  private mamba2(stream: Rows, mixer: Mamba2Spec): Rows {
    const { keyHeads, valueHeads, keyDim, valueDim, filterBiases } = mixer;
    const [values, keys] = [valueHeads * valueDim, keyHeads * keyDim];
    const projected = this.norm(stream, "input_layernorm").map((row) =>
      this.project("mamba", "in_proj", row),
    );
    const filterBias = filterBiases ? this.vector("mamba.conv1d.bias") : null;
    const entering = projected.map((row) => row.slice(values, 2 * values + 2 * keys));
    const mixed = this.filtered(entering, "mamba.conv1d").map((row) =>
      row.map((x, c) => silu(x + (filterBias?.[c] ?? 0))),
    );
    const [speeds, biases, passing, weight] = ["A_log", "dt_bias", "D", "norm.weight"].map((name) =>
      this.vector(`mamba.${name}`),
    ) as [Row, Row, Row, Row];
    const states = Array.from({ length: valueHeads }, () =>
      Array.from({ length: keyDim }, () => new Array<number>(valueDim).fill(0)),
    );
    const outputs = mixed.map((row, t) => {
      const gates = projected[t]!.slice(0, values);
      const rates = projected[t]!.slice(-valueHeads);
      const open = states.flatMap((state, head) => {
        const first = values + Math.floor((head * keyHeads) / valueHeads) * keyDim;
        const [key, query] = [
          row.slice(first, first + keyDim),
          row.slice(first + keys, first + keys + keyDim),
        ];
        const step = Math.log1p(Math.exp(rates[head]! + biases[head]!));
        const left = Math.exp(-Math.exp(speeds[head]!) * step);
        return Array.from({ length: valueDim }, (_, v) => {
          const x = row[head * valueDim + v]!;
          for (const [k, line] of state.entries()) line[v] = left * line[v]! + key[k]! * step * x;
          const read =
            dot(
              query,
              state.map((line) => line[v]!),
            ) +
            passing[head]! * x;
          return read * silu(gates[head * valueDim + v]!);
        });
      });
      const rule = { ...this.spec, normType: "rms" } as const;
      const normed = chunks(open, values / keyHeads).flatMap((part) =>
        norm(part, { weight: null, bias: null }, rule),
      );
      return normed.map((x, c) => x * weight[c]!);
    });
    return this.join(
      stream,
      outputs.map((row) => this.project("mamba", "out_proj", row)),
    );
  }

  /** The gated delta rule, token by token. */
  private delta(stream: Rows, { keyHeads, valueHeads, keyDim, valueDim }: DeltaSpec): Rows {
    const read = this.norm(stream, "input_layernorm");
    const projected = (name: string): Rows =>
      read.map((row) => linear(row, matrix(this.weights, `${this.prefix}linear_attn.${name}.weight`)));
    const mixed = this.filtered(projected("in_proj_qkv"), "linear_attn.conv1d").map((row) => row.map(silu));
    const [strengths, rates, gates] = ["in_proj_b", "in_proj_a", "in_proj_z"].map(projected) as [
      Rows,
      Rows,
      Rows,
    ];
    const [speeds, biases, weight] = ["A_log", "dt_bias", "norm.weight"].map((name) =>
      this.vector(`linear_attn.${name}`),
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
        const strength = sigmoid(strengths[t]![head]!);
        for (const [k, line] of state.entries())
          for (const v of line.keys()) line[v]! += key[k]! * strength * (value[v]! - found[v]!);
        const output = value.map(
          (_, v) =>
            dot(
              query,
              state.map((line) => line[v]!),
            ) / Math.sqrt(keyDim),
        );
        const rule = { ...this.spec, normType: "rms", normOffset: 0 } as const;
        const normed = norm(output, { weight, bias: null }, rule);
        return normed.map((x, v) => x * silu(gates[t]![head * valueDim + v]!));
      }),
    );
    return this.join(
      stream,
      outputs.map((row) => linear(row, matrix(this.weights, `${this.prefix}linear_attn.out_proj.weight`))),
    );
  }

  ffn({ read, joined }: { readonly read: Rows; readonly joined: Rows }, gate: (rows: Rows) => Rows): Rows {
    const { activation, gated, norms } = this.spec;
    const entering = {
      before: "post_attention_layernorm",
      around: "pre_feedforward_layernorm",
      after: null,
      shared: "input_layernorm",
    }[norms];
    const normed = entering === null ? read : this.norm(read, entering);
    const { ownNorms = false, shared } = this.layer.experts ?? {};
    const ofExperts = ownNorms ? this.norm(read, "pre_feedforward_layernorm_2") : normed;
    const routerReads = (t: number): Row => (ownNorms ? this.routerInput(read[t]!) : ofExperts[t]!);
    const inner = ofExperts.map((row, t) => {
      const up = this.project("mlp", "up_proj", row);
      const shares = this.routed(routerReads(t));
      const activate = (x: number): number =>
        ACTIVATIONS[activation](x, (name) => this.vector(`mlp.act_fn.${name}`)[0]!);
      const all = gated
        ? this.project("mlp", "gate_proj", row).map((x, j) => activate(x) * gatedFactor(up[j]!, activation))
        : up.map(activate);
      return all.map((x, j) => x * shares[Math.floor((j * shares.length) / all.length)]!);
    });
    const own = (rows: Rows, name: string): Rows => (ownNorms ? this.norm(rows, name) : rows);
    const routed = own(
      gate(inner).map((row, t) => this.written(row, routerReads(t))),
      "post_feedforward_layernorm_2",
    );
    const beside = (): Rows => own(this.sharedExpert(normed), "post_feedforward_layernorm_1");
    const out = shared === undefined ? routed : add(routed, beside());
    const plain = norms === "before" || norms === "shared";
    return this.join(joined, plain ? out : this.norm(out, "post_feedforward_layernorm"));
  }

  /** The output of an FFN; biases of experts count as much as they. @param read - what the router reads */
  private written(inner: Row, read: Row): Row {
    const { experts, biases } = this.layer;
    if (experts === undefined || !biases.includes("down_proj"))
      return this.project("mlp", "down_proj", inner);
    const ofExperts = matrix(this.weights, `${this.prefix}mlp.down_proj.bias`);
    const shares = this.routed(read);
    const product = linear(inner, matrix(this.weights, `${this.prefix}mlp.down_proj.weight`));
    return product.map((x, c) => shares.reduce((sum, share, e) => sum + share * ofExperts[e]![c]!, x));
  }

  /** What the shared expert adds to the output of the others. */
  private sharedExpert(rows: Rows): Rows {
    const product = (row: Row, name: string): Row =>
      linear(row, matrix(this.weights, `${this.prefix}mlp.${name}.weight`));
    return rows.map((row) => {
      const up = product(row, "shared_expert.up_proj");
      const activate = (x: number): number => ACTIVATIONS[this.spec.activation](x, () => 0);
      const neurons = product(row, "shared_expert.gate_proj").map(
        (x, j) => activate(x) * gatedFactor(up[j]!, this.spec.activation),
      );
      const share = this.layer.experts!.sharedUngated ? 1 : sigmoid(product(row, "shared_expert_gate")[0]!);
      return product(neurons, "shared_expert.down_proj").map((x) => share * x);
    });
  }

  /** What a router with a norm of its own reads. */
  private routerInput(row: Row): Row {
    const weight = this.vector("mlp.gate.scale");
    const normed = norm(row, { weight, bias: null }, { ...this.spec, normOffset: 0 });
    return normed.map((x) => x / Math.sqrt(row.length));
  }

  /** What each expert's neurons count for a token; 1 where there are no experts. */
  private routed(row: readonly number[]): readonly number[] {
    const { experts } = this.layer;
    if (experts === undefined) return [1];
    const { active, normalised, corrected, groups, divisor = { plus: 0 }, scale = 1 } = experts;
    const unbiased = linear(row, matrix(this.weights, `${this.prefix}mlp.gate.weight`));
    const bias = experts.biased ? this.vector("mlp.gate.bias") : unbiased.map(() => 0);
    const products = unbiased.map((x, expert) => x + bias[expert]!);
    const scores = experts.sigmoid ? products.map(sigmoid) : softmax(products);
    const added = corrected ? this.vector("mlp.gate.e_score_correction_bias") : scores.map(() => 0);
    const ranks = scores.map((score, expert) => score + added[expert]!);
    const size = experts.count / (groups?.count ?? 1);
    const worth = chunks(ranks, size).map((group) =>
      [...group]
        .sort((a, b) => b - a)
        .slice(0, groups?.best)
        .reduce((total, rank) => total + rank, 0),
    );
    const open = [...worth.keys()].sort((a, b) => worth[b]! - worth[a]!).slice(0, groups?.active);
    const picked = [...ranks.keys()]
      .filter((expert) => open.includes(Math.floor(expert / size)))
      .sort((a, b) => ranks[b]! - ranks[a]!)
      .slice(0, active);
    const sum = picked.reduce((total, expert) => total + scores[expert]!, 0);
    const least = "least" in divisor ? Math.max(sum, divisor.least) : sum + divisor.plus;
    const scales = experts.ownScales ? this.vector("mlp.gate.per_expert_scale") : scores.map(() => 1);
    return scores.map((score, expert) =>
      picked.includes(expert) ? (scales[expert]! * scale * score) / (normalised ? least : 1) : 0,
    );
  }

  private join(stream: Rows, output: Rows): Rows {
    return add(
      stream,
      output.map((row) => row.map((x) => x * this.spec.residualScale)),
    );
  }

  private norm(rows: Rows, name: string): Rows {
    return rows.map((row) => this.normRow(row, name, this.spec.normParameters));
  }

  private normRow(row: Row, name: string, parameters: ModelSpec["normParameters"]): Row {
    const weight = parameters === "none" ? null : this.vector(`${name}.weight`);
    const bias = parameters === "weight_and_bias" ? this.vector(`${name}.bias`) : null;
    return norm(row, { weight, bias }, this.spec);
  }

  /** A head with the norm that has weights of its own. */
  private headNormed(row: Row, name: string, head: number): Row {
    const weights = matrix(this.weights, `${this.prefix}${name}.weight`);
    return norm(row, { weight: weights[head]!, bias: null }, this.spec);
  }

  private project(module: string, projection: string, row: Row): Row {
    const name = `${this.prefix}${module}.${projection}`;
    const product = linear(row, matrix(this.weights, `${name}.weight`));
    const { biases, mixer } = this.layer;
    const isBiased =
      mixer !== undefined && mixer.type !== "delta" && ["conv", "mamba"].includes(module)
        ? mixer.biases
        : biases.some((biased) => biased === projection);
    if (!isBiased) return product;
    const bias = vector(this.weights, `${name}.bias`);
    return product.map((x, i) => x + bias[i]!);
  }

  private vector(name: string): Row {
    return vector(this.weights, this.prefix + name);
  }
}
