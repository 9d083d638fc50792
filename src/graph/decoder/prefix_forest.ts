/**
 * Token sequences that share their common beginnings: every different prefix is one node, so that one pass over the
 * nodes computes all sequences and nothing twice. In that pass a token sees its own predecessors alone and sits at its
 * own depth (tree attention as in SpecInfer, arXiv 2305.09781); positions.ts has the mask.
 */

/** The nodes of a forest, predecessors first. */
export interface TokenForest {
  /** Token ids, [T]. */
  readonly ids: Int32Array;
  /** Index of the token before each one, [T]; -1 where a sequence begins. */
  readonly parents: Int32Array;
}

/**
 * Nodes that attention looks at all pairs of; longer sequences go through it in blocks of queries, and so by themselves
 * (`embedForests`).
 */
export const MAX_FOREST_TOKENS = 4096;

/** Number of predecessors of every node, [T]: the position of its token. */
export function depths(parents: Int32Array): Int32Array {
  const depth = new Int32Array(parents.length);
  for (const [node, parent] of parents.entries()) if (parent >= 0) depth[node] = depth[parent]! + 1;
  return depth;
}

/** A forest that grows by sequences. */
export class PrefixForest {
  readonly #ids: number[] = [];
  readonly #parents: number[] = [];
  readonly #roots = new Map<number, number>();
  /** By node: the nodes after it by their token ids. */
  readonly #children: Map<number, number>[] = [];

  /** Number of nodes. */
  get size(): number {
    return this.#ids.length;
  }

  /** Whether all sequences are beginnings of one. */
  get isSequence(): boolean {
    return this.#parents.every((parent, node) => parent === node - 1);
  }

  /** How many leading tokens of a sequence are nodes already. */
  shared(ids: Int32Array): number {
    let next = this.#roots;
    for (const [place, id] of ids.entries()) {
      const node = next.get(id);
      if (node === undefined) return place;
      next = this.#children[node]!;
    }
    return ids.length;
  }

  /** Adds what is missing of a sequence. @returns the nodes of its tokens */
  add(ids: Int32Array): Int32Array {
    let last = -1;
    return ids.map((id) => {
      const next = last === -1 ? this.#roots : this.#children[last]!;
      last = next.get(id) ?? this.#append(id, { parent: last, siblings: next });
      return last;
    });
  }

  finish(): TokenForest {
    return { ids: Int32Array.from(this.#ids), parents: Int32Array.from(this.#parents) };
  }

  #append(
    id: number,
    { parent, siblings }: { readonly parent: number; readonly siblings: Map<number, number> },
  ): number {
    const node = this.#ids.push(id) - 1;
    this.#parents.push(parent);
    this.#children.push(new Map());
    siblings.set(id, node);
    return node;
  }
}
