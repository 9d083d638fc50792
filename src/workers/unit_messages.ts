/** Messages between a worker and the child process that computes for it. */
import { z } from "zod";
import type { PlainError } from "../errors.ts";
import type { UnitResult } from "./unit.ts";

/** Settings that the child is started with. */
export interface ChildSettings {
  readonly store: string;
  readonly model?: string | undefined;
  readonly threads?: number | undefined;
  /** Directory for objects during transfers; made when needed, and removed when the child has ended. */
  readonly scratch: string;
}

/** The child's answer to a job. */
export type UnitAnswer =
  | { readonly type: "done"; readonly objects: UnitResult }
  | {
      readonly type: "failed";
      readonly failure: PlainError;
      /** Whether the model could not be opened on this machine, so that nothing was computed. */
      readonly atModel: boolean;
    };

const failureSchema = z.strictObject({
  code: z.string(),
  message: z.string(),
  hint: z.string().optional(),
});

/** A failure as one line of JSON, in place of an error's message, which is all that the queue keeps of it. */
export function formatFailure(failure: PlainError): string {
  return JSON.stringify(failure);
}

/** Failure in a line of JSON; null for another text, such as a message of the queue itself. */
export function parseFailure(text: string): PlainError | null {
  try {
    return failureSchema.parse(JSON.parse(text)) as PlainError;
  } catch {
    return null;
  }
}
