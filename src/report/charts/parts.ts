/** Parts that several charts have. */
import type { Palette } from "../palette.ts";
import type { Chart } from "../pictures.ts";

/** Layers from left to right. */
export function layerAxis(): Chart {
  return {
    field: "layer",
    type: "ordinal",
    title: "layer",
    axis: { labelAngle: 0, labelOverlap: true, ticks: false },
  };
}

/** Ticks of counts: `0`, `50M`, `100M`. */
export function countAxis(): Chart {
  return { tickCount: 4, format: "~s", labelExpr: "datum.value === 0 ? '0' : datum.label" };
}

interface LayerLines {
  /** Records with `layer`, and the fields of y and color. */
  readonly values: readonly object[];
  /** Field, title, scale and axis. */
  readonly y: Chart;
  readonly color: Chart;
  /** Whether every layer has a point; not when absent. */
  readonly points?: boolean;
}

/** A line over the layers for each colour. */
export function layerLines({ values, y, color, points = false }: LayerLines): Chart {
  return {
    height: 210,
    data: { values },
    mark: { type: "line", strokeWidth: 1.75, point: points && { size: 26, filled: true } },
    encoding: { x: layerAxis(), y: { type: "quantitative", ...y }, color },
  };
}

/** Colours of things side by side, named in a legend. */
export function seriesColor(field: string, names: readonly string[], palette: Palette): Chart {
  const range = names.map((_, index) => palette.series[index % palette.series.length]!);
  return { field, type: "nominal", title: null, scale: { domain: names, range }, legend: { columns: 4 } };
}

/** A colour for each value of a field. */
export function namedColor(field: string, colors: Readonly<Record<string, string>>): Chart {
  const scale = { domain: Object.keys(colors), range: Object.values(colors) };
  return { field, type: "nominal", title: null, scale };
}

interface RampOptions {
  readonly palette: Palette;
  readonly title: string | null;
  readonly domain: readonly [number, number];
}

/** Equal steps of the ramp, so that a page's colours need not be mixed. */
export function rampColor(field: string, { palette, title, domain }: RampOptions): Chart {
  return {
    field,
    type: "quantitative",
    title,
    scale: { type: "quantize", domain, range: palette.ramp },
    legend: { format: ".2f", direction: "horizontal" },
  };
}
