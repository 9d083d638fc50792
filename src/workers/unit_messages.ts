/** What a worker and the child that computes for it tell each other. */
import { z } from "zod";
import type { PlainError } from "../errors.ts";
import type { UnitResult } from "./unit.ts";

/** What the child is started with. */
export interface ChildSettings {
  readonly store: string;
  readonly model?: string | undefined;
  readonly threads?: number | undefined;
  /**
   * A directory of its own for objects on their way, which need not be there yet, and goes when the child has ended.
   */
  readonly scratch: string;
}

/** The child's answer to a job. */
export type UnitAnswer =
  | { readonly type: "done"; readonly objects: UnitResult }
  | {
      readonly type: "failed";
      readonly failure: PlainError;
      /** Whether it is the model that could not be opened here, before anything was computed. */
      readonly atModel: boolean;
    };

const failureSchema = z.strictObject({
  code: z.string(),
  message: z.string(),
  hint: z.string().optional(),
});

/** A failure as one line, which is all that the queue keeps of an error. */
export function formatFailure(failure: PlainError): string {
  return JSON.stringify(failure);
}

/** The failure in a line; null when it is something else, such as what the queue itself says. */
export function parseFailure(text: string): PlainError | null {
  try {
    return failureSchema.parse(JSON.parse(text)) as PlainError;
  } catch {
    return null;
  }
}
