/** Tensors of a Hugging Face checkpoint under the names used here, where the file has others. */
import type { TensorInfo, TensorSource } from "../../tensor/tensor.ts";
import type { Family } from "../family.ts";

/** Prefixes of the names of a decoder's tensors, and of those of its output matrix. */
interface Prefixes {
  readonly decoder: string;
  readonly head: string;
}

const USUAL: Prefixes = { decoder: "model.", head: "lm_head." };

/**
 * Other prefixes that transformers loads: none where a model was saved without its head, as embedding models are
 * (`base_model_prefix`), and those of text models in multimodal models, as version 4 saved them (modeling_gemma3.py),
 * as version 5 does, and of one family (modeling_idefics3.py).
 */
const OTHERS: readonly Prefixes[] = [
  { decoder: "", head: "lm_head." },
  { decoder: "language_model.model.", head: "language_model.lm_head." },
  { decoder: "model.language_model.", head: "lm_head." },
  { decoder: "model.text_model.", head: "lm_head." },
];

/** The family's own prefixes and names of parts. */
type StoredNaming = Pick<Family, "storedPrefixes" | "storedNames">;

/** A checkpoint's tensors with the names used here. */
export interface NamedTensors {
  readonly tensors: TensorSource;
  /** The name in the file. @param name - one of `tensors.names` */
  storedName(name: string): string;
}

/** Gives the tensors of the decoder and of its output matrix the usual names; others keep theirs. */
export function withUsualNames(
  source: TensorSource,
  { storedPrefixes: own, storedNames: ownNames }: StoredNaming,
): NamedTensors {
  const lastNorm = `${ownNames.norm ?? "norm"}.weight`;
  const hasNorm = ({ decoder }: Prefixes): boolean => source.info(decoder + lastNorm) !== undefined;
  const { decoder, head } = hasNorm(own) ? own : (OTHERS.find(hasNorm) ?? own);
  const usualNames = new Map(Object.entries(ownNames).map(([usual, stored]) => [stored, usual]));
  const usualName = (name: string): string => renamedPart(name, (part) => usualNames.get(part));
  const storedNames = namesOf(source, (stored) => {
    if (stored.startsWith(head)) return USUAL.head + stored.slice(head.length);
    return stored.startsWith(decoder)
      ? usualName(USUAL.decoder + usualPart(stored.slice(decoder.length)))
      : stored;
  });
  return { tensors: renamedSource(source, storedNames), storedName: (name) => storedNames.get(name)! };
}

/** The name under which a family's checkpoints have a tensor. @param name - the usual one */
export function storedName(
  name: string,
  { storedPrefixes: { decoder, head }, storedNames }: StoredNaming,
): string {
  if (name.startsWith(USUAL.head)) return head + name.slice(USUAL.head.length);
  const renamed = renamedPart(name, (part) => storedNames[part]);
  return renamed.startsWith(USUAL.decoder) ? decoder + renamed.slice(USUAL.decoder.length) : renamed;
}

/** `model.layers.3.self_attn.q_norm.weight` with another name for `self_attn.q_norm`, if there is one. */
function renamedPart(name: string, newName: (part: string) => string | undefined): string {
  return name.replace(
    /^(model\.(?:layers\.\d+\.)?)(.+)(\.\w+)$/,
    (whole, prefix: string, part: string, kind: string) => {
      const renamed = newName(part);
      return renamed === undefined ? whole : prefix + renamed + kind;
    },
  );
}

/** A decoder's tensor without prefix; Granite 4 calls the FFN of every layer shared (modeling_granitemoehybrid.py). */
function usualPart(name: string): string {
  return name
    .replace(".shared_mlp.input_linear.", ".mlp.gate_up_proj.")
    .replace(".shared_mlp.output_linear.", ".mlp.down_proj.");
}

/** The same tensors, with `stored` under the name `alias`. */
export function withAlias(
  source: TensorSource,
  { stored, alias }: { readonly stored: string; readonly alias: string },
): TensorSource {
  return renamedSource(
    source,
    namesOf(source, (name) => (name === stored ? alias : name)),
  );
}

/** The names that tensors get, with those in the file. */
function namesOf(source: TensorSource, nameOf: (stored: string) => string): ReadonlyMap<string, string> {
  return new Map(source.names.map((stored) => [nameOf(stored), stored]));
}

function renamedSource(source: TensorSource, storedNames: ReadonlyMap<string, string>): TensorSource {
  return {
    names: [...storedNames.keys()],
    info: (name): TensorInfo | undefined => {
      const stored = storedNames.get(name);
      return stored === undefined ? undefined : source.info(stored);
    },
    read: (name, rows) => source.read(storedNames.get(name) ?? name, rows),
    close: () => source.close(),
  };
}
