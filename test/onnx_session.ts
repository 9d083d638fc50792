/** Runs exported ONNX files as transformers.js does: ONNX Runtime alone, without src/graph. */
import "../src/graph/runtime/no_telemetry.ts";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { elementCount } from "../src/tensor/tensor.ts";
import { asFeed } from "./float16_feeds.ts";
import { emptyShape, pastName } from "./onnx_cache.ts";

/** New tokens of a batch of sequences, after those in the cache. */
export interface DecoderStep {
  /** [B][T] */
  readonly ids: readonly (readonly number[])[];
  /** [B][S], past included; 0 marks padding. All ones when absent. */
  readonly mask?: readonly (readonly number[])[];
}

/** A decoder with its cache. */
export class OnnxDecoder {
  readonly #session: InferenceSession;
  #cache: Readonly<Record<string, Tensor>> = {};
  #length = 0;

  private constructor(session: InferenceSession) {
    this.#session = session;
  }

  static async open(path: string): Promise<OnnxDecoder> {
    return new OnnxDecoder(await InferenceSession.create(path, { logSeverityLevel: 3 }));
  }

  get session(): InferenceSession {
    return this.#session;
  }

  /** Empties the cache. */
  reset(): void {
    this.#cache = {};
    this.#length = 0;
  }

  /** Logits of all new tokens, [B*T*V]; adds their keys and values to the cache. */
  async step({ ids, mask }: DecoderStep): Promise<Float32Array> {
    const [batch, tokens] = [ids.length, ids[0]!.length];
    const total = this.#length + tokens;
    const attention = mask ?? ids.map(() => new Array<number>(total).fill(1));
    const positions = attention.map((row) => positionsOf(row).slice(-tokens));
    const outputs = await this.#session.run({
      input_ids: integers(ids),
      attention_mask: integers(attention),
      position_ids: integers(positions),
      ...(this.#length === 0 ? this.#emptyCache(batch) : this.#cache),
    });
    this.#length = total;
    this.#cache = Object.fromEntries(
      Object.entries(outputs)
        .filter(([name]) => name.startsWith("present"))
        .map(([name, tensor]) => [pastName(name), asFeed(tensor)]),
    );
    return outputs.logits!.data as Float32Array;
  }

  async close(): Promise<void> {
    await this.#session.release();
  }

  /** An empty cache in the shapes that the file declares, as transformers.js makes it. */
  #emptyCache(batch: number): Readonly<Record<string, Tensor>> {
    const entries: Record<string, Tensor> = {};
    for (const meta of this.#session.inputMetadata) {
      if (!meta.isTensor || !meta.name.startsWith("past")) continue;
      const shape = emptyShape(meta.shape, batch);
      const size = elementCount(shape);
      const data = meta.type === "float16" ? new Uint16Array(size) : new Float32Array(size);
      entries[meta.name] = asFeed(new Tensor(meta.type as "float32", data as Float32Array, shape));
    }
    return entries;
  }
}

/** Positions of tokens without padding; padding gets 1, as in transformers. */
function positionsOf(mask: readonly number[]): readonly number[] {
  let count = 0;
  return mask.map((visible) => (visible === 0 ? 1 : count++));
}

function integers(rows: readonly (readonly number[])[]): Tensor {
  return new Tensor("int64", BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0]!.length]);
}
