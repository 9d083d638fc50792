/**
 * What the peers are asked and what they answer. A peer is a program with one argument, the path of a request; it does
 * the one job in it, writes an answer, and ends. own_peer.ts is ours, torch_peer.py is PyTorch's.
 */

/**
 * - `calibrate`: sums of every channel's activations, set by set, layer by layer; then, after the clock has stopped,
 *   the scores of FLAP (WIFV) and Wanda-sp from all sets together
 * - `gradients`: forward and backward; the gradient of each window's mean next-token loss by a gate of every channel
 * - `evaluate`: perplexity of every set
 */
export const JOBS = ["calibrate", "gradients", "evaluate"] as const;

export type Job = (typeof JOBS)[number];

/** Windows of token ids by the name of their set, all of one length. */
export type Windows = Readonly<Record<string, readonly (readonly number[])[]>>;

/** What is in the file of a request. */
export interface Request {
  /** `bare`: the matrix products of calibration and of the gradients on their own; only ours is asked. */
  readonly job: Job | "bare";
  /** A Hugging Face directory. */
  readonly model: string;
  /** A file of `Windows`. */
  readonly windows: string;
  /** Windows that go through the model together; ours makes micro-batches of its own. */
  readonly batch: number;
  readonly threads: number;
  readonly precision: Precision;
  /** Where the answer goes. */
  readonly answer: string;
}

/** float32, or PyTorch's automatic casting of float32 to bfloat16. */
export type Precision = "float32" | "bfloat16";

/** What is in the file of an answer. */
export interface Answer {
  /** The job alone: programs and models are loaded before the clock starts. */
  readonly seconds: number;
  /** The most that the process has held, bytes (VmHWM), and when the clock started. */
  readonly peakBytes: number;
  readonly startBytes: number;
  /**
   * Results by name and place. `calibrate`: `flap-wifv` and `wanda-sp` by space. `gradients`: `gates` by space, window
   * after window, and `loss` of every window. `evaluate`: `ppl` by set. `bare`: `seconds` of `calibrate` and
   * `gradients`.
   */
  readonly values: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;
}
