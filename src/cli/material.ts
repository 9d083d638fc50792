/** Texts and tasks of the commands that evaluate models, from options of the command line. */
import { namesText } from "../base/lists.ts";
import type { TextSet } from "../calibrate/text_sets.ts";
import { GpruneError } from "../errors.ts";
import type { TaskShots } from "../evaluate/material.ts";
import type { ChatOptions } from "../evaluate/prompts.ts";
import { idleOption } from "./options.ts";
import { say } from "./terminal.ts";
import { parseMeasuredSets, requireTexts } from "./text_sets.ts";

/** Options that name texts and tasks, as commander gives them. */
export interface MaterialCommandOptions {
  readonly text?: readonly string[];
  readonly tasks?: readonly string[];
  readonly numFewshot?: number;
  readonly fewshot?: readonly string[];
  readonly chat?: boolean;
  readonly system?: string;
  readonly seed: number;
  readonly seqLen?: number;
  readonly bos?: boolean;
  readonly limit?: number;
}

/** Texts and tasks that models are evaluated on, and how. */
export interface NamedMaterial {
  readonly texts: readonly TextSet[];
  readonly tasks: readonly TextSet[];
  readonly fewShot: TaskShots;
  /** Options for questions that are put as chat messages; undefined when they are put as plain text. */
  readonly chat: ChatOptions | undefined;
  readonly seqLen: number | undefined;
  readonly bos: boolean;
  readonly limit: number | undefined;
}

/**
 * Parses the options, and checks that all texts and tasks exist.
 * @throws GpruneError BAD_ARGUMENT naming the option, also one that would have no effect; NOT_FOUND naming the path
 */
export async function namedMaterial({
  text = [],
  tasks: task = [],
  fewshot = [],
  numFewshot,
  chat = false,
  system,
  seed,
  seqLen,
  bos = false,
  limit,
}: MaterialCommandOptions): Promise<NamedMaterial> {
  const texts = parseMeasuredSets(text, "--text");
  const tasks = parseMeasuredSets(task, "--tasks");
  await requireTexts(texts);
  await requireTexts(tasks, "documents of task");
  if (numFewshot !== undefined && numFewshot > 0 && tasks.length === 0) {
    throw idleOption("numFewshot", { needed: "--tasks", got: "none" });
  }
  if (chat && tasks.length === 0) throw idleOption("chat", { needed: "--tasks", got: "none" });
  if (system !== undefined && !chat) throw idleOption("system", { needed: "--chat", got: "none" });
  if (texts.length === 0) {
    if (seqLen !== undefined) throw idleOption("seqLen", { needed: "--text", got: "none" });
    if (bos) throw idleOption("bos", { needed: "--text", got: "none" });
  }
  if (limit !== undefined) requireMaterial("limit", { texts, tasks });
  const pools = poolsOf(fewshot, tasks);
  await requireTexts(pools, "few-shot examples of task");
  const fewShot = { count: numFewshot, seed, pools };
  return { texts, tasks, fewShot, chat: chatOf({ chat, system }), seqLen, bos, limit };
}

/** @throws GpruneError BAD_ARGUMENT naming the option when there are neither texts nor tasks */
export function requireMaterial(
  setting: string,
  { texts, tasks }: Pick<NamedMaterial, "texts" | "tasks">,
): void {
  if (texts.length + tasks.length === 0)
    throw idleOption(setting, { needed: "--text or --tasks", got: "none" });
}

/** Options for questions that are put as chat messages; undefined without --chat. */
export function chatOf({
  chat,
  system,
}: {
  readonly chat?: boolean;
  readonly system?: string | undefined;
}): ChatOptions | undefined {
  return chat ? { system } : undefined;
}

/** Pools of solved questions. @throws GpruneError BAD_ARGUMENT for a pool that is not named like a task */
function poolsOf(fewshot: readonly string[], tasks: readonly TextSet[]): readonly TextSet[] {
  const pools = parseMeasuredSets(fewshot, "--fewshot");
  const names = tasks.map(({ name }) => name);
  const stray = pools.find(({ name }) => !names.includes(name));
  if (stray === undefined) return pools;
  throw new GpruneError("BAD_ARGUMENT", `--fewshot: expected the name of a task, got ${stray.name}`, {
    hint: names.length > 0 ? `The tasks are ${namesText(names)}.` : "Give tasks with --tasks.",
  });
}

/** Hints on stderr that texts are measured without the BOS token that the model expects. */
export function sayWithoutBos(model: string): void {
  say(`hint: the tokenizer of ${model} begins texts with BOS; --bos begins every window with it`);
}

/** Hints on stderr that prompts of a task were truncated to the context length. */
export function sayCut(task: string, count: number): void {
  const prompts = count === 1 ? "1 prompt" : `${count} prompts`;
  say(
    `hint: ${prompts} of ${task} longer than the context, cut at the start (system message, few-shot examples)`,
  );
}
