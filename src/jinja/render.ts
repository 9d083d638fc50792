/**
 * Jinja templates from untrusted files. A template is a program that may loop for ever or fill the memory, so templates
 * are rendered in a worker thread that is ended when it computes too long.
 *
 * Operators, filters, methods and printing are Python's (interpreter.ts) in both dialects. Templates of tasks are
 * rendered as lm-evaluation-harness does (`apply_template` in lm_eval/utils.py): white space stays, and undefined
 * values are errors. Chat templates are rendered as transformers does (chat.ts): line breaks after tags and at the end
 * of the template are removed, as is white space before tags, and undefined values are printed as nothing.
 */
import { Worker } from "node:worker_threads";
import { GpruneError, reasonOf } from "../errors.ts";
import { isOutOfMemory, ownThread } from "../io/files/own_program.ts";
import { type Name, parse, tokenize } from "./library.ts";
import { threadTime } from "./thread_time.ts";

/** Most characters of a template. */
const MAX_LENGTH = 2 ** 16;
/**
 * Most seconds that the thread computes from one record to the next, so that a file may have any number of records, and
 * the machine and this process may be busy otherwise.
 */
const MAX_SECONDS = 20;
/** Milliseconds between two looks at that time. */
const LOOK_MS = 1000;
const MAX_MEGABYTES = 512;
/** Most characters of the texts of all records. */
const MAX_CHARACTERS = 2 ** 28;

/** Names that a template may use and a record need not have. */
const BUILT_IN: ReadonlySet<string> = new Set([
  ...["true", "false", "none", "True", "False", "None"],
  ...["range", "loop", "namespace", "caller", "varargs", "kwargs"],
]);

/** Work for the thread. Records are sent in lots afterwards, since all of them may not fit into its memory. */
export interface RenderRequest {
  readonly dialect: "harness" | "chat";
  /** By their names. */
  readonly templates: Readonly<Record<string, string>>;
}

/** Records in a lot. */
const LOT = 64;

/** The thread's answer for each record of a lot, up to the first that fails. */
export type RenderAnswer =
  | { readonly texts: Readonly<Record<string, string>> }
  | { readonly template: string; readonly problem: string };

/**
 * Checks the syntax of a template.
 * @returns names of the fields that it reads from a record
 * @throws GpruneError BAD_FILE naming `where`
 */
export function templateNames(text: string, where: string): ReadonlySet<string> {
  if (text.length > MAX_LENGTH) {
    throw new GpruneError(
      "BAD_FILE",
      `${where}: expected at most ${MAX_LENGTH} characters, got ${text.length}`,
    );
  }
  try {
    const used = new Set<string>();
    const bound = new Set(BUILT_IN);
    collectNames(parse(tokenize(text)), used, bound);
    return new Set([...used].filter((name) => !bound.has(name)));
  } catch (cause) {
    const reason = reasonOf(cause);
    throw new GpruneError("BAD_FILE", `${where}: expected a valid Jinja template, got: ${reason}`, { cause });
  }
}

/** The part of a node that has a name of something else than a variable, by type of node. */
const NAMELESS: Readonly<Record<string, string>> = {
  BinaryExpression: "operator",
  UnaryExpression: "operator",
  TestExpression: "test",
  FilterExpression: "filter",
  FilterStatement: "filter",
  KeywordArgumentExpression: "key",
};
/** Parts of nodes that bind variables. */
const BINDING: ReadonlySet<string> = new Set(["loopvar", "assignee", "name"]);

/** The parts of a node that say how its names are meant. */
interface NamingNode {
  readonly type?: string;
  readonly value?: unknown;
  readonly computed?: boolean;
  readonly key?: Name;
  readonly args?: readonly NamingNode[];
  readonly callerArgs?: readonly NamingNode[] | null;
}

function collectNames(node: unknown, used: Set<string>, bound: Set<string>): void {
  if (Array.isArray(node)) for (const item of node) collectNames(item, used, bound);
  if (node instanceof Map) for (const pair of node) collectNames([...pair], used, bound);
  if (typeof node !== "object" || node === null || Array.isArray(node)) return;
  const { type = "", value, computed, args = [], callerArgs } = node as NamingNode;
  if (type === "Identifier" && typeof value === "string") used.add(value);
  const parameters = type === "Macro" ? args : (callerArgs ?? []);
  // A parameter with a default is a named argument.
  for (const parameter of parameters) bound.add(String(parameter.key?.value ?? parameter.value));
  for (const [part, child] of Object.entries(node)) {
    if (part === "property" && computed === false) continue;
    if (part === NAMELESS[type]) collectNames((child as NamingNode).args, used, bound);
    else collectNames(child, BINDING.has(part) ? bound : used, bound);
  }
}

/**
 * Renders all templates for every record.
 * @param templates - by their names in messages
 * @param where - the name of a record in messages, by its index
 * @returns texts [records], by the templates' names
 * @throws GpruneError BAD_TEXT for a record that a template fails on, BAD_FILE when the templates take too long
 */
export async function renderTemplates<T extends Readonly<Record<string, string>>>(
  templates: T,
  records: readonly unknown[],
  where: (record: number) => string,
): Promise<readonly T[]> {
  const label = (record: number, template = "templates"): string => `${where(record)}: ${template}`;
  return renderAll({ dialect: "harness", templates }, { records, where: label }) as Promise<readonly T[]>;
}

/**
 * Renders a chat template for the values of every conversation.
 * @param where - the name of the template and a conversation in messages, by the conversation's index
 * @throws GpruneError as `renderTemplates`, and BAD_TEXT for a text that is no template
 */
export async function renderChats(
  template: string,
  conversations: readonly unknown[],
  where: (conversation: number) => string,
): Promise<readonly string[]> {
  const request = { dialect: "chat", templates: { chat: template } } as const;
  const texts = await renderAll(request, { records: conversations, where });
  return texts.map(({ chat }) => chat!);
}

/** What is rendered, and how it is called in messages. */
interface Rendering {
  readonly records: readonly unknown[];
  readonly where: (record: number, template?: string) => string;
  /** `MAX_SECONDS` when absent. */
  readonly seconds?: number;
}

/** @throws GpruneError as `renderTemplates` */
export async function renderAll(
  request: RenderRequest,
  { records, where, seconds = MAX_SECONDS }: Rendering,
): Promise<readonly Readonly<Record<string, string>>[]> {
  if (records.length === 0) return [];
  const worker = new Worker(ownThread("template_thread", import.meta.url), {
    workerData: request,
    resourceLimits: { maxOldGenerationSizeMb: MAX_MEGABYTES },
  });
  const texts: Readonly<Record<string, string>>[] = [];
  let characters = 0;
  const tooLong = (): GpruneError =>
    new GpruneError(
      "BAD_FILE",
      `${where(texts.length)}: expected a template that needs at most ${seconds} s of processor time and ${MAX_MEGABYTES} MB, and at most ${MAX_CHARACTERS} characters for all records, got more`,
    );
  const ask = (): void => worker.postMessage(records.slice(texts.length, texts.length + LOT));
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void): void => {
      clearInterval(timer);
      void worker.terminate();
      settle();
    };
    /** An error in an event handler would end the process: `where` may throw, and some records cannot be sent. */
    const guarded = <T>(handle: (event: T) => void): ((event: T) => void) => {
      return (event) => {
        try {
          handle(event);
        } catch (error) {
          finish(() => reject(error));
        }
      };
    };
    let computed = threadTime(worker);
    const look = guarded(() => {
      if (computed() > seconds) throw tooLong();
    });
    const timer = setInterval(look, LOOK_MS, undefined);
    const take = (answer: RenderAnswer): void => {
      computed = threadTime(worker);
      if ("problem" in answer) {
        throw new GpruneError("BAD_TEXT", `${where(texts.length, answer.template)}: ${answer.problem}`);
      }
      characters += Object.values(answer.texts).reduce((sum, { length }) => sum + length, 0);
      if (characters > MAX_CHARACTERS) throw tooLong();
      if (texts.push(answer.texts) === records.length) finish(() => resolve(texts));
      else if (texts.length % LOT === 0) ask();
    };
    const fail = (error: Error): never => {
      throw isOutOfMemory(error.message) ? tooLong() : error;
    };
    worker.on("message", guarded(take));
    worker.on("error", guarded(fail));
    guarded(ask)(undefined);
  });
}
