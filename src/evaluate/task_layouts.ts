/**
 * Layouts of task records, one table entry each: gprune's own two and those of published data sets. Prompts and answers
 * are those of lm-evaluation-harness (lm_eval/tasks of version 0.4.13; the file is named at each).
 *
 * A record belongs to the first layout all of whose fields it has. Other fields are ignored.
 */
import { z } from "zod";
import { capitalize } from "../jinja/text.ts";
import { candidate, type Question } from "./task_documents.ts";

/** A kind of records: the fields that identify it, and a schema that turns a record into a question. */
export interface TaskLayout {
  readonly fields: readonly string[];
  /** Its error messages complete "expected ...". */
  readonly question: z.ZodType<Question>;
}

const text = z.string({ error: "a text" });
const answer = text.min(1, { error: "a non-empty text" });
const index = z.int({ error: "a whole number" });
/** A number or, in some files, its digits. Test splits without answers have -1 or an empty text. */
const label = z.union([index, z.string().regex(/^\d+$/).transform(Number)], {
  error: "the index of the right answer",
});
const gapped = text.regex(/_\s*\S/, { error: "a sentence with a gap (_) and text after it" });
const truth = z.union([z.boolean(), z.literal([0, 1])], { error: "true or false" });
const lettered = z.object(
  { text: listOf(answer), label: listOf(answer) },
  { error: "an object with two lists, text and label" },
);

export const TASK_LAYOUTS: readonly TaskLayout[] = [
  {
    fields: ["query", "choices", "gold"],
    question: questions(z.object({ query: text, choices: listOf(answer), gold: index }), {
      ...goldField("gold", "an index of choices"),
      toQuestion: ({ query, choices, gold }) => choosing(query, choices, gold),
    }),
  },
  {
    fields: ["contexts", "continuation", "gold"],
    question: questions(z.object({ contexts: listOf(text), continuation: answer, gold: index }), {
      ...goldField("gold", "an index of contexts"),
      toQuestion: ({ contexts, continuation, gold }) => completing(contexts, continuation, gold),
    }),
  },
  // arc/arc_easy.yaml, arc_challenge.yaml
  {
    fields: ["question", "choices", "answerKey"],
    question: questions(z.object({ question: text, choices: lettered, answerKey: text }), {
      ...goldField("answerKey", "one of the labels of choices"),
      toQuestion: ({ question, choices, answerKey }) =>
        choosing(`Question: ${question}\nAnswer:`, choices.text, choices.label.indexOf(answerKey)),
    }),
  },
  // openbookqa/openbookqa.yaml
  {
    fields: ["question_stem", "choices", "answerKey"],
    question: questions(z.object({ question_stem: text, choices: lettered, answerKey: text }), {
      ...goldField("answerKey", "one of the labels of choices"),
      toQuestion: ({ question_stem: stem, choices, answerKey }) =>
        choosing(stem, choices.text, choices.label.indexOf(answerKey.trimStart())),
    }),
  },
  // piqa/piqa.yaml
  {
    fields: ["goal", "sol1", "sol2", "label"],
    question: questions(z.object({ goal: text, sol1: answer, sol2: answer, label }), {
      ...goldField("label", "0 or 1"),
      toQuestion: ({ goal, sol1, sol2, label: gold }) =>
        choosing(`Question: ${goal}\nAnswer:`, [sol1, sol2], gold),
    }),
  },
  // hellaswag/hellaswag.yaml, utils.py
  {
    fields: ["activity_label", "ctx_a", "ctx_b", "endings", "label"],
    question: questions(
      z.object({ activity_label: text, ctx_a: text, ctx_b: text, endings: listOf(answer), label }),
      {
        ...goldField("label", "an index of endings"),
        toQuestion: ({ activity_label: activity, ctx_a: first, ctx_b: second, endings, label: gold }) =>
          choosing(
            withoutMarks(`${activity}: ${first} ${capitalize(second)}`),
            endings.map(withoutMarks),
            gold,
          ),
      },
    ),
  },
  // winogrande/default.yaml, preprocess_winogrande.py
  {
    fields: ["sentence", "option1", "option2", "answer"],
    question: questions(z.object({ sentence: gapped, option1: answer, option2: answer, answer: label }), {
      ...goldField("answer", "1 or 2"),
      toQuestion: ({ sentence, option1, option2, answer: gold }) => {
        const gap = sentence.indexOf("_");
        const contexts = [option1, option2].map((option) => sentence.slice(0, gap) + option);
        return completing(contexts, sentence.slice(gap + 1).trim(), gold - 1);
      },
    }),
  },
  // super_glue/boolq/default.yaml; the original files have `answer`, those of SuperGLUE `label`
  ...["answer", "label"].map((field) => ({
    fields: ["passage", "question", field],
    question: questions(z.object({ passage: text, question: text, [field]: truth }), {
      ...goldField(field, "true or false"),
      toQuestion: ({ passage, question, [field]: gold }) =>
        choosing(`${passage}\nQuestion: ${question}?\nAnswer:`, ["no", "yes"], Number(gold)),
    }),
  })),
  // lambada/lambada_openai.yaml: whether the last word is what the model would write
  {
    fields: ["text"],
    question: z
      .object({
        text: text.regex(/\S \S+$/, { error: "a text of at least two words that ends with a word" }),
      })
      .transform(({ text: passage }) => {
        const gap = passage.lastIndexOf(" ");
        const whole = candidate(passage.slice(0, gap), passage.slice(gap), "");
        // The target begins with a space, and the harness puts another one before the targets of all shots.
        return { candidates: [{ ...whole, solvedDelimiter: " " }], gold: 0 };
      }),
  },
];

/** Several answers to one query. */
function choosing(query: string, choices: readonly string[], gold: number): Question {
  return { candidates: choices.map((choice) => candidate(query, choice)), gold };
}

/** Several contexts of one continuation. */
function completing(contexts: readonly string[], continuation: string, gold: number): Question {
  return { candidates: contexts.map((context) => candidate(context, continuation)), gold };
}

/** The field that names the right candidate, and its expected values, as zod's parameters of an error. */
interface GoldField {
  readonly path: string[];
  readonly error: string;
}

function goldField(field: string, expected: string): GoldField {
  return { path: [field], error: expected };
}

/** A schema of questions from a schema of records; refuses a gold index that is not among the candidates. */
function questions<T>(
  schema: z.ZodType<T>,
  { toQuestion, ...error }: GoldField & { readonly toQuestion: (record: T) => Question },
): z.ZodType<Question> {
  return schema
    .transform(toQuestion)
    .refine(({ candidates, gold }) => gold >= 0 && gold < candidates.length, error);
}

function listOf(item: z.ZodString): z.ZodArray<z.ZodString> {
  return z.array(item, { error: "a list of texts" }).min(2, { error: "at least two texts" });
}

/** Removes the markup of WikiHow's texts (`preprocess` of hellaswag/utils.py). */
function withoutMarks(passage: string): string {
  return passage
    .trim()
    .replaceAll(" [title]", ". ")
    .replaceAll(/\[[^\]\n]{0,1000}\]/g, "")
    .replaceAll("  ", " ");
}
