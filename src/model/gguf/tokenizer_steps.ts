/**
 * The steps of a tokenizer.json that llama.cpp has as well, by its kind of tokenizer (llama-vocab.cpp of
 * ggml-org/llama.cpp). Others are refused, since it would silently make other tokens. Allowed, and documented in
 * docs/FORMATS.md, are two that it leaves out: NFC, and the difference between `prepend_scheme` `first` and `always`.
 */

import { plainName } from "../../base/plain_text.ts";
import { GpruneError } from "../../errors.ts";
import type { TokenizerNode } from "../tokenizer/pretokenizers.ts";
import { SPACE } from "./tokenizer.ts";

/** tokenizer.ggml.model: byte-level BPE, or BPE of whole texts in which space signs stand for spaces. */
export type GgufTokenizerKind = "gpt2" | "llama";

/** The parts of a tokenizer.json that are checked. */
export interface TokenizerSteps {
  readonly normalizer?: unknown;
  readonly pre_tokenizer?: unknown;
}

/** Whether a step is one that llama.cpp has. */
type StepTest = (step: TokenizerNode, tokens: readonly string[]) => boolean;

const isNfc: StepTest = ({ type }) => type === "NFC";

/** Normalizers by kind of tokenizer. */
const NORMALIZERS: Readonly<Record<GgufTokenizerKind, readonly StepTest[]>> = {
  gpt2: [isNfc],
  llama: [isNfc, ({ type, prepend }) => type === "Prepend" && prepend === SPACE, makesSigns],
};
/** Pre-tokenizers of "llama". Those of "gpt2" have names in `tokenizer.ggml.pre` (pretokenizers.ts). */
const CUTS: readonly StepTest[] = [
  isWholeMetaspace,
  // Gemma's, which finds no spaces once they are signs.
  ({ type, pattern }) => type === "Split" && Object(pattern).String === " ",
];

/**
 * @param tokens - of the vocabulary, without added ones
 * @throws GpruneError UNSUPPORTED naming the steps that llama.cpp does not have
 */
export function requireGgufSteps(
  kind: GgufTokenizerKind,
  { normalizer, pre_tokenizer: cut }: TokenizerSteps,
  tokens: readonly string[],
): void {
  const normalizers = stepsOf(normalizer);
  const cuts = kind === "gpt2" ? [] : stepsOf(cut);
  const passesAny = (step: TokenizerNode, tests: readonly StepTest[]): boolean =>
    tests.some((test) => test(step, tokens));
  const foreign = [
    ...normalizers.filter((step) => !passesAny(step, NORMALIZERS[kind])),
    ...cuts.filter((step) => !passesAny(step, CUTS)),
  ];
  if (foreign.length > 0)
    throw unsupported("steps that llama.cpp supports", foreign.map(describeStep).join(", "));
  const signs = [...normalizers.filter(makesSigns), ...cuts.filter(isMetaspace)];
  if (kind === "llama" && signs.length === 0)
    throw unsupported(`a step that replaces spaces by ${SPACE}, as llama.cpp does`, "none");
}

/** The steps of a part in order, with sequences replaced by the steps in them. */
export function stepsOf(step: unknown): readonly TokenizerNode[] {
  if (typeof step !== "object" || step === null) return [];
  const { type, normalizers, pretokenizers } = step as TokenizerNode;
  if (type !== "Sequence") return [step as TokenizerNode];
  return [normalizers ?? pretokenizers ?? []].flat().flatMap(stepsOf);
}

function makesSigns({ type, pattern, content }: TokenizerNode): boolean {
  return type === "Replace" && Object(pattern).String === " " && content === SPACE;
}

function isMetaspace({ type, replacement = SPACE }: TokenizerNode): boolean {
  return type === "Metaspace" && replacement === SPACE;
}

/** llama.cpp merges over whole texts: the same as word by word if no token has a space sign but as its first. */
function isWholeMetaspace(step: TokenizerNode, tokens: readonly string[]): boolean {
  if (!isMetaspace(step)) return false;
  return step.split === false || tokens.every((token) => token.lastIndexOf(SPACE) <= 0);
}

function describeStep(step: TokenizerNode): string {
  return plainName(JSON.stringify(step));
}

function unsupported(expected: string, got: string): GpruneError {
  return new GpruneError("UNSUPPORTED", `tokenizer.json: expected ${expected}, got ${got}`, {
    hint: "llama.cpp would tokenize texts differently. Other formats include this tokenizer unchanged.",
  });
}
