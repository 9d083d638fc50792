/**
 * How a question is put to a model, after its task's description and solved questions: all one text, or messages of a
 * conversation, as lm-evaluation-harness does (`fewshot_context` of lm_eval/api/task.py, 0.4.13) without and with
 * `--apply_chat_template`.
 */
import type { ConversationRenderer, Message } from "../io/texts/conversations.ts";
import type { ShotDocument } from "./few_shot.ts";
import { type Candidate, solvedText, type TaskDocument } from "./task_layouts.ts";

/** How messages are put. */
export interface ChatOptions {
  /** What a system message says; without it and a description there is none. */
  readonly system?: string | undefined;
}

/** Documents whose contexts begin with description and solved questions, an empty line after each. */
export function asTexts(documents: readonly ShotDocument[]): readonly TaskDocument[] {
  return documents.map(({ solved, ...document }) => {
    const shots = solved.map((shot) => `${solvedText(shot)}\n\n`);
    const before = [document.description ?? "", ...shots].join("");
    return {
      ...document,
      candidates: document.candidates.map((candidate) => ({
        ...candidate,
        context: before + candidate.context,
      })),
    };
  });
}

/**
 * Documents whose contexts are conversations: the description as a system message, solved questions and their answers,
 * and the question itself, which the answer follows without a delimiter.
 * @throws what `prompt` throws
 */
export async function asChats(
  documents: readonly ShotDocument[],
  prompt: ConversationRenderer,
  { system = "" }: ChatOptions = {},
): Promise<readonly TaskDocument[]> {
  // Candidates of one context share a conversation.
  const contexts = documents.map(({ candidates }) => [...new Set(candidates.map(({ context }) => context))]);
  const asked = documents.flatMap((document, d) => contexts[d]!.map((context) => ({ document, context })));
  const prompts = await prompt(
    asked.map(({ document, context }) => messagesOf(document, context, system)),
    (index) => asked[index]!.document.where,
  );
  let start = 0;
  return documents.map(({ solved: _, ...document }, d) => {
    const own = new Map(contexts[d]!.map((context, i) => [context, prompts[start + i]!]));
    start += own.size;
    const candidates = document.candidates.map(
      ({ context, answer }): Candidate => ({ context: own.get(context)!, delimiter: "", answer }),
    );
    return { ...document, candidates };
  });
}

function messagesOf(
  { description = "", solved }: ShotDocument,
  context: string,
  system: string,
): readonly Message[] {
  const instruction = joined(system, description);
  return [
    ...(instruction === "" ? [] : [{ role: "system", content: instruction }]),
    ...solved.flatMap((shot) => [
      { role: "user", content: shot.context },
      { role: "assistant", content: shot.answer },
    ]),
    { role: "user", content: context },
  ];
}

/**
 * An empty line between the two, unless one of them has white space there (`maybe_delimit` of lm_eval/api/utils.py).
 */
function joined(first: string, second: string): string {
  const isApart = first === "" || second === "" || /\s$/.test(first) || /^\s/.test(second);
  return first + (isApart ? "" : "\n\n") + second;
}
