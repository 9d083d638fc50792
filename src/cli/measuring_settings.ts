/** What `gprune eval` and `compare` hear while they measure, and how they measured, for `--json`. */

import { versions } from "../base/package.ts";
import type { TextSet } from "../calibrate/windows.ts";
import type { MaterialOptions } from "../evaluate/material.ts";
import type { Device } from "../graph/runtime/device.ts";
import { type NamedMaterial, sayCut, sayWithoutBos } from "./material.ts";

/** What is heard of tasks and models; hints go to stderr. */
export interface Heard {
  /** Solved questions by the names of tasks. */
  readonly shots: ReadonlyMap<string, number>;
  readonly listeners: Pick<MaterialOptions, "onShots" | "onWithoutBos" | "onCut">;
}

export function hearing(): Heard {
  const shots = new Map<string, number>();
  const onShots = (task: string, count: number): void => void shots.set(task, count);
  return { shots, listeners: { onShots, onWithoutBos: sayWithoutBos, onCut: sayCut } };
}

/** How scores were measured, as `--json` prints it. */
export interface MeasuringSettings {
  /** Of gprune. */
  readonly version: string;
  readonly device: Device;
  /** Tokens in a window, whether BOS begins it, and windows of each text and documents of each task at most. */
  readonly seq_len: number;
  readonly bos: boolean;
  readonly limit: number | null;
  /** Paths by name. */
  readonly texts: Readonly<Record<string, string>>;
  readonly tasks: Readonly<Record<string, TaskSettings>>;
}

interface TaskSettings {
  readonly path: string;
  /**
   * Solved questions before each question; where they come from, when not from the task, and what drew them: null
   * without.
   */
  readonly num_fewshot: number;
  readonly fewshot: string | null;
  readonly seed: number | null;
  /** Whether it was put as messages, and what the system message said; null without. */
  readonly chat: boolean;
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
