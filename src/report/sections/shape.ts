/** The section on the pruned shape: widths, and the share removed of every layer. */
import { SPACE_KINDS } from "../../model/weights.ts";
import {
  type Cell,
  type Column,
  type Figures,
  numbers,
  row,
  type Section,
  section,
  table,
} from "../elements.ts";
import { placeOf } from "../explained.ts";
import type { ReportData, SpaceChange } from "../report_data.ts";
import { count, decimal, share } from "./cells.ts";

export function shapeSection(data: ReportData, figures: Figures): Section | null {
  return section("shape", "What remains", [
    row(figures, "composition", "sparsity", "widths-ffn", "widths-kv"),
    layerTable(data),
  ]);
}

/** Units that stay, those before, and the share that is removed, where a layer has any. */
function unitCells({ after, before, removed }: SpaceChange): readonly Cell[] {
  return before === 0 ? ["–", "–", "–"] : [count(after), count(before), share(removed)];
}

function layerTable({ layers, grounds, record }: ReportData) {
  const known = grounds.spaces.length > 0;
  const columns: Column[] = [
    ...numbers(["Layer", "Removed"]),
    ...numbers(["stay", "of", "removed"], "FFN neurons"),
    ...numbers(["stay", "of", "removed"], "KV groups"),
    ...(known ? [...numbers(["FFN", "KV"], "Kendall's W"), ...numbers(["FFN"], "Mean σ")] : []),
  ];
  const rows = layers.map(({ layer, removed, ffn, kv }): readonly Cell[] => {
    const [ofKv, ofFfn] = SPACE_KINDS.map((kind) =>
      grounds.spaces.find(({ space }) => placeOf(space).layer === layer && placeOf(space).kind === kind),
    );
    return [
      `${layer}`,
      share(removed),
      ...unitCells(ffn),
      ...unitCells(kv),
      ...(known ? [decimal(ofFfn?.kendallW), decimal(ofKv?.kendallW), decimal(ofFfn?.meanSigma, 3)] : []),
    ];
  });
  const ofExperts = record.experts === undefined ? "" : "; neurons are those of all experts together";
  const caption = `Layers: removed share of attention and FFN parameters, and kept units${ofExperts}`;
  return table({ caption, columns, rows });
}
