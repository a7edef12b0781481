
(() => {
  const { byId } = page;
  const form = byId("filters"), table = byId("board"), body = table.tBodies[0];
  const rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const FILTERS = ["inputs", "labels", "source"];

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

  tables.makeSortable(table);
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  form.hidden = false;
  filter();
  tables.sortBy(table, heads.findIndex((head) => head.textContent === "seg. Type"), "descending");
})();
