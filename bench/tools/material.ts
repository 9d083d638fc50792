/** Inputs of the tools: a model in float32, and the same windows that quality.ts calibrates and evaluates with. */
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { silent } from "../../src/base/progress.ts";
import { loadTokenSet } from "../../src/calibrate/windows.ts";
import { readMaterial, tokenMaterial } from "../../src/evaluate/material.ts";
import { exportHuggingFace } from "../../src/export/hf.ts";
import { openModel } from "../../src/model/checkpoint/checkpoint.ts";
import { Tokenizer } from "../../src/model/tokenizer/tokenizer.ts";
import { namedFiles } from "../named_files.ts";
import { writeWindows } from "../windows_file.ts";

/** Seed of the choice among a set's windows; the default of `gprune prune`, which quality.ts has. */
const SEED = 0;

/** Paths of the inputs. */
export interface Material {
  /** A Hugging Face directory. */
  readonly model: string;
  /** Windows of token ids by set. */
  readonly calibration: string;
  readonly evaluation: string;
}

/** Sources of the inputs. */
export interface Sources {
  readonly model: string;
  /** Directories of texts NAME.txt. */
  readonly calib: string;
  readonly texts: string;
  /** Windows of every calibration set, and at most of every text. */
  readonly samples: number;
  readonly limit: number;
  readonly seqLen: number;
}

/** Writes the inputs to a directory; a model that is already there stays. */
export async function prepare(sources: Sources, directory: string): Promise<Material> {
  const { seqLen, limit, samples } = sources;
  mkdirSync(directory, { recursive: true });
  const model = await openModel(sources.model);
  const exported = join(directory, "model");
  if (!existsSync(exported)) await exportHuggingFace(model, exported, { dtype: "f32" });
  const tokenizer = Tokenizer.fromFiles(model.files);
  const calibration = new Map<string, readonly Int32Array[]>();
  for (const set of namedFiles(sources.calib, ".txt")) {
    const { windows } = await loadTokenSet(set, tokenizer, { samples, seqLen, seed: SEED });
    calibration.set(set.name, windows);
  }
  const request = { seqLen, limit, onProgress: silent };
  const texts = await readMaterial([model], namedFiles(sources.texts, ".txt"), request);
  const evaluation = new Map((await tokenMaterial(model, texts, request)).windows);
  await model.weights.close();
  return {
    model: exported,
    calibration: writeWindows(join(directory, "calibration.json"), calibration),
    evaluation: writeWindows(join(directory, "evaluation.json"), evaluation),
  };
}
