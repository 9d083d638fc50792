/**
 * The steps of a tokenizer.json that llama.cpp takes as well, by its kind of tokenizer (llama-vocab.cpp of
 * ggml-org/llama.cpp). With others it would cut texts otherwise, without a word. What it leaves out and docs/FORMATS.md
 * says is allowed: NFC, and where `prepend_scheme: first` differs from `always`.
 */

import { plainName } from "../../base/plain_text.ts";
import { GpruneError } from "../../errors.ts";
import type { TokenizerNode } from "../tokenizer/pretokenizers.ts";
import { SPACE } from "./tokenizer.ts";

/** tokenizer.ggml.model: byte-level BPE, or BPE of whole texts in which space signs stand for spaces. */
export type GgufTokenizerKind = "gpt2" | "llama";

/** What of a tokenizer.json is looked at. */
export interface TokenizerSteps {
  readonly normalizer?: unknown;
  readonly pre_tokenizer?: unknown;
}

/** Steps that one kind of tokenizer takes. */
type Taken = (step: TokenizerNode, tokens: readonly string[]) => boolean;

const isNfc: Taken = ({ type }) => type === "NFC";

/** Byte-level BPE is cut as `tokenizer.ggml.pre` says, which is compared by itself (pretokenizers.ts). */
const NORMALIZERS: Readonly<Record<GgufTokenizerKind, readonly Taken[]>> = {
  gpt2: [isNfc],
  llama: [isNfc, ({ type, prepend }) => type === "Prepend" && prepend === SPACE, makesSigns],
};
const CUTS: readonly Taken[] = [
  isWholeMetaspace,
  // After the signs are there it finds nothing; Gemma has it.
  ({ type, pattern }) => type === "Split" && Object(pattern).String === " ",
];

/**
 * @param tokens - of the vocabulary, without added ones
 * @throws GpruneError UNSUPPORTED naming the steps that llama.cpp does not take
 */
export function requireGgufSteps(
  kind: GgufTokenizerKind,
  { normalizer, pre_tokenizer: cut }: TokenizerSteps,
  tokens: readonly string[],
): void {
  const normalizers = stepsOf(normalizer);
  const cuts = kind === "gpt2" ? [] : stepsOf(cut);
  const isTaken = (step: TokenizerNode, by: readonly Taken[]): boolean =>
    by.some((takes) => takes(step, tokens));
  const foreign = [
    ...normalizers.filter((step) => !isTaken(step, NORMALIZERS[kind])),
    ...cuts.filter((step) => !isTaken(step, CUTS)),
  ];
  if (foreign.length > 0) throw unsupported("steps that llama.cpp has", foreign.map(named).join(", "));
  const signs = [...normalizers.filter(makesSigns), ...cuts.filter(isMetaspace)];
  if (kind === "llama" && signs.length === 0)
    throw unsupported(`a step that makes ${SPACE} of spaces, as llama.cpp does`, "none");
}

/** Every step in order: of a sequence those in it. */
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

/** llama.cpp merges through whole texts, which is the same as word by word where no token goes on behind a sign. */
function isWholeMetaspace(step: TokenizerNode, tokens: readonly string[]): boolean {
  if (!isMetaspace(step)) return false;
  return step.split === false || tokens.every((token) => token.lastIndexOf(SPACE) <= 0);
}

function named(step: TokenizerNode): string {
  return plainName(JSON.stringify(step));
}

function unsupported(expected: string, got: string): GpruneError {
  return new GpruneError("UNSUPPORTED", `tokenizer.json: expected ${expected}, got ${got}`, {
    hint: "llama.cpp would cut texts into other tokens; the other formats carry this tokenizer as it is.",
  });
}
