/** The texts of a kind: documents in three parts, of which none occurs in two. */
import { KINDS } from "./kinds.ts";
import { seedOf } from "./prng.ts";

const SEPARATOR = "\n\n\n";
const CALIBRATION_BYTES = 80_000;
const HELDOUT_BYTES = 36_000;

export interface Parts {
  readonly heldout: string;
  readonly calibration: string;
  readonly train: string;
}

/** @param trainBytes - of the training text at least, if not 0 */
export function partsOf(kind: string, trainBytes: number): Parts {
  const generator = KINDS[kind]!;
  const seen = new Set<string>();
  /** Documents that have not been seen before, until there are enough bytes. The label seeds them. */
  const text = (label: string, bytes: number): string => {
    const documents: string[] = [];
    let size = 0;
    for (let index = 0; size < bytes; index += 1) {
      const document = generator(seedOf(`${kind}/${label}`, index));
      if (!seen.has(document)) {
        seen.add(document);
        documents.push(document);
        size += Buffer.byteLength(document) + SEPARATOR.length;
      }
    }
    return `${documents.join(SEPARATOR)}\n`;
  };
  return {
    heldout: text("heldout", HELDOUT_BYTES),
    calibration: text("calibration", CALIBRATION_BYTES),
    train: text("train", trainBytes),
  };
}
