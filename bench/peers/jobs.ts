/**
 * Requests to the peers, and their answers. A peer is a program whose only argument is the path of a request; it does
 * the job of the request, writes an answer, and exits. own_peer.ts is the peer of gprune, torch_peer.py that of
 * PyTorch.
 */

/**
 * - `calibrate`: sums of every channel's activations, set by set, layer by layer; then, untimed, the scores of FLAP
 *   (WIFV) and Wanda-sp from all sets together
 * - `gradients`: forward and backward pass; the gradient of each window's mean next-token loss by every channel's gate
 * - `evaluate`: perplexity of every set
 */
export const JOBS = ["calibrate", "gradients", "evaluate"] as const;

export type Job = (typeof JOBS)[number];

/** Windows of token ids by set, all of one length. */
export type Windows = Readonly<Record<string, readonly (readonly number[])[]>>;

/** Contents of a request file. */
export interface Request {
  /** `bare`: the bare matrix products of calibration and gradients, which only gprune's peer can time. */
  readonly job: Job | "bare";
  /** A Hugging Face directory. */
  readonly model: string;
  /** Path of a file with `Windows`. */
  readonly windows: string;
  /** Windows in a batch; gprune's peer makes its own micro-batches. */
  readonly batch: number;
  readonly threads: number;
  readonly precision: Precision;
  /** Path of the file for the answer. */
  readonly answer: string;
}

/** float32, or PyTorch's autocast to bfloat16. */
export type Precision = "float32" | "bfloat16";

/** Contents of an answer file. */
export interface Answer {
  /** Time of the job alone, without starting the program. */
  readonly seconds: number;
  /** Peak resident memory of the process (VmHWM), at the end of the job. */
  readonly peakBytes: number;
  /** The same when the clock started. */
  readonly startBytes: number;
  /**
   * Results by name and place. `calibrate`: `flap-wifv` and `wanda-sp` by space. `gradients`: `gates` by space, window
   * after window, and `loss` of every window. `evaluate`: `ppl` by set. `bare`: `seconds` of `calibrate` and
   * `gradients`.
   */
  readonly values: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;
}
