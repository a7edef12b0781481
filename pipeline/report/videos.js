"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("browser-data").textContent);
  // CSS class (shared with the parse page) and title of each modality.
  const MODALITIES = [["heard", "Audible"], ["seen", "Visible"]];
  const ANNOTATED = 0, STEPS = [1, 2, 5, 10, 20, 30, 60, 120, 300], MOST_MARKS = 12;
  const BATCH = 20;
  const NAME = 0, SPLIT = 1, SEGMENT = 2, EVENT = 3, BARS = 4;
  const splits = byId("split"), classes = byId("class"), rows = byId("videos");
  const heads = [...document.querySelectorAll("#browser th[data-column]")];
  let order = { column: SEGMENT, sign: 1 }, count = BATCH;

  function element(tag, style, text) {
    const node = document.createElement(tag);
    if (style) node.className = style;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  // ---- filtering and sorting

  function matchingVideos() {
    const wanted = classes.value === "" ? null : Number(classes.value);
    const { column, sign } = order;
    const value = (video) => video[column];
    return data.videos
      .filter((video) => !splits.value || video[SPLIT] === splits.value)
      .filter((video) => wanted === null || video[BARS].some((bar) => bar[2] === wanted))
      .sort((a, b) => sign * (value(a) > value(b)) - sign * (value(a) < value(b)));
  }

  // ---- timeline of one video

  function row(style, name) {
    const node = element("div", `row ${style}`);
    node.append(element("div", "name", name), element("div", "lane"));
    return node;
  }

  function setSpan(node, onset, offset) {
    node.style.left = `${(100 * onset) / data.seconds}%`;
    node.style.width = `${(100 * (offset - onset)) / data.seconds}%`;
  }

  function scale(step) {
    const node = row("scale", "seconds");
    for (let t = 0; t <= data.seconds; t += step) {
      const mark = element("span", t > 0 && data.seconds - t < step / 2 ? "is-last" : "", String(t));
      mark.style.left = `${(100 * t) / data.seconds}%`;
      node.lastChild.append(mark);
    }
    return node;
  }

  /** Return one row per class and modality, annotated above predicted, with a text alternative. */
  function tracks(video) {
    const node = element("div", "tracks");
    const step = STEPS.find((seconds) => data.seconds / seconds <= MOST_MARKS) || data.seconds;
    node.style.setProperty("--parts", data.seconds / step);
    node.append(scale(step));
    const words = [];
    MODALITIES.forEach(([style, title], modality) => {
      const bars = video[BARS].filter((bar) => bar[0] === modality);
      const head = row(`head ${style}`, title);
      if (!bars.length) {
        head.lastChild.textContent = "No events annotated or predicted.";
        head.classList.add("is-empty");
      }
      node.append(head);
      for (const index of [...new Set(bars.map((bar) => bar[2]))].sort((a, b) => a - b)) {
        const line = row(style, data.classes[index]);
        for (const [, kind, of, onset, offset] of bars) {
          if (of !== index) continue;
          const name = kind === ANNOTATED ? "annotated" : "predicted";
          const bar = element("div", `bar ${name}`);
          bar.title = `${data.classes[index]}, ${title.toLowerCase()}, ${name}, ${onset} to ${offset} s`;
          words.push(bar.title);
          setSpan(bar, onset, offset);
          line.lastChild.append(bar);
        }
        node.append(line);
      }
    });
    node.setAttribute("role", "img");
    node.setAttribute("aria-label", words.join("; ") || "no events");
    return node;
  }

  // ---- list of videos

  function videoRow(video) {
    const node = element("tr"), name = element("th", "text"), button = element("button", "", video[NAME]);
    name.scope = "row";
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    name.append(button);
    node.append(
      name,
      element("td", "text", video[SPLIT] === "val" ? "validation" : video[SPLIT]),
      element("td", "", video[SEGMENT].toFixed(1)),
      element("td", "", video[EVENT].toFixed(1)),
    );
    button.addEventListener("click", () => toggle(node, video));
    return node;
  }

  function toggle(line, video) {
    const button = line.querySelector("button");
    const isOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) return line.nextSibling.remove();
    const detail = element("tr", "detail"), cell = element("td", "text");
    cell.colSpan = heads.length;
    cell.append(tracks(video));
    detail.append(cell);
    line.after(detail);
  }

  function draw() {
    const found = matchingVideos(), shown = found.slice(0, count);
    for (const head of heads) {
      const isSorted = Number(head.dataset.column) === order.column;
      if (isSorted) head.setAttribute("aria-sort", order.sign > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    }
    rows.replaceChildren(...shown.map(videoRow));
    byId("shown").textContent = `${shown.length} of ${found.length} videos.`;
    byId("more").hidden = shown.length === found.length;
    if (shown.length) toggle(rows.firstChild, shown[0]);
  }

  function restart() {
    count = BATCH;
    draw();
  }

  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const column = Number(head.dataset.column);
      order = { column, sign: column === order.column ? -order.sign : 1 };
      restart();
    });
  }
  splits.addEventListener("change", restart);
  classes.addEventListener("change", restart);
  byId("more").addEventListener("click", () => {
    const next = count;
    count += BATCH;
    draw();
    rows.querySelectorAll("th button")[next].focus();
  });
  rows.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const buttons = [...rows.querySelectorAll("th button")];
    const next = buttons[buttons.indexOf(event.target) + step];
    if (next) next.focus();
    event.preventDefault();
  });
  data.classes.forEach((name, index) => classes.append(new Option(name, index)));
  byId("browser").hidden = false;
  draw();
})();
