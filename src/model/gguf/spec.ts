/**
 * Reads the metadata of a GGUF file into a `ModelSpec`; spec_writer.ts is the inverse. Biases and tied embeddings
 * follow from which tensors exist.
 *
 * Keys: docs/gguf.md of ggml-org/ggml and gguf-py/gguf/constants.py of llama.cpp.
 */
import type { GgufFile } from "../../io/formats/gguf.ts";
import { GgufMetadata } from "../../io/formats/gguf_metadata.ts";
import { alibiSlopes } from "../alibi.ts";
import { familyByName } from "../families/families.ts";
import { type Family, settledSwitches } from "../family.ts";
import { withLatents } from "../latents.ts";
import { mixerLayer } from "../mixer_layers.ts";
import type { MixerSpec } from "../mixer_spec.ts";
import { PROJECTIONS, type Projection } from "../projections.ts";
import { stretchedPositions } from "../rope_layers.ts";
import type { RopeSpec } from "../rope_spec.ts";
import { type LayerSpec, MAX_HEADS, MAX_LAYERS, type ModelSpec } from "../spec.ts";
import { ATTENTION_GATES, projectionName, qkNormName } from "../weight_names.ts";
import { BLOCK_NORMS } from "../weights.ts";
import type { GgufArchitecture } from "./architecture.ts";
import { forLayers } from "./architectures.ts";
import { type Ffn, ffnsOf } from "./experts.ts";
import { CLIP, GgufKeys, GUESSING_LAYERS, LOGIT_CAP, NORM_EPS, PARALLEL } from "./keys.ts";
import { latentsOf, rotatedLength } from "./latents.ts";
import { type ByKind, keysAndValuesOf, perLayerInputsOf, WINDOW_PATTERN, WINDOWED } from "./layer_kinds.ts";
import { besideOf, mixersOf } from "./mixers.ts";
import { ggufName, hasWeight } from "./names.ts";
import { refuseUnsupported, saysRotated } from "./refusals.ts";
import { QUERY_GROWTH, ropeScalingOf } from "./rope_scaling.ts";
import { gateCutsOf, updatesOf } from "./streams.ts";
import { ROLE_KEYS, specialTokenId } from "./tokenizer.ts";

/** Token ids that travel to config.json. */
const TOKEN_IDS = ["bos", "eos", "pad"] as const;

/**
 * @throws GpruneError BAD_FILE for missing or impossible values, UNSUPPORTED for experts where the architecture has
 *   none, layers without attention, rotary scalings that are not computed
 */
export async function specOfGguf(file: GgufFile, architecture: GgufArchitecture): Promise<ModelSpec> {
  return new SpecReader(file, architecture).read();
}

class SpecReader {
  readonly #file: GgufFile;
  readonly #architecture: GgufArchitecture;
  readonly #metadata: GgufMetadata;
  readonly #keys: GgufKeys;

  constructor(file: GgufFile, architecture: GgufArchitecture) {
    this.#file = file;
    this.#metadata = new GgufMetadata(file.path, file.metadata);
    this.#keys = new GgufKeys(file, this.#metadata);
    this.#architecture = forLayers(architecture, this.#layerCount(architecture));
  }

  async read(): Promise<ModelSpec> {
    refuseUnsupported(this.#keys, this.#architecture);
    const family = familyByName(this.#familyName(), this.#file.path);
    const { computes } = family;
    const hiddenSize = this.#keys.size("embedding_length");
    const layerCount = this.#layerCount(this.#architecture);
    const heads = this.#heads(layerCount);
    const headDims = this.#headDims(hiddenSize / heads.find((count) => count > 0)!);
    const layers = await this.#layers(heads, headDims);
    const headDim = headDims.windowed;
    const scoreWidth =
      layerCount === this.#architecture.hiddenScaledLayers ? hiddenSize / heads[0]! : headDim;
    const parallel = this.#isParallel(family);
    const spec: ModelSpec = {
      family: family.modelType,
      vocabSize: this.#vocabSize(),
      hiddenSize,
      headDim,
      layers,
      tiedEmbeddings: this.#file.source.info("output.weight") === undefined,
      activation: this.#architecture.activation,
      normEps: this.#keys.notNegative(NORM_EPS[this.#normType(family)]),
      ...settledSwitches(computes),
      normType: this.#normType(family),
      ...this.#gates(heads),
      perLayerInputs: perLayerInputsOf(this.#keys, this.#architecture),
      ...updatesOf(this.#keys, this.#architecture),
      qkNorm: this.#hasQkNorm(family) ? computes.qkNorm : null,
      norms: parallel ? computes.parallelNorms : computes.norms,
      parallel,
      ...this.#scales({
        embeddingScale: computes.scaledEmbeddings ? Math.sqrt(hiddenSize) : 1,
        attentionScale: computes.scoreScale === "none" ? 1 : scoreWidth ** -0.5,
      }),
      projectionClip: this.#architecture.clips ? this.#keys.factor(CLIP, null) : null,
      ...this.#softcaps(),
      maxPositions: this.#maxPositions(layers),
      extra: this.#extra(),
    };
    if (!this.#architecture.latents) return spec;
    const latents = latentsOf(this.#keys);
    return withLatents(spec, latents.latent, latents.headDim);
  }

  /** Layers of the model itself. */
  #layerCount({ guessingLayers }: GgufArchitecture): number {
    const stored = this.#keys.size("block_count", MAX_LAYERS);
    const guessing = guessingLayers && this.#metadata.has(this.#keys.key(GUESSING_LAYERS));
    const count = stored - (guessing ? this.#keys.count(GUESSING_LAYERS) : 0);
    if (count > 0) return count;
    throw this.#keys.bad(GUESSING_LAYERS, `fewer than all ${stored} layers`, stored - count);
  }

  /** Query heads of each layer. */
  #heads(layerCount: number): readonly number[] {
    const name = "attention.head_count";
    const heads = this.#metadata.perLayer(this.#keys.key(name), layerCount);
    const all = heads.reduce((sum, count) => sum + Math.max(count, 0), 0);
    if (all <= MAX_HEADS) return heads;
    throw this.#keys.bad(name, `at most ${MAX_HEADS} query heads in all layers`, all);
  }

  /** @throws GpruneError BAD_FILE for gates that are neither for heads nor for channels */
  #gates([heads]: readonly number[]): Partial<Pick<ModelSpec, "gatedAttention">> {
    if (!this.#architecture.gatesByRows) return {};
    const name = ggufName(`model.layers.0.${ATTENTION_GATES}.weight`, this.#architecture)!;
    const rows = this.#file.source.info(name)?.shape[0] ?? 0;
    if (rows === heads) return { gatedAttention: "head_gates" };
    if (rows % heads! === 0 && rows > 0) return { gatedAttention: "gate_proj" };
    throw this.#keys.bad(name, `a multiple of ${heads} rows`, rows);
  }

  #isParallel({ computes, defaults }: Family): boolean {
    switch (this.#architecture.parallel) {
      case "family":
        return computes.parallel === true;
      case "key":
        return this.#metadata.optionalFlag(this.#keys.key(PARALLEL)) ?? defaults.parallel === true;
      case "no_ffn_norm": {
        return !this.#has(`model.layers.0.${BLOCK_NORMS[computes.norms].ffn.input}.weight`);
      }
    }
  }

  #normType({ computes }: Family): ModelSpec["normType"] {
    const isRms = this.#architecture.saysNorms && this.#metadata.has(this.#keys.key(NORM_EPS.rms));
    return isRms ? "rms" : computes.normType;
  }

  #hasQkNorm({ config }: Family): boolean {
    return config.qkNormFlag === null || this.#has(qkNormName(0, "q_norm"));
  }

  #maxPositions(layers: readonly LayerSpec[]): number {
    const stretched = stretchedPositions({ layers });
    if (stretched < 2 ** 31) return Math.max(this.#keys.size("context_length"), stretched);
    throw this.#keys.bad("rope.scaling.factor", "at most 2^31 positions", stretched);
  }

  /** Factors of the file where llama.cpp reads those keys, else the usual ones. */
  #scales(
    usual: Pick<ModelSpec, "embeddingScale" | "attentionScale">,
  ): Pick<ModelSpec, "embeddingScale" | "attentionScale" | "residualScale" | "logitDivisor"> {
    const logitDivisor = this.#logitDivisor();
    if (!this.#architecture.multipliers) return { ...usual, residualScale: 1, logitDivisor };
    return {
      embeddingScale: this.#keys.factor("embedding_scale", usual.embeddingScale),
      attentionScale: this.#keys.factor("attention.scale", usual.attentionScale),
      residualScale: this.#keys.factor("residual_scale", 1),
      logitDivisor,
    };
  }

  #logitDivisor(): number {
    const { logitScale } = this.#architecture;
    if (logitScale === null) return 1;
    const scale = this.#keys.factor("logit_scale", 1);
    return logitScale === "divisor" ? scale : 1 / scale;
  }

  /** llama.cpp reads these keys only where the architecture has those caps. */
  #softcaps(): Pick<ModelSpec, "scoreSoftcap" | "logitSoftcap"> {
    const { defaultScoreSoftcap: score, defaultLogitSoftcap: logit, zeroUncaps, loads } = this.#architecture;
    const isUncapped = zeroUncaps && this.#metadata.optionalNumber(this.#keys.key(LOGIT_CAP)) === 0;
    return {
      scoreSoftcap: score === null ? null : this.#keys.factor("attn_logit_softcapping", score),
      logitSoftcap: loads.logitSoftcap && !isUncapped ? this.#keys.factor(LOGIT_CAP, logit) : null,
    };
  }

  /** Head sizes of layers without and with a window. @param usual - where the file has no key */
  #headDims(usual: number): ByKind<number> {
    const full = this.#architecture.latents ? rotatedLength(this.#keys) : this.#headDim(usual);
    return { full, windowed: this.#architecture.twoKinds ? this.#headDim(full, WINDOWED) : full };
  }

  /** @param kind - the end of the keys' names */
  #headDim(usual: number, kind = ""): number {
    const [keyLength, valueLength] = [`attention.key_length${kind}`, `attention.value_length${kind}`];
    const headDim = this.#metadata.has(this.#keys.key(keyLength)) ? this.#keys.size(keyLength) : usual;
    const ofValues = this.#metadata.optionalNumber(this.#keys.key(valueLength)) ?? headDim;
    const expected = `${headDim}, the key length`;
    if (ofValues !== headDim) throw this.#keys.unsupported(valueLength, { expected, got: ofValues });
    if (Number.isInteger(headDim) && headDim > 0 && this.#hasPairs(headDim)) return headDim;
    throw this.#keys.bad("head size", "an even number", headDim);
  }

  async #layers(heads: readonly number[], headDims: ByKind<number>): Promise<readonly LayerSpec[]> {
    const count = heads.length;
    const ffns = ffnsOf(this.#keys, this.#architecture, count);
    const groupsKey = this.#keys.key("attention.head_count_kv");
    const hasGroups = this.#metadata.has(groupsKey) && !this.#architecture.latents;
    const groups = hasGroups ? this.#metadata.perLayer(groupsKey, count) : heads;
    const windows = this.#windows(count);
    const rope = await this.#rope(headDims);
    const neurons = ffns.map((ffn) => ffn.neurons);
    const mixers = mixersOf(this.#keys, this.#architecture, { groups, neurons });
    const beside = besideOf(this.#keys, this.#architecture);
    const layers = heads.map((headCount, layer): LayerSpec => {
      const sizes = { neurons: ffns[layer]!.neurons, kvGroups: groups[layer]!, heads: headCount };
      const mixer = mixers[layer] ?? null;
      if (mixer !== null) return { ...this.#mixerLayer(mixer, sizes.neurons, layer), ...ffns[layer]! };
      this.#checkLayer(sizes, layer);
      const window = windows[layer] ?? null;
      return {
        ...ffns[layer]!,
        kvGroups: sizes.kvGroups,
        groupSize: headCount / sizes.kvGroups,
        ...(window === null && headDims.full !== headDims.windowed && { headDim: headDims.full }),
        window,
        rope: this.#isRotated(layer, { windows, ffns })
          ? window === null
            ? rope.full
            : rope.windowed
          : null,
        ...(this.#architecture.alibi !== null && { slopes: alibiSlopes(headCount) }),
        biases: this.#biases(layer),
        ...(beside && { beside }),
      };
    });
    const keysAndValues = keysAndValuesOf(this.#keys, this.#architecture, layers);
    const cuts = gateCutsOf(this.#keys, this.#architecture, count);
    return layers.map((layer, index) => ({ ...layer, ...keysAndValues[index], ...cuts[index] }));
  }

  #mixerLayer(mixer: MixerSpec, neurons: number, layer: number): LayerSpec {
    if (!(Number.isSafeInteger(neurons) && (neurons > 0 || this.#architecture.blocks)))
      throw this.#keys.bad(`layer ${layer}`, "a positive number of neurons", neurons);
    return mixerLayer(mixer, { neurons, biases: this.#biases(layer) });
  }

  #biases(layer: number): readonly Projection[] {
    return PROJECTIONS.filter((projection) => this.#has(projectionName(layer, projection, "bias")));
  }

  #has(weight: string): boolean {
    return hasWeight(this.#file.source, weight, this.#architecture);
  }

  #checkLayer(sizes: Readonly<Record<"neurons" | "kvGroups" | "heads", number>>, layer: number): void {
    const where = `layer ${layer}`;
    const { neurons, ...heads } = sizes;
    const { blocks } = this.#architecture;
    if (blocks && neurons > 0)
      throw this.#keys.unsupported(where, { expected: "attention or an FFN", got: "both" });
    const present = Object.values(blocks ? heads : sizes);
    if (present.some((size) => size === 0))
      throw this.#keys.unsupported(where, { expected: "attention and an FFN", got: "only one of them" });
    const valid = [...present, sizes.heads / sizes.kvGroups].every(
      (size) => Number.isSafeInteger(size) && size > 0,
    );
    if (valid) return;
    const got = `${sizes.heads} heads, ${sizes.kvGroups} key/value heads, ${sizes.neurons} neurons`;
    throw this.#keys.bad(where, "positive sizes, with heads a multiple of key/value heads", got);
  }

  /** Sliding window of every layer. */
  #windows(layerCount: number): readonly (number | null)[] {
    const { fullAttentionEvery: every } = this.#architecture;
    const length = this.#windowLength();
    if (every === null || length === 0) return Array.from({ length: layerCount }, () => null);
    return this.#windowedLayers(layerCount, every).map((windowed) => (windowed ? length : null));
  }

  /** Tokens, the architecture's where the file has no key; 0 for none. */
  #windowLength(): number {
    const name = "attention.sliding_window";
    const { defaultWindow } = this.#architecture;
    return this.#metadata.has(this.#keys.key(name)) ? this.#keys.count(name) : (defaultWindow ?? 0);
  }

  /**
   * Whether each layer has a window. Where layers alternate, the file may override the architecture's pattern: by a
   * number, as llama.cpp reads it, or by a flag for each layer, as Ollama writes them.
   */
  #windowedLayers(layerCount: number, usual: number): readonly boolean[] {
    const name = WINDOW_PATTERN;
    const key = this.#keys.key(name);
    if (this.#architecture.twoKinds && !this.#metadata.has(key))
      throw this.#keys.bad(name, "a flag for each layer", "none");
    const overrides = usual > 0 && this.#metadata.has(key);
    const flags = overrides ? this.#metadata.optionalFlags(key, layerCount) : undefined;
    if (flags !== undefined) return flags;
    const every = overrides ? this.#keys.count(name) : usual;
    const first = this.#architecture.firstUnwindowed ? 0 : 1;
    return Array.from({ length: layerCount }, (_, layer) => every === 0 || (layer + first) % every !== 0);
  }

  #isRotated(
    layer: number,
    { windows, ffns }: { readonly windows: readonly (number | null)[]; readonly ffns: readonly Ffn[] },
  ): boolean {
    const { unrotatedEvery, unrotatedUnwindowed, rotatedDense, unrotatedModels } = this.#architecture;
    if (unrotatedModels && !saysRotated(this.#keys)) return false;
    if (rotatedDense && ffns[layer]!.experts === undefined) return true;
    if (unrotatedUnwindowed && this.#windowLength() > 0) return windows[layer] !== null;
    return unrotatedEvery === null || (layer + 1) % unrotatedEvery !== 0;
  }

  /** Rotary embedding of layers without and with a window. */
  async #rope(headDims: ByKind<number>): Promise<ByKind<RopeSpec>> {
    const theta = this.#base("rope.freq_base", 10_000);
    const plain = { theta, rotaryDim: this.#rotaryDim(headDims.full), scaling: null };
    const full: RopeSpec = { ...plain, scaling: await ropeScalingOf(this.#keys, plain, this.#architecture) };
    const { localRopeTheta, unscaledWindows, twoKinds, localRotation } = this.#architecture;
    if (localRopeTheta === null) return { full, windowed: unscaledWindows ? plain : full };
    const usual = localRopeTheta === "full" ? theta : localRopeTheta;
    const windowed = { ...plain, theta: this.#base("rope.freq_base_swa", usual) };
    if (!twoKinds && !localRotation) return { full, windowed };
    const turned = localRotation ? plain.rotaryDim : headDims.windowed;
    const rotaryDim = this.#rotaryDim(headDims.windowed, { kind: WINDOWED, usual: turned });
    return { full, windowed: { ...windowed, rotaryDim } };
  }

  /** Channels of a head that are rotated. @param kind - the end of the key's name */
  #rotaryDim(headDim: number, { kind = "", usual = headDim } = {}): number {
    const name = `rope.dimension_count${kind}`;
    const rotaryDim = this.#metadata.optionalNumber(this.#keys.key(name)) ?? usual;
    if (rotaryDim > 0 && rotaryDim <= headDim && this.#hasPairs(rotaryDim)) return rotaryDim;
    throw this.#keys.bad(name, `an even number up to ${headDim}`, rotaryDim);
  }

  /** Whether channels are pairs, as they have to be where any turn. */
  #hasPairs(channels: number): boolean {
    return channels % 2 === 0 || this.#architecture.unrotatedEvery === 1;
  }

  #familyName(): string {
    const { family, growingFamily, windowedFamily } = this.#architecture;
    if (windowedFamily !== null && this.#windowLength() > 0) return windowedFamily;
    return growingFamily !== null && this.#keys.factor(QUERY_GROWTH, null) !== null ? growingFamily : family;
  }

  /** Base of rotary frequencies. */
  #base(name: string, absent: number): number {
    return this.#keys.positive(name, this.#metadata.optionalNumber(this.#keys.key(name)) ?? absent);
  }

  /** The vocabulary is as large as the embedding; the tokenizer's list must not be larger. */
  #vocabSize(): number {
    const rows = this.#file.source.info("token_embd.weight")?.shape[0];
    if (rows === undefined) throw this.#keys.bad("token_embd.weight", "a matrix", "no such tensor");
    const tokens = this.#tokenCount() ?? rows;
    if (tokens <= rows) return rows;
    throw this.#keys.bad("tokenizer.ggml.tokens", `at most ${rows} tokens`, tokens);
  }

  /** Token ids; null where there is none, so that no reader assumes the default of its class. */
  #extra(): Readonly<Record<string, unknown>> {
    const tokens = this.#tokenCount() ?? this.#vocabSize();
    return Object.fromEntries(
      TOKEN_IDS.map((role) => {
        return [`${role}_token_id`, specialTokenId(this.#metadata, ROLE_KEYS[role], tokens) ?? null] as const;
      }),
    );
  }

  #tokenCount(): number | undefined {
    return this.#metadata.optionalTexts("tokenizer.ggml.tokens")?.length;
  }
}
