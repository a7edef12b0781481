
/** Classes, confusions and curves of the method that the reader chose. */
(() => {
  const { byId, element } = page, { ABSENT, makeSortable } = tables;
  const data = JSON.parse(byId("details-data").textContent);
  const MODALITIES = [["heard", "audio"], ["seen", "visual"]];
  const NOTHING = "nothing", MOST_CLASSES = 40;
  const method = byId("method"), table = byId("class-table");
  const percent = (value) => (value === null ? ABSENT : value.toFixed(1));

  // ---- classes

  function numberCell(value, text) {
    const cell = element("td", "", text);
    cell.dataset.value = value === null ? "" : value;
    return cell;
  }

  function f1Cell(value, style) {
    const cell = numberCell(value, percent(value));
    cell.className = `meter ${style}`;
    cell.style.setProperty("--percent", value === null ? 0 : value);
    return cell;
  }

  function classRow([track, index, videos, seconds, precision, recall, f1, low, high, event]) {
    const [style, modality] = MODALITIES[track];
    const row = element("tr"), head = element("th", "text wrap", data.classes[index]);
    head.scope = "row";
    row.append(
      head,
      element("td", "text", modality),
      f1Cell(f1, style),
      f1Cell(event, style),
      numberCell(precision, percent(precision)),
      numberCell(recall, percent(recall)),
      numberCell(low, low === null ? ABSENT : `${percent(low)} to ${percent(high)}`),
      numberCell(videos, String(videos)),
      numberCell(seconds, String(seconds)),
    );
    return row;
  }

  function drawClasses(chosen) {
    const rows = [...chosen.classes].sort((a, b) => a[1] - b[1] || a[0] - b[0]);
    table.tBodies[0].replaceChildren(...rows.map(classRow));
    [...table.tHead.rows[0].cells].forEach((head) => head.removeAttribute("aria-sort"));
  }

  // ---- confusion

  const sums = (cells, of) => {
    const found = new Map();
    for (const cell of cells) found.set(cell[of], (found.get(cell[of]) || 0) + cell[2]);
    return found;
  };

  /** Return a table of annotated (rows) against predicted (columns), shaded by percent of the row. */
  function matrix(labels, cells, style, withCounts) {
    const totals = sums(cells, 0), values = new Map(cells.map(([r, c, n]) => [`${r} ${c}`, n]));
    const made = element("table", `matrix ${style}`), head = element("tr");
    head.append(element("td"));
    for (const [, name] of labels) {
      const column = element("th"), text = element("span", "", name);
      column.scope = "col";
      column.title = name;
      column.append(text);
      head.append(column);
    }
    made.append(element("thead"), element("tbody"));
    made.tHead.append(head);
    for (const [row, name] of labels) {
      if (!totals.get(row)) continue;
      const line = element("tr"), first = element("th", "text", name);
      first.scope = "row";
      first.title = name;
      line.append(first);
      for (const [column, other] of labels) {
        const count = values.get(`${row} ${column}`) || 0, share = (100 * count) / totals.get(row);
        const cell = element("td", row === column ? "is-right" : "", count ? share.toFixed(withCounts ? 1 : 0) : "");
        cell.style.setProperty("--percent", share.toFixed(1));
        cell.title = `${name}, predicted as ${other}: ${count.toFixed(0)} s, ${share.toFixed(1)}%`;
        if (withCounts && count) cell.append(element("small", "", count.toFixed(0)));
        line.append(cell);
      }
      made.tBodies[0].append(line);
    }
    return made;
  }

  /** Return the classes with the most wrong seconds, at most MOST_CLASSES, and nothing. */
  function labelsOf(cells) {
    const nothing = data.classes.length;
    const wrong = new Map(), weigh = (index, n) => wrong.set(index, (wrong.get(index) || 0) + n);
    for (const [row, column, count] of cells) {
      weigh(row, row === column ? 0 : count);
      weigh(column, row === column ? 0 : count);
    }
    wrong.delete(nothing);
    const shown = [...wrong].sort((a, b) => b[1] - a[1]).slice(0, MOST_CLASSES).map(([index]) => index);
    shown.sort((a, b) => a - b);
    return [...shown.map((index) => [index, data.classes[index]]), [nothing, NOTHING]];
  }

  function scrolling(content, label) {
    const frame = element("div", "scroll");
    frame.setAttribute("role", "region");
    frame.setAttribute("aria-label", label);
    frame.tabIndex = 0;
    frame.append(content);
    return frame;
  }

  /** Return the pairs of different classes that are confused most. */
  function commonest(chosen) {
    const pairs = chosen.confusion.flatMap((cells, track) => {
      const totals = sums(cells, 0), nothing = data.classes.length;
      return cells
        .filter(([row, column]) => row !== column && row !== nothing && column !== nothing)
        .map(([row, column, count]) => [track, row, column, count, (100 * count) / totals.get(row)]);
    });
    const list = element("ol", "commonest");
    for (const [track, row, column, count, share] of pairs.sort((a, b) => b[3] - a[3]).slice(0, 8)) {
      const [style, modality] = MODALITIES[track], item = element("li", style);
      item.append(
        element("b", "", data.classes[row]), " taken for ", element("b", "", data.classes[column]),
        element("span", "quiet", ` ${modality}, ${count.toFixed(0)} s, ${share.toFixed(0)}%`),
      );
      list.append(item);
    }
    return pairs.length ? [element("h4", "", "Most seconds"), list] : [];
  }

  function drawConfusion(chosen) {
    const parts = commonest(chosen);
    MODALITIES.forEach(([style, modality], track) => {
      const cells = chosen.confusion[track], labels = labelsOf(cells);
      const title = `${modality[0].toUpperCase()}${modality.slice(1)} classes`;
      parts.push(element("h4", "", title), scrolling(matrix(labels, cells, style, false), title));
      const all = new Set(cells.flatMap(([row, column]) => [row, column])).size;
      if (all > labels.length) {
        parts.push(element("p", "note", `The ${MOST_CLASSES} classes with the most wrong seconds.`));
      }
    });
    byId("class-confusion").replaceChildren(...parts);
    const states = data.states.map((name, index) => [index, name]);
    byId("state-confusion").replaceChildren(
      scrolling(matrix(states, chosen.states, "states", true), "Modalities"),
    );
  }

  // ---- curves

  const SPACE = "http://www.w3.org/2000/svg";
  const WIDTH = 460, HEIGHT = 300, LEFT = 46, BELOW = 42, ABOVE = 10, RIGHT = 12;

  function drawn(tag, attributes, text) {
    const node = document.createElementNS(SPACE, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  /** Return a chart of lines; x runs from 0 to `most`, y from 0 to 100. */
  function chart({ title, x, y, most, lines, own }) {
    const across = (value) => LEFT + ((WIDTH - LEFT - RIGHT) * value) / most;
    const down = (value) => ABOVE + (HEIGHT - ABOVE - BELOW) * (1 - value / 100);
    const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "chart", "aria-label": title });
    for (const value of [0, 20, 40, 60, 80, 100]) {
      svg.append(
        drawn("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: down(value), y2: down(value) }),
        drawn("text", { x: LEFT - 8, y: down(value) + 4, "text-anchor": "end" }, String(value)),
        drawn("text", { x: across((most * value) / 100), y: HEIGHT - BELOW + 18, "text-anchor": "middle" }, String((most * value) / 100)),
      );
    }
    svg.append(
      drawn("text", { x: across(most / 2), y: HEIGHT - 6, "text-anchor": "middle" }, x),
      drawn("text", { x: 12, y: down(50), "text-anchor": "middle", transform: `rotate(-90 12 ${down(50)})` }, y),
    );
    if (own !== undefined) {
      svg.append(drawn("line", { class: "own", x1: across(own), x2: across(own), y1: down(0), y2: down(100) }));
    }
    for (const { style, points, mark } of lines) {
      const path = points.map(([a, b], i) => `${i ? "L" : "M"}${across(a).toFixed(1)} ${down(b).toFixed(1)}`);
      svg.append(drawn("path", { class: `line ${style}`, d: path.join("") }));
      if (mark) svg.append(drawn("circle", { class: `mark ${style}`, cx: across(mark[0]), cy: down(mark[1]), r: 5 }));
    }
    const figure = element("figure"), keys = element("p", "keys-of-chart");
    for (const { style, name } of lines) keys.append(element("span", `line-key ${style}`, name));
    figure.append(element("h3", "", title), keys, svg);
    return figure;
  }

  function nearest(points, threshold) {
    return points.reduce((a, b) => (Math.abs(b[0] - threshold) < Math.abs(a[0] - threshold) ? b : a));
  }

  function drawCurves({ name, curves }) {
    const box = byId("curves");
    if (!curves) {
      box.replaceChildren(element("p", "", `${name}: no probabilities, so no curves.`));
      return;
    }
    const levels = ["segment level", "event level"].map((level, index) => ({
      name: level, style: index ? "dashed" : "solid",
      points: curves.sweep[index].map((value, step) => [data.thresholds[step], value]),
    }));
    const modalities = MODALITIES.map(([style, modality], track) => {
      const points = curves.precisionRecall[track];
      const mark = points.length ? nearest(points, curves.own).slice(1) : undefined;
      return { name: modality, style, points: points.map((point) => point.slice(1)), mark };
    });
    const own = `the method's own, ${curves.own}`;
    const figures = element("div", "figures");
    figures.append(
      chart({ title: "Type@AV by threshold, percent", x: "segment threshold", y: "Type@AV", most: 1, lines: levels, own: curves.own }),
      chart({ title: "Precision by recall, percent", x: "recall", y: "precision", most: 100, lines: modalities }),
    );
    const caption = `Validation videos: ${curves.videos}, first seed. The thresholds for seconds and for the`
      + ` whole video move together. In the first chart the dotted line is ${own}. The second one`
      + " counts the seconds of all classes together; its dots are at the same threshold.";
    box.replaceChildren(figures, element("p", "caption", caption));
  }

  // ---- the chosen method

  function draw() {
    const chosen = data.methods[method.value];
    const count = chosen.seeds;
    byId("method-seeds").textContent = count === 0 ? "no training"
      : `${count === 1 ? "one seed" : `mean of ${count} seeds`}; videos and curves: the first`;
    drawClasses(chosen);
    drawConfusion(chosen);
    drawCurves(chosen);
  }

  makeSortable(table);
  method.addEventListener("change", draw);
  byId("by-method").hidden = false;
  draw();
})();
