/**
 * Draws vega-lite specifications as SVG or PNG without a browser. The only importer of the plotting libraries, which
 * are loaded when a picture is first drawn.
 */

/** A vega-lite specification: plain JSON. */
export type Chart = Readonly<Record<string, unknown>>;

/** Pixels of a PNG per unit of the SVG. */
const PNG_SCALE = 2;

/** The chart as SVG text. */
export async function chartSvg(chart: Chart): Promise<string> {
  const [{ compile }, vega] = await Promise.all([import("vega-lite"), import("vega")]);
  const { spec } = compile(chart as unknown as Parameters<typeof compile>[0], { logger: SILENT });
  // Otherwise the numbers of gradients continue from chart to chart, and equal charts would differ.
  vega.resetSVGDefIds();
  const view = new vega.View(vega.parse(spec), { renderer: "none", logLevel: vega.Error });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

/** The chart as PNG on white. */
export async function chartPng(chart: Chart): Promise<Uint8Array> {
  const { Resvg } = await import("@resvg/resvg-js");
  const fitTo = { mode: "zoom", value: PNG_SCALE } as const;
  return new Resvg(await chartSvg(chart), { fitTo, background: "white" }).render().asPng();
}

/** Discards warnings about scales and domains, which concern authors of charts, not their readers. */
const SILENT = {
  level: () => SILENT,
  error: () => SILENT,
  warn: () => SILENT,
  info: () => SILENT,
  debug: () => SILENT,
} as never;
