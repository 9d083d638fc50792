/**
 * Messages between the two processes of a command: the parent has the terminal and handles signals, the child computes.
 * Both validate what they receive.
 */
import { z } from "zod";
import type { ProgressEvent } from "../base/progress.ts";
import type { Temporary } from "../io/files/output_directory.ts";

/** Message of a failed command. */
export interface Failure {
  /** A code of `GpruneError`; absent for an unexpected error. */
  readonly code?: string;
  readonly message: string;
  readonly hint?: string;
}

/** A message from the child to its parent. */
export type ChildMessage =
  | { readonly type: "progress"; readonly event: Omit<ProgressEvent, "hint"> }
  /** The last stage has ended, or there was none. */
  | { readonly type: "progress-end" }
  /** Text for stdout or stderr. */
  | { readonly type: "out" | "err"; readonly text: string }
  | { readonly type: "failed"; readonly failure: Failure }
  /** The last message. */
  | { readonly type: "done" }
  /** A sign of life, with the resident memory in bytes. */
  | { readonly type: "alive"; readonly rss: number }
  /** Told to stop, it will end by itself after the current step. */
  | { readonly type: "stops" }
  /** A directory that progress will be kept in. */
  | { readonly type: "keeps"; readonly directory: string }
  /** A temporary file or directory begins or ceases to exist. */
  | ({ readonly type: "temporary"; readonly live: boolean } & Temporary);

export type StopSignal = "SIGINT" | "SIGTERM";

/** A message from the parent to its child. */
export interface ParentMessage {
  readonly type: "stop";
  readonly signal: StopSignal;
}

export const childMessageSchema: z.ZodType<ChildMessage> = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("progress"),
    event: z.strictObject({
      stage: z.string(),
      done: z.number(),
      total: z.number(),
      unit: z.string(),
      detail: z.string().exactOptional(),
      values: z.array(z.strictObject({ name: z.string(), value: z.number() })).exactOptional(),
    }),
  }),
  z.strictObject({ type: z.literal("progress-end") }),
  z.strictObject({ type: z.enum(["out", "err"]), text: z.string() }),
  z.strictObject({
    type: z.literal("failed"),
    failure: z.strictObject({
      code: z.string().exactOptional(),
      message: z.string(),
      hint: z.string().exactOptional(),
    }),
  }),
  z.strictObject({ type: z.literal("done") }),
  z.strictObject({ type: z.literal("alive"), rss: z.number() }),
  z.strictObject({ type: z.literal("stops") }),
  z.strictObject({ type: z.literal("keeps"), directory: z.string() }),
  z.strictObject({
    type: z.literal("temporary"),
    live: z.boolean(),
    path: z.string(),
    parent: z.string(),
    madeFrom: z.string().nullable(),
  }),
]);

export const parentMessageSchema: z.ZodType<ParentMessage> = z.strictObject({
  type: z.literal("stop"),
  signal: z.enum(["SIGINT", "SIGTERM"]),
});
