/**
 * Prompts of questions, with the task's description and shots before each: one text, or messages of a conversation, as
 * in lm-evaluation-harness without and with `--apply_chat_template` (`fewshot_context` of lm_eval/api/task.py, 0.4.13).
 */
import type { ConversationRenderer, Message } from "../io/texts/conversations.ts";
import type { ShotDocument } from "./few_shot.ts";
import { type Candidate, solvedText, type TaskDocument } from "./task_documents.ts";

/** Options of {@link asChats}. */
export interface ChatOptions {
  /** System message, before the task's description; without either there is no system message. */
  readonly system?: string | undefined;
}

/** Documents whose contexts begin with the description and the shots, an empty line after each shot. */
export function asTexts(documents: readonly ShotDocument[]): readonly TaskDocument[] {
  return documents.map(({ solved, ...document }) => {
    const shots = solved.map((shot) => `${solvedText(shot)}\n\n`);
    const prefix = [document.description ?? "", ...shots].join("");
    return {
      ...document,
      candidates: document.candidates.map((candidate) => ({
        ...candidate,
        context: prefix + candidate.context,
      })),
    };
  });
}

/**
 * Documents whose contexts are conversations: the description as a system message, the shots as questions and answers,
 * and the question itself, which the answer follows without a delimiter.
 * @param prompt - makes the text that the answer follows of each conversation
 * @throws as `prompt`
 */
export async function asChats(
  documents: readonly ShotDocument[],
  prompt: ConversationRenderer,
  { system = "" }: ChatOptions = {},
): Promise<readonly TaskDocument[]> {
  // Candidates of one context share a conversation.
  const contexts = documents.map(({ candidates }) => [...new Set(candidates.map(({ context }) => context))]);
  const requests = documents.flatMap((document, d) => contexts[d]!.map((context) => ({ document, context })));
  const prompts = await prompt(
    requests.map(({ document, context }) => messagesOf(document, context, system)),
    (index) => requests[index]!.document.where,
  );
  let start = 0;
  return documents.map(({ solved: _, ...document }, d) => {
    const promptOf = new Map(contexts[d]!.map((context, i) => [context, prompts[start + i]!]));
    start += promptOf.size;
    const candidates = document.candidates.map(
      ({ context, answer }): Candidate => ({ context: promptOf.get(context)!, delimiter: "", answer }),
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

/** Joins texts by an empty line unless white space already separates them (`maybe_delimit` of lm_eval/api/utils.py). */
function joined(first: string, second: string): string {
  const isApart = first === "" || second === "" || /\s$/.test(first) || /^\s/.test(second);
  return first + (isApart ? "" : "\n\n") + second;
}
