"use strict";

/** What the scripts of all pages share: elements, and the timeline of a video. */
const page = (() => {
  const STEPS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600];
  const SVG = "http://www.w3.org/2000/svg";

  const byId = (id) => document.getElementById(id);

  function element(tag, style, text) {
    const node = document.createElement(tag);
    if (style) node.className = style;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function row(style, name) {
    const node = element("div", `row ${style}`);
    node.append(element("div", "name", name), element("div", "lane"));
    return node;
  }

  function setSpan(node, onset, offset, seconds) {
    node.style.left = `${(100 * onset) / seconds}%`;
    node.style.width = `${(100 * (offset - onset)) / seconds}%`;
  }

  /** Mark a scale and the lanes of its tracks at round seconds, into at most so many parts. */
  function mark(tracks, scale, seconds, parts, text) {
    const step = STEPS.find((each) => seconds / each <= parts) || seconds;
    const marks = [];
    for (let t = 0; t <= seconds; t += step) {
      const made = element("span", t > 0 && seconds - t < step / 2 ? "is-last" : "", text(t));
      made.style.left = `${(100 * t) / seconds}%`;
      marks.push(made);
    }
    scale.lastChild.replaceChildren(...marks);
    tracks.style.setProperty("--parts", seconds / step);
  }

  /** Return the scores of a class, second by second, with the threshold that decides. */
  function trace(values, threshold) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "trace");
    svg.setAttribute("viewBox", `0 0 ${values.length} 1`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", `M0 1${values.map((value) => `V${(1 - value).toFixed(3)}h1`).join("")}V1Z`);
    const line = document.createElementNS(SVG, "line");
    const ends = { x1: 0, x2: values.length, y1: 1 - threshold, y2: 1 - threshold };
    for (const [name, value] of Object.entries(ends)) line.setAttribute(name, value);
    svg.append(path, line);
    return svg;
  }

  return { byId, element, mark, row, setSpan, trace };
})();

