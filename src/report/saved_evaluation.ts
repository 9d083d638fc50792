/**
 * evaluation.json, which `gprune eval --save` writes beside a model for its report: scores of the model and of its
 * baseline, and their divergence. Names of texts and tasks are values in lists, never keys, so that no name can have a
 * special meaning.
 */
import { z } from "zod";
import { GpruneError } from "../errors.ts";
import type { Divergence } from "../evaluate/divergence.ts";
import type { ComparedEvaluation, Evaluation } from "../evaluate/evaluate.ts";
import type { TaskShots } from "../evaluate/material.ts";
import type { ChatOptions } from "../evaluate/prompts.ts";
import { parseJson } from "../io/files/json.ts";
import { formatDocument, type JsonValue } from "../io/files/json_document.ts";
import { isSameWeights } from "../model/checkpoint/model_hashes.ts";

/** Accuracy of a model on a task. */
export interface SavedAccuracy {
  readonly acc: number;
  readonly acc_norm: number;
  readonly stderr: number | null;
  readonly acc_norm_stderr: number | null;
}

/** Perplexities on one text, and the model's divergence from its baseline. */
export interface SavedText {
  readonly name: string;
  readonly windows: number;
  readonly ppl: number;
  /** The baseline's perplexity. */
  readonly baseline: number | null;
  readonly divergence: Divergence | null;
}

/** Accuracies on one task. */
export interface SavedTask extends SavedAccuracy {
  readonly name: string;
  /** Number of documents. */
  readonly n: number;
  readonly baseline: SavedAccuracy | null;
}

/** Settings of the measurement of texts and of tasks; null when none were measured, or by an older version. */
export interface SavedSettings {
  readonly texts: {
    /** Most windows of each text; null for all. */
    readonly limit: number | null;
    /** Whether windows begin with BOS. */
    readonly bos: boolean;
  } | null;
  readonly tasks: {
    /** Most documents of each task; null for all. */
    readonly limit: number | null;
    /** Shots before each question; null when tasks differ, or (in older versions) each had as many as its file sets. */
    readonly num_fewshot: number | null;
    /** Seed of the draw of shots; null without shots. */
    readonly seed: number | null;
    /** Whether questions were put as messages of a chat. */
    readonly chat: boolean;
    /** The system message. */
    readonly system: string | null;
  } | null;
}

/** The content of evaluation.json. */
export interface SavedEvaluation {
  readonly format: "gprune-evaluation";
  readonly version: 1;
  readonly model: string;
  /** Name of the baseline; null when the model was evaluated alone. */
  readonly baseline: string | null;
  /** SHA-256 of the baseline's weights; null without a baseline, and in files of older versions. */
  readonly baseline_sha256: string | null;
  /** Tokens in a window. */
  readonly seq_len: number;
  readonly settings: SavedSettings;
  readonly texts: readonly SavedText[];
  readonly tasks: readonly SavedTask[];
}

const count = z.int().nonnegative();
const share = z.number().min(0).max(1);
const accuracy = z.object({
  acc: share,
  acc_norm: share,
  stderr: z.number().nullable(),
  acc_norm_stderr: z.number().nullable(),
});

const divergence = z.object({
  kl: z.number(),
  agreement: share,
  loss_difference: z.number(),
  layers: z.array(z.number()).min(1),
});

const settings = z.object({
  texts: z.object({ limit: count.nullable(), bos: z.boolean().default(false) }).nullable(),
  tasks: z
    .object({
      limit: count.nullable(),
      num_fewshot: count.nullable(),
      seed: count.nullable(),
      chat: z.boolean().default(false),
      system: z.string().nullable().default(null),
    })
    .nullable(),
});

const evaluationSchema: z.ZodType<SavedEvaluation> = z.object({
  format: z.literal("gprune-evaluation"),
  version: z.literal(1),
  model: z.string(),
  baseline: z.string().nullable(),
  baseline_sha256: z.string().nullable().default(null),
  seq_len: count,
  settings: settings.default({ texts: null, tasks: null }),
  texts: z.array(
    z.object({
      name: z.string(),
      windows: count,
      ppl: z.number().positive(),
      baseline: z.number().positive().nullable(),
      divergence: divergence.nullable(),
    }),
  ),
  tasks: z.array(accuracy.extend({ name: z.string(), n: count, baseline: accuracy.nullable() })),
});

const LIMITS = { maxBytes: 2 ** 24, maxDepth: 16 };

/** Options of `gprune eval` that the scores depend on. */
export interface MeasuredWith {
  readonly seqLen: number;
  readonly bos?: boolean | undefined;
  readonly limit?: number | undefined;
  readonly fewShot?: Pick<TaskShots, "count" | "seed"> | undefined;
  readonly chat?: ChatOptions | undefined;
  /** SHA-256 of the baseline's weights. */
  readonly baselineHash?: string | null | undefined;
}

/** Results of `gprune eval` as they are saved. */
export function savedEvaluation(
  evaluation: ComparedEvaluation,
  baseline: Evaluation | undefined,
  { seqLen, bos = false, limit, fewShot, chat, baselineHash = null }: MeasuredWith,
): SavedEvaluation {
  const { model, fromFirst } = evaluation;
  const divergences = new Map<string, Divergence>(Object.entries(fromFirst?.divergence ?? {}));
  const [texts, tasks] = [baseline?.texts, baseline?.tasks].map((all) => new Map(Object.entries(all ?? {})));
  const saved = {
    format: "gprune-evaluation",
    version: 1,
    model,
    baseline: baseline?.model ?? null,
    baseline_sha256: baseline === undefined ? null : baselineHash,
    seq_len: seqLen,
    settings: {
      texts: isEmpty(evaluation.texts) ? null : { limit: limit ?? null, bos },
      tasks: isEmpty(evaluation.tasks)
        ? null
        : { limit: limit ?? null, ...shotSettings(fewShot), ...chatSettings(chat) },
    },
    texts: Object.entries(evaluation.texts).map(([name, { ppl, windows }]) => ({
      name,
      windows,
      ppl,
      // A perplexity over other tokens does not compare with this one.
      baseline: fromFirst?.other_tokens ? null : (texts!.get(name)?.ppl ?? null),
      divergence: divergences.get(name) ?? null,
    })),
    tasks: Object.entries(evaluation.tasks).map(([name, score]) => ({
      name,
      ...score,
      baseline: tasks!.get(name) ?? null,
    })),
  };
  // Drops the fields that the file does not have.
  return evaluationSchema.parse(saved);
}

function isEmpty(record: Readonly<Record<string, unknown>>): boolean {
  return Object.keys(record).length === 0;
}

function shotSettings({ count: num, seed }: Pick<TaskShots, "count" | "seed"> = { seed: 0 }): {
  readonly num_fewshot: number | null;
  readonly seed: number | null;
} {
  return { num_fewshot: num ?? null, seed: num === 0 ? null : seed };
}

function chatSettings(chat: ChatOptions | undefined): {
  readonly chat: boolean;
  readonly system: string | null;
} {
  return { chat: chat !== undefined, system: chat?.system ?? null };
}

/** An evaluation merged with the comparable part of an earlier one. */
export interface AddedEvaluation {
  readonly evaluation: SavedEvaluation;
  /** Names of earlier texts and tasks that were dropped, since their baseline or settings differ. */
  readonly dropped: readonly string[];
}

/**
 * Merges new results into an earlier evaluation; a text or task of the same name is replaced in place. With the same
 * baseline, earlier texts stay if window length, BOS and limit are the same, and earlier tasks if limit, shots and chat
 * settings are; both stay where nothing of their kind was measured now. With another baseline none stays.
 */
export function addedTo(earlier: SavedEvaluation | null, now: SavedEvaluation): AddedEvaluation {
  if (earlier === null) return { evaluation: now, dropped: [] };
  if (!isSameBaseline(earlier, now)) {
    return { evaluation: now, dropped: [...namesOf(earlier.texts), ...namesOf(earlier.tasks)] };
  }
  const texts = merged(textsOf(earlier), textsOf(now));
  const tasks = merged(tasksOf(earlier), tasksOf(now));
  const { seq_len, limited } = texts.how;
  return {
    evaluation: {
      ...now,
      seq_len,
      settings: { texts: limited, tasks: tasks.how },
      texts: texts.list,
      tasks: tasks.list,
    },
    dropped: [...texts.dropped, ...tasks.dropped],
  };
}

/** Whether two evaluations have the same baseline: by the hash of its weights or, where one is not known, by name. */
export function isSameBaseline(a: SavedEvaluation, b: SavedEvaluation): boolean {
  return isSameWeights(a.baseline_sha256, b.baseline_sha256) ?? a.baseline === b.baseline;
}

/** Texts or tasks, and the settings of their measurement. */
interface Measured<T, How> {
  readonly list: readonly T[];
  readonly how: How;
}

interface TextSettings {
  readonly seq_len: number;
  readonly limited: SavedSettings["texts"];
}

function textsOf({ texts, seq_len, settings }: SavedEvaluation): Measured<SavedText, TextSettings> {
  return { list: texts, how: { seq_len, limited: settings.texts } };
}

function tasksOf({ tasks, settings }: SavedEvaluation): Measured<SavedTask, SavedSettings["tasks"]> {
  return { list: tasks, how: settings.tasks };
}

function merged<T extends { readonly name: string }, How>(
  earlier: Measured<T, How>,
  now: Measured<T, How>,
): Measured<T, How> & { readonly dropped: readonly string[] } {
  if (now.list.length === 0) return { ...earlier, dropped: [] };
  const isComparable = JSON.stringify(earlier.how) === JSON.stringify(now.how);
  const items = [...(isComparable ? earlier.list : []), ...now.list];
  const list = [...new Map(items.map((item) => [item.name, item])).values()];
  return { list, how: now.how, dropped: isComparable ? [] : namesOf(earlier.list) };
}

function namesOf(items: readonly { readonly name: string }[]): readonly string[] {
  return items.map(({ name }) => name);
}

/** Settings of a task's measurement in words, by name; they must be equal for accuracies to be compared. */
export function taskSettings(
  { n }: Pick<SavedTask, "n">,
  settings: SavedSettings["tasks"],
): Readonly<Record<string, string>> {
  if (settings === null) return { questions: `${n}` };
  const { num_fewshot: shots, seed, chat, system } = settings;
  return {
    questions: `${n}`,
    "few-shot examples": shots === null ? "as in each task's file" : `${shots}`,
    "seed of the examples": `${seed ?? "none"}`,
    "asked as": chat ? "chat messages" : "text",
    "system message": system ?? "none",
  };
}

/** An evaluation as JSON text. */
export function formatEvaluation(evaluation: SavedEvaluation): string {
  return formatDocument(evaluation as unknown as JsonValue);
}

/** Parses evaluation.json. @throws GpruneError BAD_FILE */
export function parseEvaluation(text: string, where: string): SavedEvaluation {
  const result = evaluationSchema.safeParse(parseJson(text, { ...LIMITS, where }));
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const got = `${issue?.path.join(".")}: ${issue?.message}`;
  throw new GpruneError("BAD_FILE", `${where}: expected a saved evaluation, got something else (${got})`, {
    hint: "gprune eval --save writes this file; remove it or evaluate again.",
  });
}
