/**
 * The evaluation that `gprune eval --save` leaves beside a model, evaluation.json, for its report: scores of the model and
 * of its baseline, and how far they are apart. Texts and tasks are lists and not keys, so that no name can mean anything.
 */
import { z } from "zod";
import { GpruneError } from "../errors.ts";
import type { Divergence } from "../evaluate/divergence.ts";
import type { Evaluation, FromFirst } from "../evaluate/evaluate.ts";
import { parseJson } from "../io/json.ts";
import type { Json } from "../prune/plan.ts";
import { formatDocument } from "../prune/plan_json.ts";

/** Accuracy of a model on a task. */
export interface SavedAccuracy {
  readonly acc: number;
  readonly acc_norm: number;
  readonly stderr: number | null;
  readonly acc_norm_stderr: number | null;
}

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

export interface SavedEvaluation {
  readonly format: "gprune-evaluation";
  readonly version: 1;
  readonly model: string;
  /** What it is compared with; null when it was evaluated alone. */
  readonly baseline: string | null;
  /** Tokens in a window. */
  readonly seq_len: number;
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

const evaluationSchema: z.ZodType<SavedEvaluation> = z.object({
  format: z.literal("gprune-evaluation"),
  version: z.literal(1),
  model: z.string(),
  baseline: z.string().nullable(),
  seq_len: count,
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

/** What `gprune eval` measured, as it is saved. */
export function savedEvaluation(
  own: Evaluation & { readonly fromFirst?: FromFirst },
  baseline: Evaluation | undefined,
  seqLen: number,
): SavedEvaluation {
  const divergences = new Map<string, Divergence>(Object.entries(own.fromFirst?.divergence ?? {}));
  const [texts, tasks] = [baseline?.texts, baseline?.tasks].map((all) => new Map(Object.entries(all ?? {})));
  const saved = {
    format: "gprune-evaluation",
    version: 1,
    model: own.model,
    baseline: baseline?.model ?? null,
    seq_len: seqLen,
    texts: Object.entries(own.texts).map(([name, { ppl, windows }]) => ({
      name,
      windows,
      ppl,
      baseline: texts!.get(name)?.ppl ?? null,
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

/** An evaluation as JSON text. */
export function formatEvaluation(evaluation: SavedEvaluation): string {
  return formatDocument(evaluation as unknown as Json);
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
