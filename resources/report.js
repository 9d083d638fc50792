/* Sorts tables by the columns that are clicked, and saves figures. The report can be read without it. */
(() => {
  /** @param {HTMLTableCellElement} cell */
  const keyOf = (cell) => {
    const number = cell.dataset.value ?? cell.textContent;
    return number.trim() !== "" && Number.isFinite(Number(number)) ? Number(number) : cell.textContent;
  };

  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b, "en", { numeric: true });
  };

  const sort = (table, column, header) => {
    const descending = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: keyOf(row.cells[column]) }));
    rows.sort((a, b) => (descending ? compare(b.key, a.key) : compare(a.key, b.key)));
    table.tBodies[0].append(...rows.map(({ row }) => row));
  };

  for (const table of document.querySelectorAll("table")) {
    for (const header of table.tHead.querySelectorAll("[data-column]")) {
      const column = Number(header.dataset.column);
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      button.addEventListener("click", () => sort(table, column, header));
      header.append(button);
    }
  }

  /** An SVG file in the colours that the page has now. */
  const standalone = (svg) => {
    const copy = svg.cloneNode(true);
    const colors = getComputedStyle(document.documentElement);
    copy.setAttribute("width", copy.viewBox.baseVal.width);
    copy.setAttribute("height", copy.viewBox.baseVal.height);
    copy.setAttribute("font-family", "system-ui, sans-serif");
    const text = new XMLSerializer().serializeToString(copy);
    return text.replaceAll(/var\((--[a-z0-9-]+), [^)]*\)/g, (_, name) =>
      colors.getPropertyValue(name).trim(),
    );
  };

  for (const figure of document.querySelectorAll("figure")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "save";
    button.textContent = "SVG";
    button.setAttribute("aria-label", `Save as SVG: ${figure.querySelector("h3").textContent}`);
    button.addEventListener("click", () => {
      const file = new Blob([standalone(figure.querySelector("svg"))], { type: "image/svg+xml" });
      const link = document.createElement("a");
      link.href = URL.createObjectURL(file);
      link.download = `${figure.id}.svg`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    figure.append(button);
  }
})();
