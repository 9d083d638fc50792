/**
 * How much of what grows with texts and layers computations hold in memory, and where the rest waits. No result depends
 * on it: micro-batches are the same, and what waits in a file comes back bit by bit.
 */
import { collectGarbage } from "../../io/files/machine.ts";
import { MemoryStash, type Scratch, type Stash } from "../../tensor/stash.ts";

/** What one run may hold. */
export interface MemoryPolicy {
  /** Whether the next layer's weights are read while one is computed: two layers in memory. */
  readonly prefetch: boolean;
  /** Whether hidden states of all texts, moments and new weights wait in `scratch`. */
  readonly spillHidden: boolean;
  /** Whether layer inputs that the way back needs wait in `scratch`. */
  readonly spillInputs: boolean;
  /**
   * Bytes of layer inputs that windows may have together on their way there and back, with what is kept beside them.
   */
  readonly lotBytes: number;
  /**
   * Whether what layers compute on the way forward stays in memory for the way back, and with it the weights of all of
   * them.
   */
  readonly keepActivations: boolean;
  /** Whether the head takes enough rows at a time to be fast whatever the vocabulary. */
  readonly wideHead: boolean;
  /**
   * Whether garbage is collected where large arrays have just been dropped; V8 would wait until there is more of it.
   */
  readonly collect: boolean;
  /** Where things wait; null when everything stays in memory. */
  readonly scratch: Scratch | null;
}

/** `lotBytes` in memory, and in a file, where reading the weights once is worth more. */
export const LOT_BYTES: { readonly memory: number; readonly file: number } = {
  memory: 2 ** 29,
  file: 2 ** 32,
};

/** Nothing in files, but not the whole model in memory: how much that is nobody has asked. */
export const ROOMY: MemoryPolicy = {
  prefetch: true,
  spillHidden: false,
  spillInputs: false,
  lotBytes: LOT_BYTES.memory,
  keepActivations: false,
  wideHead: true,
  collect: false,
  scratch: null,
};

/** Logits computed at once, elements, where the vocabulary is small or memory is scarce. */
const LOGITS = 2 ** 23;
/**
 * With fewer rows the product with a large vocabulary takes up to twice as long, since every run reads its matrix once.
 */
const WIDE_ROWS = 128;

/** Rows that go through the head at a time. */
export function headRows(vocabSize: number, { wideHead }: Pick<MemoryPolicy, "wideHead">): number {
  return Math.max(wideHead ? WIDE_ROWS : 1, Math.floor(LOGITS / vocabSize));
}

/** Gives memory back where a budget wants it; to be called where large arrays have just been dropped. */
export function collectIfTight({ collect }: MemoryPolicy): void {
  if (collect) collectGarbage();
}

/** A stash for hidden states between layers, for moments or for new weights. @param name - what is kept there */
export async function stashFor({ spillHidden, scratch }: MemoryPolicy, name: string): Promise<Stash> {
  return spillHidden && scratch !== null ? scratch.openStash(name) : new MemoryStash();
}

/** A stash for layer inputs. @param name - what is kept there */
export async function inputStash({ spillInputs, scratch }: MemoryPolicy, name: string): Promise<Stash> {
  return spillInputs && scratch !== null ? scratch.openStash(name) : new MemoryStash();
}
