/**
 * Writes a model as a Hugging Face directory: config.json derived from the spec, safetensors shards, the carried
 * tokenizer files, and documents such as the card and the plan. The directory appears complete or not at all.
 */
import { join } from "node:path";
import { requireCount } from "../base/arguments.ts";
import { DTYPE_CHOICES, type DTypeChoice } from "../base/choices.ts";
import { packageDirectory } from "../base/package.ts";
import { counting, type OnProgress, silent } from "../base/progress.ts";
import { readSmallText } from "../io/files/file.ts";
import {
  type WriteDirectory,
  writeDirectoryAtomically,
  writeFileAtomically,
} from "../io/files/output_directory.ts";
import { bytesOfAll, type TensorToWrite, writeSafetensors } from "../io/formats/safetensors_writer.ts";
import {
  expertShape,
  expertTensors,
  joinedNames,
  loneShape,
  readExperts,
} from "../model/checkpoint/experts.ts";
import { fusedTensors, readFused } from "../model/checkpoint/fused.ts";
import { partedTensors, readPart } from "../model/checkpoint/parts.ts";
import { namingOf, storedName } from "../model/checkpoint/stored_names.ts";
import { isLayerMatrix } from "../model/checkpoint/transposed.ts";
import { CORRECTION, ROUTER } from "../model/expert_weights.ts";
import type { Family } from "../model/family.ts";
import { readConfig } from "../model/hf/config.ts";
import { configText, type HfForm, MODELLING_FILE } from "../model/hf/config_writer.ts";
import { hfForm, writeConfig } from "../model/hf/form.ts";
import { exactDType, type Model } from "../model/model.ts";
import { reorderedWeights, rowsAsStored } from "../model/rotary_rows.ts";
import type { ModelSpec } from "../model/spec.ts";
import { requireSoundFiles } from "../model/tokenizer/files.ts";
import { type WeightSpec, weightsOf } from "../model/weights.ts";
import type { FloatDType } from "../tensor/dtype.ts";
import { type RowRange, type Tensor, zeros } from "../tensor/tensor.ts";
import { transposed } from "../tensor/transposed.ts";
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

/** Options of {@link exportHuggingFace}: dtype, shard size and further documents. */
export interface ExportOptions {
  /**
   * `auto`, when absent, keeps a float checkpoint's dtype, writes one in FP8 as it is read and other quantised ones as
   * F32.
   */
  readonly dtype?: DTypeChoice;
  /** Further files of the directory by name: card, plan, resolved configuration. */
  readonly documents?: ReadonlyMap<string, string>;
  /** Makes the documents that report on the export itself; called when everything else is written. */
  readonly lastDocuments?: () => Promise<ReadonlyMap<string, string>>;
  readonly onProgress?: OnProgress;
  /** Makes the directory and keeps finished shards; `writeDirectoryAtomically`, which keeps none, when absent. */
  readonly write?: WriteDirectory;
  /** Bytes of tensors in one shard; 5 GB when absent. */
  readonly maxShardBytes?: number | undefined;
}

/**
 * Writes a Hugging Face directory: config.json, safetensors, the files that the model carries, and `documents`.
 * @param directory - must not exist, or be empty
 * @throws GpruneError OUTPUT_EXISTS, OUTPUT_FAILED; BAD_ARGUMENT for a dtype that is not in DTYPE_CHOICES, or shards of
 *   no bytes; UNSUPPORTED when config.json has no keys for the spec; OUT_OF_MEMORY when a tensor cannot be held;
 *   NOT_FINITE naming a tensor with a NaN or an infinity, OUT_OF_RANGE one with a value beyond the stored dtype
 */
export async function exportHuggingFace(
  model: Model,
  directory: string,
  options: ExportOptions = {},
): Promise<void> {
  const { dtype = "auto", documents = new Map(), lastDocuments, onProgress = silent } = options;
  const { maxShardBytes } = options;
  if (maxShardBytes !== undefined) requireCount("maxShardBytes", maxShardBytes);
  requireSoundFiles(model);
  const write: WriteDirectory = options.write ?? writeDirectoryAtomically;
  const stored = storedDType(model, dtype);
  const form = hfForm(model.spec);
  const config = writeConfig(model.spec, CONFIG_DTYPES[stored], form);
  const tensors = tensorsToWrite(model, form, stored);
  const total = bytesOfAll(tensors);
  // A caller that passes `write` may have kept shards, and checks the room itself.
  if (options.write === undefined) await requireExportRoom(model, { output: directory, bytes: total });
  const onBytes = counting(onProgress, { stage: "save", total, unit: "bytes" });
  await write(directory, async (temporary, kept) => {
    const files = new Map(documents);
    files.set("config.json", configText(config));
    if (form.remoteCode) files.set(MODELLING_FILE, await modellingFile());
    for (const [name, text] of files) await writeFileAtomically(join(temporary, name), text);
    const written = new Set(files.keys());
    await writeCarried({ ...model, files: carriedFiles(model, form) }, temporary, { written });
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

/** Bytes of the tensors that an export writes. @throws GpruneError BAD_ARGUMENT for a dtype not in DTYPE_CHOICES */
export function exportedBytes(model: Model, dtype: DTypeChoice): number {
  return bytesOfAll(tensorsToWrite(model, hfForm(model.spec), storedDType(model, dtype)));
}

/** The text of gprune's modelling file for transformers, from the package's resources. */
function modellingFile(): Promise<string> {
  return readSmallText(join(packageDirectory(), "resources", MODELLING_FILE), MAX_MODELLING_BYTES);
}

/**
 * The dtype of the stored tensors: `auto` keeps that of a float checkpoint, stores one in float8 as its scaled weights
 * are read, and other quantised ones as F32, so that nothing is rounded.
 * @throws GpruneError BAD_ARGUMENT for a dtype that is not in DTYPE_CHOICES
 */
export function storedDType({ origin }: Model, choice: DTypeChoice): FloatDType {
  requireDtype(choice, DTYPE_CHOICES, "hf");
  if (choice === "auto") return exactDType(origin);
  return choice.toUpperCase() as FloatDType;
}

/**
 * The spec of the checkpoint as written: possibly of another family that computes the same, and with biases of zeros
 * where a flag of config.json implies them.
 * @throws GpruneError UNSUPPORTED when config.json has no keys for the spec
 */
export function writtenSpec(spec: ModelSpec, form?: HfForm): ModelSpec {
  return readConfig(writeConfig(spec, CONFIG_DTYPES.F32, form), "config.json");
}

/**
 * The tensors of the checkpoint: those of the spec, zeros for biases that a flag of config.json implies, and fused
 * projections where the family stores them fused.
 */
function tensorsToWrite(
  { spec, weights }: Model,
  form: HfForm,
  stored: FloatDType,
): readonly TensorToWrite[] {
  const { family } = form;
  const own = new Set(weightsOf(spec).map(({ name }) => name));
  const written = weightsOf(writtenSpec(spec, form));
  const shapes = new Map(written.map(({ name, shape }) => [name, shape]));
  const fused = fusedTensors(spec, family.stored.fused).filter(({ parts }) =>
    parts.every((part) => shapes.has(part)),
  );
  const naming = namingOf(family, spec);
  const exact = exactTensors(spec);
  const reordered = reorderedWeights(spec, family.stored.rotatedOrder);
  const experts = expertTensors(spec, family);
  const parts = new Set([...fused.flatMap((tensor) => tensor.parts), ...experts.flatMap(joinedNames)]);
  const read = async (name: string, rows?: RowRange): Promise<Tensor> => {
    const tensor = own.has(name) ? await weights.read(name, rows) : zeros(shapes.get(name)!);
    const heads = reordered.get(name);
    return heads === undefined ? tensor : rowsAsStored(tensor, heads);
  };
  const ofExperts = keepingLast(read);
  const entry = (name: string, shape: readonly number[], make: TensorToWrite["read"]): TensorToWrite => {
    const { toFile, ...file } = inFile({ name, shape }, family, exact.has(name) ? "F32" : stored);
    return {
      name: storedName(name, naming),
      ...file,
      byRows: own.has(name) && !reordered.has(name) && toFile === null,
      read: async (rows) => {
        const tensor = requireFinite(name, await make(rows), file.dtype);
        return toFile === null ? tensor : toFile(tensor);
      },
    };
  };
  const parted = partedTensors(spec, family);
  return [
    ...written
      .filter(({ name }) => !parts.has(name) && !parted.has(name))
      .map(({ name, shape }) => entry(name, shape, (rows) => read(name, rows))),
    ...[...parted].flatMap(([whole, ofWhole]) =>
      ofWhole.map((part) => ({
        ...entry(whole, part.shape, () => readPart(part, (rows) => read(whole, rows))),
        name: part.name,
        byRows: false,
      })),
    ),
    ...fused.map((tensor) => {
      const rows = tensor.parts.reduce((sum, part) => sum + shapes.get(part)![0]!, 0);
      const shape = shapes.get(tensor.parts[0]!)!.with(0, rows);
      return entry(tensor.name, shape, () => readFused(tensor, read));
    }),
    ...experts.map((tensor) =>
      entry(tensor.name, expertShape(spec, tensor), () => readExperts(spec, tensor, ofExperts)),
    ),
  ];
}

/** Shape and dtype of a tensor in the file, and what makes it so; null where it is as it is. */
function inFile(
  { name, shape }: Pick<WeightSpec, "name" | "shape">,
  family: Family,
  dtype: FloatDType,
): Pick<TensorToWrite, "shape" | "dtype"> & { readonly toFile: ((tensor: Tensor) => Tensor) | null } {
  const lone = loneShape(name, shape, family);
  if (lone.length !== shape.length)
    return { shape: lone, dtype, toFile: ({ data }) => ({ shape: lone, data }) };
  const turns = family.stored.transposed && isLayerMatrix(name, shape);
  return turns ? { shape: shape.toReversed(), dtype, toFile: transposed } : { shape, dtype, toFile: null };
}

/**
 * Routers that correct scores, whose tensors stay float32: rounding them would change which experts a token has.
 * transformers keeps them, too (`_keep_in_fp32_modules_strict` of modeling_glm4_moe.py and modeling_ernie4_5_moe.py).
 */
function exactTensors({ layers }: ModelSpec): ReadonlySet<string> {
  const names = layers.flatMap(({ experts }, index) =>
    experts?.corrected ? [`${ROUTER}.weight`, CORRECTION].map((name) => `model.layers.${index}.${name}`) : [],
  );
  return new Set(names);
}

/** Reads tensors, and keeps the last one that was read whole, whose columns several tensors of experts have. */
function keepingLast(
  read: (name: string, rows?: RowRange) => Promise<Tensor>,
): (name: string, rows?: RowRange) => Promise<Tensor> {
  let last: { readonly name: string; readonly tensor: Promise<Tensor> } | undefined;
  return (name, rows) => {
    if (rows !== undefined) return read(name, rows);
    if (last?.name !== name) last = { name, tensor: read(name) };
    return last.tensor;
  };
}
