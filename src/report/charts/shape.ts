/** Charts of the pruned shape: widths of the layers, and the share of each that was removed. */
import type { SpaceKind } from "../../model/weights.ts";
import { largestBy, smallestBy } from "../../tensor/statistics.ts";
import { placeOf } from "../explained.ts";
import { percent, short, whole } from "../format.ts";
import type { Palette } from "../palette.ts";
import type { Picture } from "../picture.ts";
import type { Chart } from "../pictures.ts";
import type { LayerChange, ReportData } from "../report_data.ts";
import { countAxis, dashedRule, KIND_NAMES, kindColor, layerAxis, PLOT_HEIGHT, UNIT_NAMES } from "./parts.ts";

/** Kept units of every layer, in front of the dense widths. */
export function widthsPicture({ layers, record }: ReportData, kind: SpaceKind): Picture {
  const values = layers.map(({ layer, [kind]: { before, after } }) => ({ layer, before, after }));
  const kept = values.reduce((sum, { after }) => sum + after, 0);
  const total = values.reduce((sum, { before }) => sum + before, 0);
  const present = values.filter(({ before }) => before > 0);
  const narrowest = smallestBy(present, ({ after }) => after);
  const ofExperts =
    kind === "ffn" && record.experts !== undefined ? " Neurons are those of all experts together." : "";
  return {
    id: `widths-${kind}`,
    title: `${UNIT_NAMES[kind]} of every layer`,
    words:
      `${whole(kept)} of ${whole(total)} ${UNIT_NAMES[kind]} stay. ` +
      `Layer ${narrowest.layer} is the narrowest with ${whole(narrowest.after)} of ${whole(narrowest.before)}.`,
    caption: `Solid: kept. Faint: removed. Layer 0 reads the embeddings.${ofExperts}`,
    chart: (palette) => ({
      height: PLOT_HEIGHT,
      data: { values },
      encoding: { x: layerAxis() },
      layer: [
        bars("before", { color: palette.gone, title: UNIT_NAMES[kind] }),
        bars("after", { color: palette.accent, title: UNIT_NAMES[kind] }),
      ],
    }),
  };
}

/** Parameters of FFN, attention and the rest, before and after. */
export function compositionPicture({ record, removed }: ReportData): Picture {
  const prunable = (kind: SpaceKind): number =>
    record.widths.before[kind].reduce(
      (sum, units, layer) => sum + units * record.unit_parameters[kind][layer]!,
      0,
    );
  const [ffn, kv] = [prunable("ffn"), prunable("kv")];
  const { before, after } = record.parameters;
  const [ffnLeft, kvLeft] = [ffn * (1 - removed.ffn), kv * (1 - removed.kv)];
  const parts = ["FFN", "attention", "embeddings, others"];
  const amounts = {
    dense: [ffn, kv, before - ffn - kv],
    pruned: [ffnLeft, kvLeft, after - ffnLeft - kvLeft],
  };
  const values = Object.entries(amounts).flatMap(([model, counts]) =>
    counts.map((parameters, part) => ({ model, part: parts[part]!, order: part, parameters })),
  );
  return {
    id: "composition",
    title: "Where the parameters are",
    words:
      `FFN: ${short(ffn)} before, ${short(ffnLeft)} after. Attention: ${short(kv)} before, ${short(kvLeft)} after. ` +
      `All: ${short(before)} before, ${short(after)} after.`,
    caption: "Only attention and FFN are pruned; recovery may add biases.",
    chart: (palette) => ({
      height: { step: 46 },
      data: { values },
      mark: { type: "bar", height: { band: 0.6 } },
      encoding: {
        y: { field: "model", type: "nominal", title: null, sort: ["dense", "pruned"] },
        x: {
          field: "parameters",
          type: "quantitative",
          title: "parameters",
          axis: { grid: true, ...countAxis() },
        },
        order: { field: "order", type: "quantitative" },
        color: {
          field: "part",
          type: "nominal",
          title: null,
          scale: { domain: parts, range: [palette.accent, palette.second, palette.gone] },
        },
      },
    }),
  };
}

function bars(field: string, { color, title }: { readonly color: string; readonly title: string }): Chart {
  return {
    mark: { type: "bar", color, cornerRadiusEnd: 1 },
    encoding: {
      y: { field, type: "quantitative", title, stack: null, axis: { tickCount: 4, tickMinStep: 1 } },
    },
  };
}

/** Share of every space that was removed, and of every module where spaces have several. */
export function sparsityPicture(data: ReportData): Picture {
  const { layers, record } = data;
  const values = layers.flatMap(({ layer, ffn, kv }) => [
    ...(ffn.before === 0 ? [] : [{ layer, kind: KIND_NAMES.ffn, removed: ffn.removed }]),
    ...(kv.before === 0 ? [] : [{ layer, kind: KIND_NAMES.kv, removed: kv.removed }]),
  ]);
  const modules = moduleValues(data);
  const prunable = layers.filter(({ ffn, kv }) => ffn.before + kv.before > 0);
  const deepest = largestBy(prunable, ({ removed }) => removed);
  const lightest = smallestBy(prunable, ({ removed }) => removed);
  const points = modules.length === 0 ? "" : " Points: behaviour modules, larger ones with more units.";
  return {
    id: "sparsity",
    title: "Removed from every layer",
    words:
      `Most was removed from layer ${deepest.layer} (${percent(deepest.removed)} of its attention and FFN parameters), ` +
      `least from layer ${lightest.layer} (${percent(lightest.removed)}); ${percent(record.sparsity.achieved)} overall.`,
    caption: `Share of units removed. Dashed: the whole model.${points}`,
    chart: (palette) => ({
      height: PLOT_HEIGHT,
      layer: [
        dashedRule("sparsity", record.sparsity.achieved, { palette, channel: "y" }),
        {
          data: { values },
          mark: {
            type: "line",
            point: modules.length === 0 ? { size: 26, filled: true } : false,
            strokeWidth: 1.75,
          },
          encoding: sparsityEncoding(palette),
        },
        ...(modules.length === 0 ? [] : [modulePoints(modules, palette)]),
      ],
    }),
  };
}

interface ModuleValue {
  readonly layer: number;
  readonly kind: string;
  readonly removed: number;
  readonly units: number;
}

/** Share removed of every module, in spaces that have more than one. */
function moduleValues({ grounds }: ReportData): readonly ModuleValue[] {
  return grounds.spaces.flatMap(({ space, modules }) => {
    const { layer, kind } = placeOf(space);
    if (modules.length < 2) return [];
    return modules.map(({ size, kept }) => ({
      layer,
      kind: KIND_NAMES[kind],
      removed: 1 - kept / size,
      units: size,
    }));
  });
}

function modulePoints(values: readonly ModuleValue[], palette: Palette): Chart {
  return {
    data: { values },
    mark: { type: "point", filled: true, opacity: 0.55 },
    encoding: {
      ...sparsityEncoding(palette),
      size: { field: "units", type: "quantitative", legend: null, scale: { range: [12, 160] } },
    },
  };
}

function sparsityEncoding(palette: Palette): Chart {
  return {
    x: layerAxis(),
    y: {
      field: "removed",
      type: "quantitative",
      title: "removed",
      scale: { domain: [0, 1] },
      axis: { format: "~%", tickCount: 5 },
    },
    color: kindColor(palette),
  };
}

/** The layers with the largest share removed, in descending order. */
export function deepestLayers(layers: readonly LayerChange[], count: number): readonly LayerChange[] {
  return layers.toSorted((a, b) => b.removed - a.removed).slice(0, count);
}
