
/** The list of videos, each with its timeline and, where its file is there, its clip. */
(() => {
  const { byId, element, row } = page;
  const data = JSON.parse(byId("browser-data").textContent);
  // CSS class (shared with the parse page) and title of each modality.
  const MODALITIES = [["heard", "Audible"], ["seen", "Visible"]];
  const MOST_MARKS = 12, BATCH = 20;
  const NAME = 0, SPLIT = 1, SEGMENT = 2, EVENT = 3;
  const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  const method = byId("method"), splits = byId("split"), classes = byId("class"), rows = byId("videos");
  const heads = [...document.querySelectorAll("#browser th[data-column]")];
  let order = { column: SEGMENT, sign: 1 }, count = BATCH;

  /** Return bars, four numbers each, as objects. */
  function barsOf(numbers, kind) {
    const bars = [];
    for (let i = 0; i < numbers.length; i += 4) {
      const [modality, index, onset, offset] = numbers.slice(i, i + 4);
      bars.push({ kind, modality, index, onset, offset });
    }
    return bars;
  }

  /** Return the videos of the chosen method: what its list shows, its bars, scores and clip. */
  function videosOf({ threshold, videos }) {
    return videos.flatMap((result, at) => {
      if (!result) return [];
      const [name, split, annotated, clip] = data.videos[at], [segment, event, predicted, traces] = result;
      const bars = [...barsOf(annotated, "annotated"), ...barsOf(predicted, "predicted")];
      return [{ cells: [name, split, segment, event], bars, traces, threshold, clip }];
    });
  }

  // ---- filtering and sorting

  function matchingVideos() {
    const wanted = classes.value === "" ? null : Number(classes.value);
    const { column, sign } = order;
    const value = (video) => video.cells[column];
    return videosOf(data.results[method.value])
      .filter((video) => !splits.value || video.cells[SPLIT] === splits.value)
      .filter((video) => wanted === null || video.bars.some((bar) => bar.index === wanted))
      .sort((a, b) => sign * (value(a) > value(b)) - sign * (value(a) < value(b)));
  }

  // ---- timeline of one video

  const digits = (text) => [...text].map((digit) => DIGITS.indexOf(digit) / (DIGITS.length - 1));

  /** Return one row per class and modality, annotated above predicted, with a text alternative. */
  function tracks(video) {
    const traces = video.traces.map(digits);
    const node = element("div", "tracks"), scale = row("scale", "seconds");
    page.mark(node, scale, data.seconds, MOST_MARKS, String);
    node.append(scale);
    const words = [];
    MODALITIES.forEach(([style, title], modality) => {
      const bars = video.bars.filter((bar) => bar.modality === modality);
      const head = row(`head ${style}`, title);
      if (!bars.length) {
        head.lastChild.textContent = "No events annotated or predicted.";
        head.classList.add("is-empty");
      }
      node.append(head);
      for (const index of [...new Set(bars.map((bar) => bar.index))].sort((a, b) => a - b)) {
        const line = row(style, data.classes[index]), scores = traces.shift();
        if (scores) line.lastChild.append(page.trace(scores, video.threshold));
        for (const { kind, index: of, onset, offset } of bars) {
          if (of !== index) continue;
          const bar = element("div", `bar ${kind}`);
          bar.title = `${data.classes[index]}, ${title.toLowerCase()}, ${kind}, ${onset} to ${offset} s`;
          if (scores) {
            const inside = scores.slice(onset, offset);
            const mean = inside.reduce((sum, value) => sum + value, 0) / inside.length;
            bar.title += `, mean score ${mean.toFixed(2)}`;
          }
          words.push(bar.title);
          page.setSpan(bar, onset, offset, data.seconds);
          line.lastChild.append(bar);
        }
        node.append(line);
      }
    });
    node.setAttribute("role", "img");
    node.setAttribute("aria-label", words.join("; ") || "no events");
    return node;
  }

  // ---- the clip of one video

  /** Return a player of the video's window, whose time moves a line over the tracks. */
  function player([url, start, end], lines) {
    const node = element("video", "clip");
    node.controls = true;
    node.preload = "metadata";
    node.playsInline = true;
    node.src = `${url}#t=${start + 0.01},${end}`; // past 0, so that browsers show a picture
    const seconds = () => Math.min(Math.max(node.currentTime - start, 0), data.seconds);
    node.addEventListener("timeupdate", () => {
      lines.style.setProperty("--now", seconds() / data.seconds);
      if (node.currentTime >= end) node.pause();
    });
    node.addEventListener("error", () => {
      node.replaceWith(element("p", "note", `Cannot play ${decodeURIComponent(url)}: it is not there, or this browser cannot decode it.`));
      lines.classList.remove("can-play");
    });
    lines.classList.add("can-play");
    lines.addEventListener("click", (event) => {
      const lane = event.target.closest(".lane");
      if (!lane) return;
      const { left, width } = lane.getBoundingClientRect();
      node.currentTime = start + (data.seconds * (event.clientX - left)) / width;
    });
    return node;
  }

  // ---- list of videos

  function videoRow(video) {
    const node = element("tr"), name = element("th", "text");
    const button = element("button", "", video.cells[NAME]);
    name.scope = "row";
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    name.append(button);
    node.append(
      name,
      element("td", "text", video.cells[SPLIT] === "val" ? "validation" : video.cells[SPLIT]),
      element("td", "", video.cells[SEGMENT].toFixed(1)),
      element("td", "", video.cells[EVENT].toFixed(1)),
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
    const lines = tracks(video);
    if (video.clip) cell.append(player(video.clip, lines));
    cell.append(lines);
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
    const isSample = data.videos.length < data.total;
    byId("shown").textContent = `${shown.length} of ${found.length} videos`
      + (isSample ? `; this page has ${data.videos.length} of ${data.total}, evenly spaced.` : ".");
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
  method.addEventListener("change", restart);
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
  byId("playable").hidden = !data.videos.some((video) => video[3]);
  draw();
})();
