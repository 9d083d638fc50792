/**
 * Opens GGUF files as models: tensors under Llama checkpoint names and in their row order, the spec from the metadata,
 * the tokenizer rebuilt as Hugging Face files. Every tensor of the file must have a place in the model, since leaving
 * one out would change what is computed; but layers that only guess further tokens are left out.
 */

import { plainName } from "../../base/plain_text.ts";
import { GpruneError } from "../../errors.ts";
import { dequantizerOf, GGML_TYPES } from "../../io/formats/ggml_types.ts";
import { type GgufFile, openGguf } from "../../io/formats/gguf.ts";
import { GgufMetadata } from "../../io/formats/gguf_metadata.ts";
import { commonDType, elementCount, type Tensor } from "../../tensor/tensor.ts";
import { frontMatterLines, inheritedCard } from "../card_fields.ts";
import type { Model } from "../model.ts";
import type { ModelSpec } from "../spec.ts";
import { activationParameterName } from "../weight_names.ts";
import { activationParameters, weightsOf } from "../weights.ts";
import type { GgufArchitecture } from "./architecture.ts";
import { architectureByName, asStored } from "./architectures.ts";
import { EXPERT_COUNT, GgufKeys } from "./keys.ts";
import { readersTensors } from "./layer_kinds.ts";
import { ggufPlaces } from "./places.ts";
import { specOfGguf } from "./spec.ts";
import { tokenizerFilesOfGguf } from "./tokenizer.ts";
import { type StoredWeight, storedWeights } from "./weights.ts";

/** Tensors that hold no weights: rotary factors, which the spec has, and obsolete tables of rotary angles. */
const ROTARY_TABLE = /^(rope_freqs|rope_factors_(long|short)|blk\.\d+\.(attn_rot_embd|rope_freqs))\.weight$/;

/** A matrix of a shared expert, in files whose first layer has one. */
const SHARED_TENSOR = "blk.0.ffn_up_shexp.weight";

/** What a router adds to scores. */
const CORRECTION_TENSOR = /^blk\.\d+\.exp_probs_b\.bias$/;
/** k_proj and v_proj of latents, in files from before April 2025. */
const FUSED_LATENTS = /^blk\.\d+\.attn_kv_b\.weight$/;

/** All projections of a delta rule but strengths and rates, in the first files of Qwen3-Next. */
const JOINED_DELTA = /^blk\.\d+\.ssm_in\.weight$/;

/** A matrix of one expert, in files from before April 2024. */
const EXPERT_TENSOR = /^blk\.\d+\.ffn_(gate|up|down)\.\d+\.weight$/;

/** Metadata that holds for the model in any file; keys about the file itself are written anew. */
const CARRIED_KEYS =
  /^tokenizer\.|^general\.(?!architecture$|file_type$|quantization_version$|alignment$|size_label$)/;

/**
 * Opens a GGUF file as a model. Weights are read and dequantised on demand; the model's source owns the file.
 * Shapes are not checked here (checkWeights in checkpoint.ts does that for every format).
 * @throws GpruneError NOT_FOUND, BAD_FILE, or UNSUPPORTED for architectures, tensor types and tokenizers that are not
 *   read
 */
export async function openGgufModel(path: string): Promise<Model> {
  const file = await openGguf(path);
  try {
    const metadata = new GgufMetadata(path, file.metadata);
    const name = metadata.text("general.architecture");
    const has = {
      experts: (metadata.optionalNumber(`${name}.${EXPERT_COUNT}`) ?? 0) > 0,
      shared: file.source.info(SHARED_TENSOR) !== undefined,
      corrected: file.source.names.some((tensor) => CORRECTION_TENSOR.test(tensor)),
    };
    const architecture = asStored(architectureByName(name, { where: path, has }), file.source.names);
    const spec = await specOfGguf(file, architecture);
    const readers = readersTensors(spec, architecture).filter((tensor) => file.source.info(tensor));
    const unused = [...guessingTensors(file, spec, architecture), ...readers];
    const stored = placeTensors(file, { spec, architecture, unused: new Set(unused) });
    const activation = activationParametersOf(metadata, spec);
    const names = weightsOf(spec).map((weight) => weight.name);
    const infos = file.source.names.map((tensor) => file.source.info(tensor)!);
    return {
      spec,
      weights: storedWeights(file.matrices, {
        names: names.filter((weight) => stored.has(weight) || activation.has(weight)),
        stored,
        fromMetadata: activation,
      }),
      files: tokenizerFilesOfGguf(metadata, {
        path,
        mergeOrder: architecture.mergeOrder,
        maxLength: spec.maxPositions,
      }),
      ggufMetadata: await carriedMetadata(file),
      ...cardOf(file),
      ...(unused.length > 0 && { unusedTensors: unused }),
      origin: { name: path, format: "gguf", architecture: name, dtype: commonDType(infos) },
    };
  } catch (error) {
    await file.source.close();
    throw error;
  }
}

/** The parameters of the layers' activations, which are metadata, as tensors by name. */
function activationParametersOf(metadata: GgufMetadata, spec: ModelSpec): ReadonlyMap<string, Tensor> {
  const tensors = activationParameters(spec).flatMap(([name, shape]) =>
    metadata
      .perLayer(`${spec.activation}.${name}`, spec.layers.length)
      .map(
        (value, layer) =>
          [activationParameterName(layer, name), { shape, data: Float32Array.of(value) }] as const,
      ),
  );
  return new Map(tensors);
}

/** Metadata of the tokenizer, and of the model's name, makers and licence. */
async function carriedMetadata(file: GgufFile): Promise<ReadonlyMap<string, Uint8Array>> {
  const keys = [...file.metadata.keys()].filter((key) => CARRIED_KEYS.test(key));
  const entries = keys.map(async (key) => [key, await file.encodedValue(key)] as const);
  return new Map(await Promise.all(entries));
}

/** A card with the licence and languages of the file. */
function cardOf({ metadata }: GgufFile): Pick<Model, "card"> {
  const fields = Object.entries({
    license: metadata.get("general.license"),
    license_name: metadata.get("general.license.name"),
    license_link: metadata.get("general.license.link"),
    language: metadata.get("general.languages"),
  });
  const texts = fields.filter(([, value]) => [value].flat().every((item) => typeof item === "string"));
  return inheritedCard(Buffer.from(`---\n${frontMatterLines(Object.fromEntries(texts))}---\n`));
}

/** Names of the tensors of layers after the model's, where the architecture may have some. */
function guessingTensors(
  file: GgufFile,
  { layers }: ModelSpec,
  { guessingLayers }: GgufArchitecture,
): readonly string[] {
  if (!guessingLayers) return [];
  const count = new GgufKeys(file, new GgufMetadata(file.path, file.metadata)).size("block_count");
  return file.source.names.filter((name) => {
    const layer = Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? -1);
    return layer >= layers.length && layer < count;
  });
}

/** Where the file holds each weight of the model; weights it lacks are left out. */
function placeTensors(
  { path, source, matrices }: GgufFile,
  {
    spec,
    architecture,
    unused,
  }: {
    readonly spec: ModelSpec;
    readonly architecture: GgufArchitecture;
    readonly unused: ReadonlySet<string>;
  },
): ReadonlyMap<string, StoredWeight> {
  const stored = new Map<string, StoredWeight>();
  /** Rows of each tensor that weights are read from so far. */
  const usedRows = new Map<string, number>();
  const stacks = new Map<string, number>();
  for (const place of ggufPlaces(spec, architecture)) {
    const { weight, tensor, fused, paired, tiled, joined, values, reshaped, turned, stack } = place;
    const shape = matrices.info(tensor)?.shape;
    if (shape === undefined) continue;
    const experts = place.experts?.inRow ? place.experts : null;
    const start = joined === null ? (usedRows.get(tensor) ?? 0) : 0;
    const parts = joined === null ? (experts?.count ?? 1) : 2;
    const end = fused ? start + weight.shape[0]! : shape[0]! / parts;
    usedRows.set(tensor, place.experts?.count ?? (joined === null ? end : shape[0]!));
    if (stack !== null) stacks.set(tensor, stack);
    const rowShape = weight.shape.slice(1);
    const count = elementCount(shape) / elementCount(rowShape);
    const flat = reshaped !== null && Number.isInteger(count);
    const rows = turned
      ? { start: 0, end: experts!.count * shape[1]! }
      : flat
        ? { start: 0, end: count }
        : { start, end };
    stored.set(weight.name, { tensor, rows, paired, tiled, joined, experts, rowShape, values, flat, turned });
  }
  // Of several matrices, rows are counted, but the file counts matrices.
  for (const [tensor, count] of stacks) {
    const rows = matrices.info(tensor)!.shape[0]!;
    if (usedRows.get(tensor) === rows) usedRows.set(tensor, count);
  }
  const expected = source.names.filter((name) => !unused.has(name));
  for (const name of expected) checkTensor({ path, source }, name, usedRows.get(name));
  return stored;
}

/**
 * @throws GpruneError UNSUPPORTED for a tensor that no weight is read from or of a type that is not read, BAD_FILE for
 *   one that has other rows than its weights
 */
function checkTensor(
  { path, source }: Pick<GgufFile, "path" | "source">,
  name: string,
  usedRows: number | undefined,
): void {
  if (ROTARY_TABLE.test(name)) return;
  const { shape, dtype } = source.info(name)!;
  if (usedRows === undefined) {
    const message = `${path}: expected tensors of the model's family, got ${plainName(name)}`;
    throw new GpruneError("UNSUPPORTED", message, { hint: unusedHint(name) });
  }
  if (usedRows !== (shape[0] ?? 1)) {
    throw new GpruneError(
      "BAD_FILE",
      `${path}: ${plainName(name)}: expected ${usedRows} rows, got ${shape[0] ?? 1}`,
    );
  }
  dequantizerOf(GGML_TYPES.get(dtype)!, `${path}: tensor ${name}`);
}

/** Advice on a file with a tensor that no weight is read from. */
function unusedHint(tensor: string): string {
  if (JOINED_DELTA.test(tensor))
    return "Convert the model again: newer versions of llama.cpp's conversion write two tensors in place of this one.";
  if (EXPERT_TENSOR.test(tensor))
    return "Convert the model again: newer files have one tensor for all experts, and newer llama.cpp wants that, too.";
  if (FUSED_LATENTS.test(tensor)) return "Convert the model again: newer files have k_proj and v_proj apart.";
  return "The model has a part that gprune does not support and would drop.";
}
