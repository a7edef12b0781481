(() => {
  const { byId, element, row } = page;
  const data = JSON.parse(byId("data").textContent);
  const media = byId("media");
  const slider = byId("threshold");
  const tracks = byId("tracks");
  const HEARD = 0, SEEN = 1;
  const TITLES = ["Heard", "Seen"], STYLES = ["heard", "seen"];
  const ABSENT = ["The file has no sound.", "The file has no pictures."];
  const PIXELS_PER_SECOND = 4; // at least; the timeline of a long video scrolls
  const NARROW = 38; // narrowest bar that shows its confidence, in pixels
  const MARK = 52; // space for a time on the scale, in pixels
  const NUDGE = 0.05; // how far a key moves the threshold
  const written = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 20 });

  let threshold = data.threshold; // not the slider's value, which is rounded to steps
  let position = 0; // in seconds, if the page plays nothing

  // ---- events from scores

  function runs(seconds, isActive) {
    const found = [];
    for (let t = 0, onset = -1; t <= seconds; t++) {
      const active = t < seconds && isActive(t);
      if (active && onset < 0) onset = t;
      if (!active && onset >= 0) {
        found.push({ onset, offset: t });
        onset = -1;
      }
    }
    return found;
  }

  // As in events.py, operation by operation, so that both write the same digits.
  const halfUp = (value, scale) => Math.floor(value * scale + 0.5) / scale;
  const two = (confidence) => halfUp(confidence, 100).toFixed(2);

  function mean(onset, offset, value) {
    let sum = 0;
    for (let t = onset; t < offset; t++) sum += value(t);
    return halfUp(sum / (offset - onset) / data.scale, data.scale);
  }

  /** Events for the tracks, and for the table, where every second has one modality. */
  function eventsNow() {
    const counts = (score) => score / data.scale >= threshold;
    const bars = [[], []], rows = [];
    data.classes.forEach((name, index) => {
      const [audio, visual] = data.scores.map((track) => track[index]);
      [audio, visual].forEach((values, track) => {
        for (const run of runs(data.seconds, (t) => counts(values[t]))) {
          const confidence = mean(run.onset, run.offset, (t) => values[t]);
          bars[track].push({ ...run, index, name, confidence });
        }
      });
      const smaller = (t) => Math.min(audio[t], visual[t]);
      const kinds = [
        ["audible", (t) => counts(audio[t]) && !counts(visual[t]), (t) => audio[t]],
        ["visible", (t) => counts(visual[t]) && !counts(audio[t]), (t) => visual[t]],
        ["both", (t) => counts(smaller(t)), smaller],
      ];
      for (const [modality, isActive, value] of kinds) {
        for (const run of runs(data.seconds, isActive)) {
          const confidence = mean(run.onset, run.offset, value);
          rows.push({ ...run, index, name, modality, confidence });
        }
      }
    });
    rows.sort((a, b) => a.onset - b.onset || a.index - b.index || a.offset - b.offset);
    return { bars, rows };
  }

  // ---- drawing

  function clock(seconds) {
    const whole = Math.floor(seconds);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  }

  // The event of each button, with its kind: a track or a modality.
  const eventOf = new WeakMap();

  function bar(event, track) {
    const made = element("button", "bar", two(event.confidence));
    made.type = "button";
    page.setSpan(made, event.onset, event.offset, data.seconds);
    const span = `${clock(event.onset)} to ${clock(event.offset)}`;
    const words = `${event.name}, ${STYLES[track]}, ${span}, confidence ${two(event.confidence)}`;
    made.setAttribute("aria-label", words);
    made.title = words;
    eventOf.set(made, { ...event, kind: track });
    return made;
  }

  function trackRows(track, bars) {
    const head = row(`head ${STYLES[track]}`, TITLES[track]);
    const made = [head];
    if (!bars.length) {
      head.lastChild.textContent = data.present[track] ? "Nothing at this threshold." : ABSENT[track];
      head.classList.add("is-empty");
    }
    for (const index of [...new Set(bars.map((event) => event.index))]) {
      const line = row(STYLES[track], data.classes[index]);
      line.dataset.track = track;
      line.dataset.index = index;
      const scores = data.scores[track][index].map((value) => value / data.scale);
      line.lastChild.append(page.trace(scores, threshold));
      for (const event of bars) if (event.index === index) line.lastChild.append(bar(event, track));
      made.push(line);
    }
    return made;
  }

  function tableRow(event) {
    const made = element("tr");
    const jump = element("button", "", clock(event.onset));
    jump.type = "button";
    eventOf.set(jump, { ...event, kind: event.modality });
    jump.setAttribute("aria-label", `Go to ${clock(event.onset)}, ${event.name}`);
    const name = element("th", "text", event.name);
    name.scope = "row";
    const from = element("td");
    from.append(jump);
    made.append(
      from,
      element("td", "", clock(event.offset)),
      name,
      element("td", "text", event.modality),
      element("td", "", two(event.confidence)),
    );
    return made;
  }

  function noRow() {
    const made = element("tr");
    const only = element("td", "text quiet", "No event at this threshold.");
    only.colSpan = 5;
    made.append(only);
    return made;
  }

  let shown = { bars: [[], []], rows: [] };

  function draw() {
    const held = document.activeElement, region = held.closest("#timeline, .events");
    drawTracks();
    drawTable();
    if (!held.isConnected) (sameEvent(held, region) || region).focus({ preventScroll: true });
  }

  function drawTracks() {
    shown = eventsNow();
    byId("value").textContent = written.format(threshold);
    slider.setAttribute("aria-valuetext", written.format(threshold));
    const [heard, seen] = shown.bars.map((bars) => bars.length);
    byId("summary").textContent = `Events at this threshold: ${heard} heard, ${seen} seen.`;
    tracks.replaceChildren(
      row("scale", ""),
      ...trackRows(HEARD, shown.bars[HEARD]),
      ...trackRows(SEEN, shown.bars[SEEN]),
    );
    fit();
    follow();
  }

  function drawTable() {
    byId("rows").replaceChildren(...(shown.rows.length ? shown.rows.map(tableRow) : [noRow()]));
  }

  /** Find the button that replaces a removed one; its event may be longer or shorter. */
  function sameEvent(gone, region) {
    const was = eventOf.get(gone);
    return [...region.querySelectorAll("button")].find((made) => {
      const is = eventOf.get(made);
      const isSame = is.kind === was.kind && is.index === was.index;
      return isSame && is.onset < was.offset && was.onset < is.offset;
    });
  }

  function fit() {
    const scale = tracks.querySelector(".scale"), width = scale.lastChild.clientWidth;
    page.mark(tracks, scale, data.seconds, Math.max(1, width / MARK), clock);
    const bars = [...tracks.querySelectorAll(".bar")];
    // Read all widths before any change: reading one after a change triggers a new layout.
    const widths = bars.map((made) => made.getBoundingClientRect().width);
    bars.forEach((made, place) => made.classList.toggle("is-narrow", widths[place] < NARROW));
  }

  // ---- time

  function now() {
    return Math.min(media ? media.currentTime : position, data.seconds);
  }

  function seek(seconds) {
    position = Math.max(0, Math.min(seconds, media?.duration || data.seconds));
    if (media) media.currentTime = position;
    follow();
    keepInSight(now());
  }

  function follow() {
    const time = now();
    tracks.style.setProperty("--now", time / data.seconds);
    const active = shown.bars.map((bars) => bars.filter((e) => e.onset <= time && time < e.offset));
    const names = active.map((events) => events.map((event) => event.name).join(", ") || "nothing");
    byId("time").textContent = `${clock(time)} of ${clock(data.seconds)}`;
    byId("now-heard").textContent = names[HEARD];
    byId("now-seen").textContent = names[SEEN];
    const keys = new Set(active.flatMap((events, track) => events.map((e) => `${track}/${e.index}`)));
    for (const line of tracks.querySelectorAll("[data-track]")) {
      line.classList.toggle("is-now", keys.has(`${line.dataset.track}/${line.dataset.index}`));
    }
    if (media && !media.paused) keepInSight(time);
  }

  function keepInSight(time) {
    const scroller = byId("timeline");
    const lane = tracks.querySelector(".lane");
    const place = lane.offsetLeft + (lane.offsetWidth * time) / data.seconds;
    if (place < scroller.scrollLeft + lane.offsetLeft || place > scroller.scrollLeft + scroller.clientWidth) {
      scroller.scrollLeft = place - scroller.clientWidth / 3;
    }
  }

  function everyFrame() {
    follow();
    if (!media.paused) requestAnimationFrame(everyFrame);
  }

  // ---- saving what is shown, in the formats of tables.py

  const described = (event) =>
    `${event.name} (${data.words[event.modality]}, ${two(event.confidence)})`;

  function csv(cells) {
    const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
    return `${cells.map((cell) => quoted(String(cell))).join(",")}\n`;
  }

  function longClock(seconds) {
    const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
    return `${parts.map((part) => String(part).padStart(2, "0")).join(":")}.000`;
  }

  const FORMATS = {
    csv: (rows) => [
      data.columns,
      ...rows.map((event) => [
        data.about.name, event.onset, event.offset, data.labels[event.index], event.modality,
        event.confidence.toFixed(4),
      ]),
    ].map(csv).join(""),
    json: (rows) => {
      const thresholds = { ...data.about.thresholds, chosen: threshold };
      const events = rows.map(({ index, modality, onset, offset, confidence }) => (
        { class: data.labels[index], modality, onset, offset, confidence }
      ));
      return `${JSON.stringify({ ...data.about, thresholds, events }, null, 1)}\n`;
    },
    vtt: (rows) => ["WEBVTT\n", ...rows.map((event) => {
      const text = described(event).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
      return `${longClock(event.onset)} --> ${longClock(event.offset)}\n${text}\n`;
    })].join("\n"),
    txt: (rows) => rows.map((event) =>
      `${event.onset.toFixed(6)}\t${event.offset.toFixed(6)}\t${described(event)}\n`).join(""),
  };

  function save(format) {
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([FORMATS[format](eventsNow().rows)], { type: "text/plain" }));
    link.download = `${data.about.name}-${threshold}.${format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  byId("save").hidden = false;
  byId("save").addEventListener("click", (event) => {
    if (event.target.dataset.format) save(event.target.dataset.format);
  });

  // ---- input

  document.addEventListener("click", (event) => {
    const jump = eventOf.get(event.target);
    if (jump) return seek(jump.onset);
    const lane = event.target.closest(".lane");
    if (!lane) return;
    const box = lane.getBoundingClientRect();
    seek((data.seconds * (event.clientX - box.left)) / box.width);
  });

  function setThreshold(value) {
    threshold = Math.max(Number(slider.min), Math.min(value, Number(slider.max)));
    slider.value = threshold;
    draw();
  }

  function nudge(by) {
    setThreshold(Math.round((threshold + by) * data.scale) / data.scale);
  }

  // Up, down and Home scroll the page, as do the other arrows and space if nothing plays.
  const KEYS = {
    0: () => seek(0),
    "[": () => nudge(-NUDGE),
    "]": () => nudge(NUDGE),
    ...(media && {
      " ": () => (media.paused ? media.play() : media.pause()),
      ArrowLeft: (event) => seek(now() - (event.shiftKey ? 10 : 1)),
      ArrowRight: (event) => seek(now() + (event.shiftKey ? 10 : 1)),
    }),
  };

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || !(event.key in KEYS)) return;
    const isThreshold = event.key === "[" || event.key === "]";
    // Sliders handle arrows and buttons handle space themselves.
    if (!isThreshold && event.target === slider) return;
    if (event.key === " " && event.target.closest("button, a, summary")) return;
    event.preventDefault();
    KEYS[event.key](event);
  }, true);

  slider.addEventListener("input", () => {
    threshold = Number(slider.value);
    drawTracks();
  });
  slider.addEventListener("change", drawTable); // on release: thousands of rows are too slow to draw while it moves
  byId("reset").addEventListener("click", () => setThreshold(data.threshold));
  addEventListener("resize", fit);

  if (media) {
    const content = byId("content");
    if (content) {
      const bytes = Uint8Array.from(atob(content.textContent), (mark) => mark.charCodeAt(0));
      content.remove();
      // Not a data: URL, which Safari does not play.
      media.src = URL.createObjectURL(new Blob([bytes], { type: media.dataset.type }));
    }
    for (const kind of ["seeked", "timeupdate", "loadedmetadata"]) media.addEventListener(kind, follow);
    media.addEventListener("play", everyFrame);
  }
  tracks.style.minWidth = `${PIXELS_PER_SECOND * data.seconds}px`;
  draw();
})();
