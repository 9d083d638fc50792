/**
 * Writes a model as a GGUF file for llama.cpp and programs built on it. Architecture and tensor types are decided first
 * (gguf_target.ts, gguf_types.ts); then tensors go through memory one at a time. The file appears complete or not at
 * all, and never overwrites another.
 */
import { basename, resolve } from "node:path";
import { GGUF_CHOICES, type GgufDType } from "../base/choices.ts";
import { namesText } from "../base/lists.ts";
import { counting, type OnProgress, silent } from "../base/progress.ts";
import { writeNewFileAtomically } from "../io/files/output_directory.ts";
import { type EncodedValue, f32s, text, texts, u32 } from "../io/formats/gguf_values.ts";
import { type GgufTensorToWrite, ggufBytes, writeGguf } from "../io/formats/gguf_writer.ts";
import { cardFields } from "../model/card_fields.ts";
import type { GgufArchitecture } from "../model/gguf/architecture.ts";
import { foldedSpec, foldedWeights } from "../model/gguf/folded.ts";
import { putJoined } from "../model/gguf/joined_rows.ts";
import {
  type GgufPlace,
  type GgufTensorPlan,
  ggufTensors,
  rowShape,
  shapeInFile,
} from "../model/gguf/places.ts";
import { ggufMetadataOf, rotaryFactors } from "../model/gguf/spec_writer.ts";
import { headsAsStored } from "../model/gguf/value_heads.ts";
import { cutWarning, type GgufVocabulary, ggufVocabularyOf } from "../model/gguf/vocabulary.ts";
import { exactDType, type Model } from "../model/model.ts";
import { rowsAsStored } from "../model/rotary_rows.ts";
import { attentionLayers, expertNeurons, type ModelSpec } from "../model/spec.ts";
import { stacked } from "../model/stacked_experts.ts";
import { ofModel } from "../model/tokenizer/files.ts";
import { activationParameterName } from "../model/weight_names.ts";
import { activationParameters } from "../model/weights.ts";
import { elementCount, type RowRange, type Tensor } from "../tensor/tensor.ts";
import { transposed } from "../tensor/transposed.ts";
import { requireDtype } from "./dtype_choice.ts";
import { requireFinite } from "./finite.ts";
import { type GgufTarget, requireGgufTarget } from "./gguf_target.ts";
import { fallbackWarning, fileTypeOf, ggmlTypeOf } from "./gguf_types.ts";
import { requireExportRoom } from "./room.ts";
import { type WeightReader, zeroFilled } from "./zero_fill.ts";

/** GGML_QNT_VERSION of ggml.h. */
const QUANTIZATION_VERSION = 2;

/** Options of {@link exportGguf}. */
export interface ExportGgufOptions {
  /**
   * `auto`, when absent, keeps a float checkpoint's dtype, writes one in FP8 as it is read and other quantised ones as
   * f32.
   */
  readonly dtype?: "auto" | GgufDType;
  /** llama.cpp's name of the pre-tokenizer (`tokenizer.ggml.pre`); found from tokenizer.json when absent. */
  readonly pre?: string | undefined;
  readonly onProgress?: OnProgress;
}

/** Summary of a written GGUF file. */
export interface GgufExport {
  /** general.architecture. */
  readonly architecture: string;
  readonly dtype: GgufDType;
  /** Bytes of all tensors. */
  readonly tensorBytes: number;
  /** Ways in which the file differs from what a user would expect, one sentence each. */
  readonly warnings: readonly string[];
}

/**
 * Writes a GGUF file.
 * @param path - must not exist
 * @throws GpruneError UNSUPPORTED for a model or tokenizer that llama.cpp cannot hold; OUTPUT_EXISTS, OUTPUT_FAILED;
 *   BAD_ARGUMENT for a dtype that is not in GGUF_CHOICES; OUT_OF_MEMORY when a tensor cannot be held; NOT_FINITE naming
 *   a tensor with a NaN or an infinity, OUT_OF_RANGE one with a value beyond the stored type
 */
export async function exportGguf(
  model: Model,
  path: string,
  { dtype: choice = "auto", pre, onProgress = silent }: ExportGgufOptions = {},
): Promise<GgufExport> {
  requireDtype(choice, GGUF_CHOICES, "gguf");
  const dtype = choice === "auto" ? checkpointDType(model) : choice;
  const target = requireGgufTarget(model.spec, model.origin.name);
  const vocabulary = vocabularyOf(model, pre, target);
  const cut = pre === undefined ? null : ofModel(model, () => cutWarning(model.files, pre));
  const metadata = new Map([
    ...metadataOf(model, target, { dtype, pre, vocabulary }),
    ...(await activationEntries(model)),
  ]);
  const tensors = tensorsToWrite(model, target, dtype);
  const tensorBytes = tensors.reduce((sum, tensor) => sum + ggufBytes(tensor), 0);
  await requireExportRoom(model, { output: path, bytes: tensorBytes });
  const onBytes = counting(onProgress, { stage: "save", total: tensorBytes, unit: "bytes" });
  await writeNewFileAtomically(path, (file) => writeGguf(file, { metadata, tensors }, { onBytes }));
  return {
    architecture: target.name,
    dtype,
    tensorBytes,
    warnings: warningsOf(model, target, { tensors, dtype, vocabulary, cut }),
  };
}

function checkpointDType({ origin }: Model): GgufDType {
  return exactDType(origin).toLowerCase() as GgufDType;
}

/** The vocabulary made from tokenizer.json; empty for a model from GGUF, whose metadata already holds one. */
function vocabularyOf(
  model: Model,
  pre: string | undefined,
  { architecture: { keepsMerges } }: GgufTarget,
): GgufVocabulary {
  const { files, spec, ggufMetadata } = model;
  if (ggufMetadata?.has("tokenizer.ggml.model"))
    return { metadata: new Map(), stripsAsPhi3: false, unstripped: [], leftOut: [] };
  const options = { vocabSize: spec.vocabSize, fallbackIds: spec.extra, pre, keepsMerges };
  return ofModel(model, () => ggufVocabularyOf(files, options));
}

/** All metadata of the file. Later entries replace earlier ones of the same key. */
function metadataOf(
  { origin, card, ggufMetadata = new Map() }: Model,
  target: GgufTarget,
  {
    dtype,
    pre,
    vocabulary,
  }: {
    readonly dtype: GgufDType;
    readonly pre: string | undefined;
    readonly vocabulary: GgufVocabulary;
  },
): ReadonlyMap<string, EncodedValue> {
  return new Map<string, EncodedValue>([
    ["general.architecture", text(target.name)],
    ["general.type", text("model")],
    ["general.name", text(nameOf(origin.name, vocabulary))],
    ["general.file_type", u32(fileTypeOf(dtype))],
    ...licenceOf(card),
    ["general.quantization_version", u32(QUANTIZATION_VERSION)],
    ...ggufMetadataOf(target.spec, target.name, target.architecture),
    ...vocabulary.metadata,
    ...ggufMetadata,
    ...(pre === undefined ? [] : [["tokenizer.ggml.pre", text(pre)] as const]),
  ]);
}

/**
 * general.name, from the name of the file or directory. In a model whose name contains Phi-3, llama.cpp lets special
 * tokens strip the spaces after them, and it aborts if the vocabulary lacks a token that it expects (llama-vocab.cpp).
 * So Phi-3 is put into the names of models whose tokens strip in this way, and kept out of all others.
 */
function nameOf(path: string, { stripsAsPhi3 }: GgufVocabulary): string {
  const name = basename(resolve(path)).replace(/\.gguf$/i, "");
  if (!stripsAsPhi3) return name.replaceAll(/(phi)-?(3)/gi, "$1 $2");
  return /phi-?3/i.test(name) ? name : `${name} (Phi-3)`;
}

/** Licence and languages from the card, as llama.cpp's conversion writes them (gguf-py/gguf/metadata.py). */
function licenceOf(card: Uint8Array | undefined): readonly (readonly [string, EncodedValue])[] {
  const { license, license_name: name, license_link: link, language } = cardFields(card);
  const entries = {
    "general.license": license === undefined ? null : text([license].flat().join(",")),
    "general.license.name": name === undefined ? null : text(name),
    "general.license.link": link === undefined ? null : text(link),
    "general.languages": language === undefined ? null : texts([language].flat()),
  };
  return Object.entries(entries).flatMap(([key, value]) => (value === null ? [] : [[key, value] as const]));
}

/** The parameters of the layers' activations, which llama.cpp has in the metadata. */
async function activationEntries({
  spec,
  weights,
}: Model): Promise<readonly (readonly [string, EncodedValue])[]> {
  const entries = activationParameters(spec).map(async ([name]) => {
    const layers = spec.layers.map(async (_, layer) => {
      const stored = activationParameterName(layer, name);
      return requireFinite(stored, await weights.read(stored), "F32").data[0]!;
    });
    const values = await Promise.all(layers);
    return [`${spec.activation}.${name}`, f32s(values)] as const;
  });
  return Promise.all(entries);
}

function tensorsToWrite(
  { weights, spec: unfolded }: Model,
  { spec, architecture }: GgufTarget,
  dtype: GgufDType,
): readonly GgufTensorToWrite[] {
  const folded = foldedWeights(weights, unfolded, architecture);
  const read = zeroFilled(folded, spec, foldedSpec(unfolded, architecture));
  const rotary = [...rotaryFactors(spec, architecture)].map(([name, factors]) => vector(name, factors));
  const tensors = ggufTensors(spec, architecture).map((plan): GgufTensorToWrite => {
    const type = ggmlTypeOf(plan, dtype);
    const { name, shape, parts } = plan;
    return {
      name,
      shape,
      type,
      byRows: parts.length === 1 && isInPlace(parts[0]!),
      read: async (rows) => requireFinite(name, await readTensor(plan, read, rows), type),
    };
  });
  return [...rotary, ...tensors];
}

function isInPlace({ paired, tiled, experts, reshaped }: GgufPlace): boolean {
  return paired === null && tiled === null && experts?.inRow !== true && reshaped === null;
}

function vector(name: string, data: Float32Array): GgufTensorToWrite {
  const shape = [data.length];
  return { name, shape, type: "F32", read: async () => ({ shape, data }) };
}

/**
 * A tensor as stored: the rows of its parts, one part after another or in turns; only that of one part in place has
 * `rows`, which are those of whole experts in a tensor of experts.
 */
async function readTensor(
  { shape, parts }: GgufTensorPlan,
  read: WeightReader,
  rows: RowRange | undefined,
): Promise<Tensor> {
  const [only] = parts;
  if (parts.length === 1) {
    const { name, shape: own } = only!.weight;
    const each = own[0]! / shape[0]!;
    return storedPart(only!, await read(name, rows && { start: rows.start * each, end: rows.end * each }));
  }
  const data = new Float32Array(elementCount(shape));
  let offset = 0;
  for (const part of parts) {
    const stored = storedPart(part, await read(part.weight.name));
    if (part.joined === null) data.set(stored.data, offset);
    else putJoined(data, stored, part.joined);
    offset += stored.data.length;
  }
  return { shape, data };
}

function storedPart(place: GgufPlace, tensor: Tensor): Tensor {
  const { weight, paired, tiled, experts, turned, values } = place;
  const rotated = paired === null ? tensor : rowsAsStored(tensor, paired);
  const untiled = tiled === null ? rotated : headsAsStored(rotated, tiled);
  const upright = turned ? transposed(untiled) : untiled;
  const data = experts === null ? upright.data : stacked(upright, experts);
  const shape = shapeInFile(place, [tensor.shape[0]!, ...rowShape(weight)]);
  return { shape, data: values === null ? data : data.map(values.toFile) };
}

/** What layers have alike in files of an architecture. */
function alikeText({ loads }: GgufArchitecture): string {
  if (loads.perLayerWidths) return "the experts of all layers with the same width";
  return loads.perLayerHeads ? "FFNs of all layers with the same widths" : "all layers with the same widths";
}

/** The widths that layers have alike, but those without experts may be of another one. */
function sizesText({ layers }: ModelSpec, { loads }: GgufArchitecture): string {
  const sparse = layers.find(({ experts }) => experts !== undefined);
  if (loads.perLayerWidths) return `${expertNeurons(sparse!)} neurons each`;
  const dense = layers.find(({ experts }) => experts === undefined);
  const shared = sparse?.experts?.shared;
  const sizes = [
    ...(dense === undefined ? [] : [`${dense.neurons} neurons`]),
    ...(sparse === undefined ? [] : [`${expertNeurons(sparse)} neurons in each expert`]),
    ...(shared === undefined ? [] : [`${shared} in the shared one`]),
  ];
  const groups = loads.perLayerHeads ? "" : ` and ${attentionLayers({ layers })[0]!.kvGroups} KV groups`;
  return sizes.join(", ") + groups;
}

function warningsOf(
  { files }: Model,
  { name, architecture, zeros, ignoredWindow, contextSwitch, newTurns, spec: written }: GgufTarget,
  {
    tensors,
    dtype,
    vocabulary: { leftOut, unstripped },
    cut,
  }: {
    readonly tensors: readonly GgufTensorToWrite[];
    readonly dtype: GgufDType;
    readonly vocabulary: GgufVocabulary;
    /** Warning about the pre-tokenizer that `pre` names. */
    readonly cut: string | null;
  },
): readonly string[] {
  const hasVocabulary = files.some((file) => file.name === "tokenizer.json");
  const warnings: readonly (string | null)[] = [
    zeros === 0
      ? null
      : `llama.cpp's ${name} builds ${alikeText(architecture)}: they were padded with zeros to ` +
        `${sizesText(written, architecture)}, ${zeros.toLocaleString("en")} parameters without effect`,
    ignoredWindow === null
      ? null
      : `llama.cpp's ${name} ignores the sliding windows: beyond ${ignoredWindow} tokens it attends to more context than ` +
        "the model was trained with",
    contextSwitch === null
      ? null
      : `llama.cpp uses the long RoPE factors whenever its context size exceeds ${contextSwitch} ` +
        "tokens: do not set a larger one for texts up to that length",
    newTurns
      ? "llama.cpp up to v0.5.0 ignores YaRN's beta_fast and beta_slow in the file: use a later one"
      : null,
    hasVocabulary ? null : "the model has no tokenizer, so the file has no vocabulary",
    leftOut.length === 0
      ? null
      : `the file omits added tokens of tokenizer.json for which the embedding has no rows: ${namesText(leftOut)}`,
    unstripped.length === 0
      ? null
      : `llama.cpp keeps spaces beside added tokens that strip them in tokenizer.json: ${namesText(unstripped)}`,
    cut,
    fallbackWarning(tensors, dtype),
  ];
  return warnings.filter((warning) => warning !== null);
}
