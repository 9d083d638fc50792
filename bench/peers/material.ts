/** Inputs of the peers: a model in float32, and files of windows. */
import { join } from "node:path";
import { cutWindows } from "../../src/calibrate/windows.ts";
import { exportHuggingFace } from "../../src/export/hf.ts";
import { tokensOf } from "../../src/graph/decoder/forward.ts";
import { readText } from "../../src/io/texts/texts.ts";
import { openModel } from "../../src/model/checkpoint/checkpoint.ts";
import { Tokenizer } from "../../src/model/tokenizer/tokenizer.ts";
import { namedFiles } from "../named_files.ts";
import { type NamedWindows, writeWindows } from "../windows_file.ts";
import type { Job } from "./jobs.ts";

/** Bytes of text to read for each token that is needed. */
const TEXT_BYTES_PER_TOKEN = 32;

/** Inputs of all sides. */
export interface Material {
  /** Directory that holds all files. */
  readonly scratch: string;
  /** A Hugging Face directory. */
  readonly model: string;
  /** Paths of the files of windows, and their numbers of tokens, by job. */
  readonly windows: Readonly<Record<Job, string>>;
  readonly tokens: Readonly<Record<Job, number>>;
}

/** Sources of the inputs. */
export interface Sources {
  readonly model: string;
  /** Directories of texts. */
  readonly calib: string;
  readonly texts: string;
  /** Windows of every text. */
  readonly windows: number;
  readonly evalWindows: number;
  readonly seqLen: number;
}

/** Writes the inputs to a directory. */
export async function prepare(sources: Sources, scratch: string): Promise<Material> {
  const model = await openModel(sources.model);
  const directory = join(scratch, "model");
  await exportHuggingFace(model, directory, { dtype: "f32" });
  const tokenizer = Tokenizer.fromFiles(model.files);
  const { seqLen } = sources;
  const calibration = await windowsOf(sources.calib, tokenizer, { count: sources.windows, seqLen });
  const evaluation = await windowsOf(sources.texts, tokenizer, { count: sources.evalWindows, seqLen });
  await model.weights.close();
  const calib = writeWindows(join(scratch, "calibration.json"), calibration);
  const texts = writeWindows(join(scratch, "evaluation.json"), evaluation);
  const [calibrated, evaluated] = [calibration, evaluation].map((sets) =>
    tokensOf([...sets.values()].flat()),
  );
  return {
    scratch,
    model: directory,
    windows: { calibrate: calib, gradients: calib, evaluate: texts },
    tokens: { calibrate: calibrated!, gradients: calibrated!, evaluate: evaluated! },
  };
}

/** The first windows of every text. */
async function windowsOf(
  directory: string,
  tokenizer: Tokenizer,
  { count, seqLen }: { readonly count: number; readonly seqLen: number },
): Promise<NamedWindows> {
  const sets = new Map<string, readonly Int32Array[]>();
  for (const { name, path } of namedFiles(directory, ".txt")) {
    const text = await readText(path, count * seqLen * TEXT_BYTES_PER_TOKEN);
    sets.set(name, cutWindows(tokenizer.encode(text), seqLen, { where: path }).slice(0, count));
  }
  return sets;
}
