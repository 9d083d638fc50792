/** The report of a run: a pure function of its files, so that it can be rendered again with the same bytes. */
import type { Section } from "./elements.ts";
import { figuresOf } from "./figures.ts";
import { picturesOf } from "./gallery.ts";
import { pageText } from "./page.ts";
import { type RunFiles, reportData } from "./report_data.ts";
import { qualitySection } from "./sections/quality.ts";
import { runSection } from "./sections/run.ts";
import { shapeSection } from "./sections/shape.ts";
import { header } from "./sections/summary.ts";
import { courseSection, whySection } from "./sections/why.ts";
import { shortName } from "./text.ts";

/** Renders the report as one HTML file. */
export async function renderReport(files: RunFiles): Promise<string> {
  const data = reportData(files);
  const figures = await figuresOf(picturesOf(data));
  const sections: readonly (Section | null)[] = [
    qualitySection(data, figures),
    shapeSection(data, figures),
    whySection(data, figures),
    courseSection(data, figures),
    runSection(data, figures),
  ];
  return pageText({
    title: `${shortName(data.record.base)}, pruned: ${data.record.name}`,
    header: header(data),
    sections: sections.filter((part) => part !== null),
  });
}
