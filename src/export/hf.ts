/**
 * Writes a model as a Hugging Face directory: config.json derived from the spec, safetensors, the carried tokenizer
 * files, and whatever documents belong to it. The directory appears complete or not at all.
 */
import { join } from "node:path";
import { requireCount } from "../base/arguments.ts";
import { DTYPE_CHOICES, type DTypeChoice } from "../base/choices.ts";
import { packageDirectory } from "../base/package.ts";
import { counting, type OnProgress, silent } from "../base/progress.ts";
import { readSmallFile } from "../io/files/file.ts";
import {
  type WriteDirectory,
  writeDirectoryAtomically,
  writeFileAtomically,
} from "../io/files/output_directory.ts";
import { type TensorToWrite, writeSafetensors } from "../io/formats/safetensors_writer.ts";
import { fusedTensors, readFused } from "../model/checkpoint/fused.ts";
import { readConfig } from "../model/hf/config.ts";
import { configText, MODELLING_FILE } from "../model/hf/config_writer.ts";
import { hfForm, writeConfig } from "../model/hf/form.ts";
import type { Model } from "../model/model.ts";
import { weightsOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import { FLOAT_BYTES, type FloatDType, isFloatDType } from "../tensor/dtype.ts";
import { elementCount, type Tensor, zeros } from "../tensor/tensor.ts";
import { carriedFiles, writeCarried } from "./carried.ts";
import { requireDtype } from "./dtype_choice.ts";
import { requireFinite } from "./finite.ts";
import { requireExportRoom } from "./room.ts";

/** dtype names in config.json. */
const CONFIG_DTYPES: Readonly<Record<FloatDType, string>> = {
  F32: "float32",
  F16: "float16",
  BF16: "bfloat16",
};

const MAX_MODELLING_BYTES = 2 ** 20;

/** What a Hugging Face directory holds besides the model, in which number format and in how large files. */
export interface ExportOptions {
  readonly dtype?: DTypeChoice;
  /** Further files of the directory by name: card, plan, resolved run. */
  readonly documents?: ReadonlyMap<string, string>;
  /** Documents that tell how the writing went: asked for when everything else is written. */
  readonly lastDocuments?: () => Promise<ReadonlyMap<string, string>>;
  readonly onProgress?: OnProgress;
  /** How the directory is made; at once when absent. */
  readonly write?: WriteDirectory;
  /** Bytes of tensors in one file; 5 GB when absent. */
  readonly maxShardBytes?: number | undefined;
}

/**
 * Writes a Hugging Face directory: config.json, safetensors, the files that the model carries, and `documents`.
 * @param directory - must not exist, or be empty
 * @throws GpruneError OUTPUT_EXISTS, OUTPUT_FAILED; BAD_ARGUMENT for a dtype that such directories do not have, or
 *   files of no bytes; UNSUPPORTED when config.json has no keys for what the spec says; OUT_OF_MEMORY when a tensor
 *   cannot be held; NOT_FINITE naming a tensor that is not finite, OUT_OF_RANGE one with a value beyond the stored
 *   dtype
 */
export async function exportHuggingFace(
  model: Model,
  directory: string,
  options: ExportOptions = {},
): Promise<void> {
  const { dtype = "auto", documents = new Map(), lastDocuments, onProgress = silent } = options;
  const { maxShardBytes } = options;
  if (maxShardBytes !== undefined) requireCount("maxShardBytes", maxShardBytes);
  const write: WriteDirectory = options.write ?? writeDirectoryAtomically;
  const stored = storedDType(model, dtype);
  const config = writeConfig(model.spec, CONFIG_DTYPES[stored]);
  const form = hfForm(model.spec);
  const tensors = tensorsToWrite(model, stored);
  const total = bytesOf(tensors);
  // A caller with a `write` of its own knows what is there already.
  if (options.write === undefined) await requireExportRoom(model, { output: directory, bytes: total });
  const onBytes = counting(onProgress, { stage: "save", total, unit: "bytes" });
  await write(directory, async (temporary, kept) => {
    const files = new Map(documents);
    files.set("config.json", configText(config));
    if (form.remoteCode) files.set(MODELLING_FILE, await modellingFile());
    for (const [name, text] of files) await writeFileAtomically(join(temporary, name), text);
    const own = new Set(files.keys());
    await writeCarried({ ...model, files: carriedFiles(model, form) }, temporary, { own });
    await writeSafetensors(temporary, tensors, {
      kept,
      ...(maxShardBytes !== undefined && { maxShardBytes }),
      onBytes,
    });
    for (const [name, text] of (await lastDocuments?.()) ?? []) {
      await writeFileAtomically(join(temporary, name), text);
    }
  });
}

/**
 * Bytes of the tensors that an export writes. @throws GpruneError BAD_ARGUMENT for a dtype that such directories do not
 * have
 */
export function exportedBytes(model: Model, dtype: DTypeChoice): number {
  return bytesOf(tensorsToWrite(model, storedDType(model, dtype)));
}

function bytesOf(tensors: readonly TensorToWrite[]): number {
  return tensors.reduce((sum, { shape, dtype }) => sum + elementCount(shape) * FLOAT_BYTES[dtype], 0);
}

/** Our modelling file for transformers, as it lies in the package. */
async function modellingFile(): Promise<string> {
  const path = join(packageDirectory(), "resources", MODELLING_FILE);
  return new TextDecoder().decode(await readSmallFile(path, MAX_MODELLING_BYTES));
}

/**
 * `auto` keeps the dtype of a float checkpoint; a quantised one becomes F32, so that nothing is rounded.
 * @throws GpruneError BAD_ARGUMENT for a dtype that such directories do not have
 */
export function storedDType({ origin }: Model, choice: DTypeChoice): FloatDType {
  requireDtype(choice, DTYPE_CHOICES, "hf");
  if (choice === "auto") return isFloatDType(origin.dtype) ? origin.dtype : "F32";
  return choice.toUpperCase() as FloatDType;
}

/**
 * The spec of the checkpoint that a model becomes: perhaps of another family that computes the same, and with biases of
 * zeros where a flag of the configuration implies them.
 * @throws GpruneError UNSUPPORTED when config.json has no keys for what the spec says
 */
export function writtenSpec(spec: ModelSpec): ModelSpec {
  return readConfig(writeConfig(spec, CONFIG_DTYPES.F32), "config.json");
}

/**
 * The tensors of the checkpoint: those of the spec, biases that the configuration's flags imply as zeros, and
 * projections joined where the family stores them joined.
 */
function tensorsToWrite(model: Model, stored: FloatDType): readonly TensorToWrite[] {
  const { spec, weights } = model;
  const own = weightsOf(spec);
  const known = new Set(own.map(({ name }) => name));
  const implied = weightsOf(writtenSpec(spec)).filter(({ name }) => !known.has(name));
  const fused = hfForm(spec).family.fusedProjections ? fusedTensors(spec) : [];
  const parts = new Set(fused.flatMap((tensor) => tensor.parts));
  const rows = (name: string): number => own.find((weight) => weight.name === name)!.shape[0]!;
  const entry = (name: string, shape: readonly number[], read: () => Promise<Tensor>): TensorToWrite => ({
    name,
    shape,
    dtype: stored,
    read: async () => requireFinite(name, await read(), stored),
  });
  return [
    ...own
      .filter(({ name }) => !parts.has(name))
      .map(({ name, shape }) => entry(name, shape, () => weights.read(name))),
    ...implied.map(({ name, shape }) => entry(name, shape, async () => zeros(shape))),
    ...fused.map((tensor) => {
      const height = tensor.parts.reduce((sum, part) => sum + rows(part), 0);
      return entry(tensor.name, [height, spec.hiddenSize], () => readFused(weights, tensor));
    }),
  ];
}
