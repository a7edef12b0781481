"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const form = byId("filters"), table = byId("board"), body = table.tBodies[0];
  const rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const FILTERS = ["inputs", "labels", "source"];
  const ABSENT = "–";

  // ---- sorting

  /** Return what a row is sorted by in a column, or null if its cell has no value. */
  function key(row, column) {
    const { dataset, textContent } = row.cells[column];
    if (dataset.value !== undefined) return dataset.value === "" ? null : Number(dataset.value);
    const text = textContent.trim();
    return text === ABSENT ? null : text.toLowerCase();
  }

  function sortBy(column, direction) {
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

  function addButton(head, column) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => {
      const opposite = { ascending: "descending", descending: "ascending" };
      sortBy(column, opposite[head.getAttribute("aria-sort")] || head.dataset.first);
    });
    head.replaceChildren(button);
  }

  // ---- filtering

  function isWanted(row) {
    const words = byId("search").value.toLowerCase().split(/\s+/);
    const text = row.textContent.toLowerCase();
    return words.every((word) => text.includes(word)) && FILTERS.every((name) => {
      const chosen = byId(name) && byId(name).value;
      return !chosen || row.dataset[name] === chosen;
    });
  }

  function filter() {
    table.dataset.view = byId("view").value;
    let shown = 0;
    for (const row of rows) {
      row.hidden = !isWanted(row);
      shown += !row.hidden;
    }
    byId("shown").textContent = `${shown} of ${rows.length} rows.`;
  }

  heads.forEach(addButton);
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  form.hidden = false;
  filter();
  sortBy(heads.findIndex((head) => head.textContent === "seg. Type"), "descending");
})();
