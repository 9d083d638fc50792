/**
 * Which of the tensors that grow with texts and layers stay in memory, and which are spilled to files. No result
 * depends on it: micro-batches are the same, and spilled tensors are read back bit for bit.
 */
import { collectGarbage } from "../../io/files/machine.ts";
import { MemoryStash, type Scratch, type Stash } from "../../tensor/stash.ts";

/** Decides for one run which tensors stay in memory, which are spilled to files, and when garbage is collected. */
export interface MemoryPolicy {
  /** Whether the next layer's weights are read while a layer is computed, which holds two layers in memory. */
  readonly prefetch: boolean;
  /** Whether hidden states of all texts, moments and new weights are spilled to `scratch`. */
  readonly spillHidden: boolean;
  /** Whether layer inputs for the backward pass are spilled to `scratch`. */
  readonly spillInputs: boolean;
  /** Bytes of layer inputs and kept activations of the windows that go through a backward pass together. */
  readonly lotBytes: number;
  /** Whether activations stay in memory for the backward pass, and with them the weights of all layers. */
  readonly keepActivations: boolean;
  /** Whether the head takes enough rows at a time to be fast with a large vocabulary. */
  readonly wideHead: boolean;
  /**
   * Bytes by which the process grows before garbage is collected where large arrays have just been dropped. V8 alone
   * would wait for more of it; a collection takes several milliseconds, whatever there is to collect.
   */
  readonly garbageBytes: number;
  /** Opens spill files; null when everything stays in memory. */
  readonly scratch: Scratch | null;
}

/**
 * `lotBytes` when layer inputs stay in memory, and when they are spilled, where larger lots read weights less often.
 */
export const LOT_BYTES: { readonly memory: number; readonly file: number } = {
  memory: 2 ** 29,
  file: 2 ** 32,
};

/** The policy when memory has not been measured: nothing is spilled, but the whole model is not held either. */
export const ROOMY: MemoryPolicy = {
  prefetch: true,
  spillHidden: false,
  spillInputs: false,
  lotBytes: LOT_BYTES.memory,
  keepActivations: false,
  wideHead: true,
  garbageBytes: Number.POSITIVE_INFINITY,
  scratch: null,
};

/** Number of logits computed at once, unless `WIDE_ROWS` rows have more. */
const LOGITS = 2 ** 23;
/** Fewer rows make the product with a large vocabulary up to twice as slow, since every run reads the whole matrix. */
const WIDE_ROWS = 128;

/** Rows that go through the head at a time. */
export function headRows(vocabSize: number, { wideHead }: Pick<MemoryPolicy, "wideHead">): number {
  return Math.max(wideHead ? WIDE_ROWS : 1, Math.floor(LOGITS / vocabSize));
}

/** `garbageBytes` within a budget, and in runs that have none. */
export const GARBAGE_BYTES: { readonly budget: number; readonly free: number } = {
  budget: 2 ** 24,
  free: 2 ** 26,
};

/** Least resident memory since the latest collection, bytes. */
let leastResident = Number.POSITIVE_INFINITY;

/** Collects garbage if the process has grown since it last did; for places where large arrays were just dropped. */
export function collectIfGrown({ garbageBytes }: Pick<MemoryPolicy, "garbageBytes">): void {
  const resident = process.memoryUsage.rss();
  leastResident = Math.min(leastResident, resident);
  if (resident - leastResident < garbageBytes) return;
  collectGarbage();
  leastResident = process.memoryUsage.rss();
}

/** A stash for hidden states between layers, for moments or for new weights. @param name - see `Scratch.openStash` */
export async function stashFor({ spillHidden, scratch }: MemoryPolicy, name: string): Promise<Stash> {
  return spillHidden && scratch !== null ? scratch.openStash(name) : new MemoryStash();
}

/** A stash for layer inputs. @param name - see `Scratch.openStash` */
export async function inputStash({ spillInputs, scratch }: MemoryPolicy, name: string): Promise<Stash> {
  return spillInputs && scratch !== null ? scratch.openStash(name) : new MemoryStash();
}
