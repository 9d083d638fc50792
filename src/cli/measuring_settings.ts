/** How `gprune eval` and `compare` have measured, for `--json`, and the listeners that collect it. */

import { versions } from "../base/package.ts";
import type { TextSet } from "../calibrate/text_sets.ts";
import type { MaterialOptions } from "../evaluate/material.ts";
import type { Device } from "../graph/runtime/device.ts";
import { type NamedMaterial, sayCut, sayWithoutBos } from "./material.ts";

/** Facts about tasks that become known during an evaluation, and the listeners that collect them. */
export interface Heard {
  /** Number of solved questions before each question, by task. */
  readonly shots: ReadonlyMap<string, number>;
  readonly listeners: Pick<MaterialOptions, "onShots" | "onWithoutBos" | "onCut">;
}

/** Listeners for an evaluation, whose hints go to stderr. */
export function hearing(): Heard {
  const shots = new Map<string, number>();
  const onShots = (task: string, count: number): void => void shots.set(task, count);
  return { shots, listeners: { onShots, onWithoutBos: sayWithoutBos, onCut: sayCut } };
}

/** Settings of an evaluation, as `--json` prints them. */
export interface MeasuringSettings {
  /** Version of gprune. */
  readonly version: string;
  readonly device: Device;
  /** Tokens in a window. */
  readonly seq_len: number;
  /** Whether every window begins with BOS. */
  readonly bos: boolean;
  /** Most windows of each text and documents of each task; null for all. */
  readonly limit: number | null;
  /** Paths by name. */
  readonly texts: Readonly<Record<string, string>>;
  readonly tasks: Readonly<Record<string, TaskSettings>>;
}

interface TaskSettings {
  readonly path: string;
  /** Number of solved questions before each question. */
  readonly num_fewshot: number;
  /** Path of the solved questions; null when there are none, or they are the task's own. */
  readonly fewshot: string | null;
  /** Seed that drew the solved questions; null when there are none. */
  readonly seed: number | null;
  /** Whether questions were put as chat messages. */
  readonly chat: boolean;
  /** Text of the system message; null when there is none. */
  readonly system: string | null;
}

export function settingsOf(
  { texts, tasks, fewShot, chat, seqLen, bos, limit }: NamedMaterial & { readonly seqLen: number },
  device: Device,
  { shots }: Heard,
): MeasuringSettings {
  const taskSettings = ({ name, path }: TextSet): TaskSettings => {
    const count = shots.get(name) ?? 0;
    const pool = count === 0 ? undefined : fewShot.pools.find((set) => set.name === name);
    return {
      path,
      num_fewshot: count,
      fewshot: pool?.path ?? null,
      seed: count === 0 ? null : fewShot.seed,
      chat: chat !== undefined,
      system: chat?.system ?? null,
    };
  };
  return {
    version: versions().gprune,
    device,
    seq_len: seqLen,
    bos,
    limit: limit ?? null,
    texts: Object.fromEntries(texts.map(({ name, path }) => [name, path])),
    tasks: Object.fromEntries(tasks.map((task) => [task.name, taskSettings(task)])),
  };
}
