/** Questions of tasks: contexts with answers, one of which is right. */

/** A context with one of the answers that a model chooses from. */
export interface Candidate {
  readonly context: string;
  /** Text between context and answer; empty in chats. */
  readonly delimiter: string;
  /** The delimiter where the candidate is a shot; `delimiter` when absent. */
  readonly solvedDelimiter?: string;
  readonly answer: string;
}

/** A question; with a single candidate, whether greedy decoding would give that answer. */
export interface Question {
  readonly candidates: readonly Candidate[];
  /** Index of the right candidate. */
  readonly gold: number;
}

/** A question of a task file. */
export interface TaskDocument extends Question {
  /** File and line, for messages. */
  readonly where: string;
  /** The task's instruction, put before everything else. */
  readonly description?: string;
  /** Number of shots that the task's file sets; none when absent. */
  readonly shots?: number;
  /** Whether shots are the pool's first questions (`first_n`) instead of drawn ones. */
  readonly firstShots?: boolean;
}

/** A candidate as one text. */
export function candidateText({ context, delimiter, answer }: Candidate): string {
  return context + delimiter + answer;
}

/** A candidate as the text of a shot. */
export function solvedText({ context, delimiter, solvedDelimiter = delimiter, answer }: Candidate): string {
  return context + solvedDelimiter + answer;
}

/** A candidate, with a space between context and answer unless `delimiter` differs. */
export function candidate(context: string, answer: string, delimiter = " "): Candidate {
  return { context, delimiter, answer };
}
