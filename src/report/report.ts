/** The report of a run: a function of its files, so that it can be made again with the same bytes. */
import { type Figures, figure, type Section } from "./elements.ts";
import { type Facts, factsOf, type RunFiles } from "./facts.ts";
import { picturesOf } from "./gallery.ts";
import type { Html } from "./html.ts";
import { pageText } from "./page.ts";
import { pictureMarkup } from "./picture.ts";
import { qualitySection } from "./sections/quality.ts";
import { runSection } from "./sections/run.ts";
import { shapeSection } from "./sections/shape.ts";
import { header } from "./sections/summary.ts";
import { courseSection, whySection } from "./sections/why.ts";
import { lastPart } from "./text.ts";

/** The report as one HTML file. */
export async function renderReport(files: RunFiles): Promise<string> {
  const facts = factsOf(files);
  const figures = await draw(facts);
  const sections: readonly (Section | null)[] = [
    qualitySection(facts, figures),
    shapeSection(facts, figures),
    whySection(facts, figures),
    courseSection(facts, figures),
    runSection(facts, figures),
  ];
  return pageText({
    title: `${lastPart(facts.record.base)}, pruned: ${facts.record.name}`,
    header: header(facts),
    sections: sections.filter((part) => part !== null),
  });
}

/** One after the other: the plotting library numbers what it draws. */
async function draw(facts: Facts): Promise<Figures> {
  const figures = new Map<string, Html>();
  for (const picture of picturesOf(facts)) {
    figures.set(picture.id, figure(picture, await pictureMarkup(picture)));
  }
  return figures;
}
