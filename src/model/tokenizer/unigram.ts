/**
 * Unigram vocabularies with byte fallback, as in SentencePiece: characters without a piece become the pieces of their
 * bytes. The library of engine.ts makes them unknown.
 */
import { z } from "zod";
import type { LibraryEngine, SectionEngine } from "./engine.ts";

const unigram = z.looseObject({
  type: z.literal("Unigram"),
  vocab: z.array(z.tuple([z.string(), z.number()])),
  unk_id: z.int().nonnegative().nullish(),
  byte_fallback: z.boolean().nullish(),
});

/** The pieces of a Unigram model; null for other models. */
export function unigramPieces(model: unknown): readonly string[] | null {
  const result = unigram.safeParse(model);
  return result.success ? result.data.vocab.map(([piece]) => piece) : null;
}

/**
 * An engine that encodes unknown characters as bytes, where the model asks for that and has pieces for all their bytes.
 * As `tokenize` of tokenizers/src/models/unigram/model.rs.
 */
export function withByteFallback(engine: LibraryEngine, model: unknown): SectionEngine {
  const result = unigram.safeParse(model);
  if (!result.success || result.data.byte_fallback !== true) return engine;
  const { vocab, unk_id: unknown } = result.data;
  const unknownPiece = typeof unknown === "number" ? vocab[unknown]?.[0] : undefined;
  const byteIds = Array.from({ length: 256 }, (_, byte) =>
    engine.idOf(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`),
  );
  const byteIdsOf = (piece: string): readonly number[] | null => {
    const ids = Array.from(Buffer.from(piece), (byte) => byteIds[byte]);
    return ids.every((id) => id !== undefined) ? ids : null;
  };
  return {
    ...engine,
    encodeSection(section, isStart) {
      const { ids, pieces } = engine.encodePieces(section, isStart);
      return ids.flatMap((id, i) => {
        const isUnknown = (id === unknown || !Number.isInteger(id)) && pieces[i] !== unknownPiece;
        return (isUnknown && byteIdsOf(pieces[i]!)) || id;
      });
    },
  };
}
