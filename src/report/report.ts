/** The report of a run: a pure function of its files, so that it can be rendered again with the same bytes. */
import type { Section } from "./elements.ts";
import { factsOf, type RunFiles } from "./facts.ts";
import { figuresOf } from "./figures.ts";
import { picturesOf } from "./gallery.ts";
import { pageText } from "./page.ts";
import { qualitySection } from "./sections/quality.ts";
import { runSection } from "./sections/run.ts";
import { shapeSection } from "./sections/shape.ts";
import { header } from "./sections/summary.ts";
import { courseSection, whySection } from "./sections/why.ts";
import { shortName } from "./text.ts";

/** Renders the report as one HTML file. */
export async function renderReport(files: RunFiles): Promise<string> {
  const facts = factsOf(files);
  const figures = await figuresOf(picturesOf(facts));
  const sections: readonly (Section | null)[] = [
    qualitySection(facts, figures),
    shapeSection(facts, figures),
    whySection(facts, figures),
    courseSection(facts, figures),
    runSection(facts, figures),
  ];
  return pageText({
    title: `${shortName(facts.record.base)}, pruned: ${facts.record.name}`,
    header: header(facts),
    sections: sections.filter((part) => part !== null),
  });
}
