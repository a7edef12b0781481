/** Tables whose columns sort. */
const tables = (() => {
  const ABSENT = "–";

  /** Return what a row is sorted by in a column, or null if its cell has no value. */
  function key(row, column) {
    const { dataset, textContent } = row.cells[column];
    if (dataset.value !== undefined) return dataset.value === "" ? null : Number(dataset.value);
    const text = textContent.trim();
    return text === ABSENT ? null : text.toLowerCase();
  }

  function sortBy(table, column, direction) {
    const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
    const sign = direction === "ascending" ? 1 : -1;
    const keys = new Map(rows.map((row) => [row, key(row, column)]));
    rows.sort((a, b) => {
      const x = keys.get(a), y = keys.get(b);
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * ((x > y) - (x < y));
    });
    body.append(...rows);
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", direction);
  }

  /** Make the columns of a table sort when their headers are pressed. */
  function makeSortable(table) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = page.element("button", "", head.textContent);
      button.type = "button";
      button.addEventListener("click", () => {
        const opposite = { ascending: "descending", descending: "ascending" };
        const first = head.dataset.first || "descending";
        sortBy(table, column, opposite[head.getAttribute("aria-sort")] || first);
      });
      head.replaceChildren(button);
    });
  }

  return { ABSENT, makeSortable, sortBy };
})();
