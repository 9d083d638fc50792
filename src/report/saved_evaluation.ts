/**
 * The evaluation that `gprune eval --save` leaves beside a model, evaluation.json, for its report: scores of the model
 * and of its baseline, and how far they are apart. Texts and tasks are lists and not keys, so that no name can mean
 * anything.
 */
import { z } from "zod";
import { GpruneError } from "../errors.ts";
import type { Divergence } from "../evaluate/divergence.ts";
import type { Evaluation, FromFirst } from "../evaluate/evaluate.ts";
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

/** Perplexities of one text, and how far the model is from its baseline on it. */
export interface SavedText {
  readonly name: string;
  readonly windows: number;
  readonly ppl: number;
  /** The baseline's. */
  readonly baseline: number | null;
  readonly divergence: Divergence | null;
}

export interface SavedTask extends SavedAccuracy {
  readonly name: string;
  /** Documents. */
  readonly n: number;
  readonly baseline: SavedAccuracy | null;
}

/** How texts and how tasks were measured; null when none were, or by a version that did not say. */
export interface SavedSettings {
  /** Windows of each at most, null when all were taken, and whether BOS begins them. Their tokens are `seq_len`. */
  readonly texts: { readonly limit: number | null; readonly bos: boolean } | null;
  /**
   * Documents of each at most; the solved questions before each, null when tasks have different numbers of them (or, by
   * a version that did not say more, as many as each task wanted itself), and what drew them, null without; whether
   * questions were put as messages, and what a system message said.
   */
  readonly tasks: {
    readonly limit: number | null;
    readonly num_fewshot: number | null;
    readonly seed: number | null;
    readonly chat: boolean;
    readonly system: string | null;
  } | null;
}

/** The content of evaluation.json. */
export interface SavedEvaluation {
  readonly format: "gprune-evaluation";
  readonly version: 1;
  readonly model: string;
  /** What it is compared with; null when it was evaluated alone. */
  readonly baseline: string | null;
  /** SHA-256 of the baseline's weights; null without one, and where a version before saved it. */
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
  layers: z.array(z.number()),
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

/** What was measured with, as `gprune eval` is told. */
export interface MeasuredWith {
  readonly seqLen: number;
  readonly bos?: boolean | undefined;
  readonly limit?: number | undefined;
  readonly fewShot?: Pick<TaskShots, "count" | "seed"> | undefined;
  readonly chat?: ChatOptions | undefined;
  /** SHA-256 of the baseline's weights. */
  readonly baselineHash?: string | null | undefined;
}

/** What `gprune eval` measured, as it is saved. */
export function savedEvaluation(
  own: Evaluation & { readonly fromFirst?: FromFirst },
  baseline: Evaluation | undefined,
  { seqLen, bos = false, limit, fewShot, chat, baselineHash = null }: MeasuredWith,
): SavedEvaluation {
  const divergences = new Map<string, Divergence>(Object.entries(own.fromFirst?.divergence ?? {}));
  const [texts, tasks] = [baseline?.texts, baseline?.tasks].map((all) => new Map(Object.entries(all ?? {})));
  const saved = {
    format: "gprune-evaluation",
    version: 1,
    model: own.model,
    baseline: baseline?.model ?? null,
    baseline_sha256: baseline === undefined ? null : baselineHash,
    seq_len: seqLen,
    settings: {
      texts: isEmpty(own.texts) ? null : { limit: limit ?? null, bos },
      tasks: isEmpty(own.tasks) ? null : { limit: limit ?? null, ...shots(fewShot), ...chatSettings(chat) },
    },
    texts: Object.entries(own.texts).map(([name, { ppl, windows }]) => ({
      name,
      windows,
      ppl,
      // One of other tokens is none to measure this one by.
      baseline: own.fromFirst?.other_tokens ? null : (texts!.get(name)?.ppl ?? null),
      divergence: divergences.get(name) ?? null,
    })),
    tasks: Object.entries(own.tasks).map(([name, score]) => ({
      name,
      ...score,
      baseline: tasks!.get(name) ?? null,
    })),
  };
  // Keeps what the file has names for.
  return evaluationSchema.parse(saved);
}

function isEmpty(record: Readonly<Record<string, unknown>>): boolean {
  return Object.keys(record).length === 0;
}

function shots({ count: num, seed }: Pick<TaskShots, "count" | "seed"> = { seed: 0 }): {
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

/** An evaluation with what was saved earlier and still goes with it. */
export interface AddedEvaluation {
  readonly evaluation: SavedEvaluation;
  /** Earlier texts and tasks that do not go with it, measured in other ways than those of the same name as well. */
  readonly dropped: readonly string[];
}

/**
 * Adds what was measured now to what was saved earlier: of the same name in its place, else behind. Against the same
 * baseline earlier texts stay when windows, their beginning and their limit are the same, tasks when limit, solved
 * questions and messages are, and both when none of theirs was measured now.
 */
export function addedTo(earlier: SavedEvaluation | null, now: SavedEvaluation): AddedEvaluation {
  if (earlier === null) return { evaluation: now, dropped: [] };
  if (!isSameBaseline(earlier, now)) {
    return { evaluation: now, dropped: [...namesOf(earlier.texts), ...namesOf(earlier.tasks)] };
  }
  const texts = added(textsOf(earlier), textsOf(now));
  const tasks = added(tasksOf(earlier), tasksOf(now));
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

/**
 * Whether two are compared with the same weights, or with none; where those are not known, with a model of the same
 * name.
 */
export function isSameBaseline(a: SavedEvaluation, b: SavedEvaluation): boolean {
  return isSameWeights(a.baseline_sha256, b.baseline_sha256) ?? a.baseline === b.baseline;
}

/** Texts or tasks, and what they were measured with. */
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

function added<T extends { readonly name: string }, How>(
  earlier: Measured<T, How>,
  now: Measured<T, How>,
): Measured<T, How> & { readonly dropped: readonly string[] } {
  if (now.list.length === 0) return { ...earlier, dropped: [] };
  const goesWith = JSON.stringify(earlier.how) === JSON.stringify(now.how);
  const all = [...(goesWith ? earlier.list : []), ...now.list];
  const list = [...new Map(all.map((one) => [one.name, one])).values()];
  return { list, how: now.how, dropped: goesWith ? [] : namesOf(earlier.list) };
}

function namesOf(ones: readonly { readonly name: string }[]): readonly string[] {
  return ones.map(({ name }) => name);
}

/** How a task was asked, by words: what must be the same where accuracies are compared. */
export function taskSettings(
  { n }: Pick<SavedTask, "n">,
  settings: SavedSettings["tasks"],
): Readonly<Record<string, string>> {
  if (settings === null) return { questions: `${n}` };
  const { num_fewshot: shots, seed, chat, system } = settings;
  return {
    questions: `${n}`,
    "solved questions before each": shots === null ? "as each task wants" : `${shots}`,
    "drawn with seed": `${seed ?? "none"}`,
    "put as": chat ? "messages" : "text",
    "system message": system ?? "none",
  };
}

/** An evaluation as JSON text. */
export function formatEvaluation(evaluation: SavedEvaluation): string {
  return formatDocument(evaluation as unknown as JsonValue);
}

/** @throws GpruneError BAD_FILE */
export function parseEvaluation(text: string, where: string): SavedEvaluation {
  const result = evaluationSchema.safeParse(parseJson(text, { ...LIMITS, where }));
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const got = `${issue?.path.join(".")}: ${issue?.message}`;
  throw new GpruneError("BAD_FILE", `${where}: expected a saved evaluation, got something else (${got})`, {
    hint: "gprune eval --save writes it; remove the file, or evaluate again.",
  });
}
