// Small charts of the last two minutes, one value a second.

const SVG = "http://www.w3.org/2000/svg";
const SPAN_S = 120;
const HEIGHT = 100;
const GAP_S = 5; // a line is broken where longer nothing came

/** The next round number that is not below a value. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

/**
 * A chart in a card.
 *
 * kind: "line", "stack" (areas on top of each other) or "bars".
 * format: text of one value.
 */
export class Chart {
  constructor(parent, { title, kind, format }) {
    this.kind = kind;
    this.format = format;
    this.series = [];
    this.seconds = [];
    this.hovered = null;
    const card = document.getElementById("chart").content.cloneNode(true).firstElementChild;
    card.querySelector("h2").textContent = title;
    this.card = card;
    this.svg = card.querySelector("svg");
    this.svg.setAttribute("viewBox", `0 0 ${SPAN_S} ${HEIGHT}`);
    const plot = card.querySelector(".plot");
    plot.addEventListener("pointermove", (event) => this.hover(event));
    plot.addEventListener("pointerleave", () => this.hover(null));
    parent.append(card);
  }

  /**
   * Show values.
   *
   * series: [{label, colour}]; seconds: [{at, values}], oldest first, a value for each series or null;
   * now: the latest second; summary: text at the right of the title.
   */
  show(series, seconds, now, summary) {
    Object.assign(this, { series, now });
    this.seconds = seconds.filter((second) => second.at > now - SPAN_S);
    this.card.querySelector(".summary").textContent = summary;
    this.draw();
  }

  hover(event) {
    const box = this.svg.getBoundingClientRect();
    this.hovered = event && this.now - SPAN_S + ((event.clientX - box.left) / box.width) * SPAN_S;
    this.draw();
  }

  draw() {
    const shown = this.seconds.filter((second) => second.values.some((value) => value !== null));
    const total = (values) => values.reduce((sum, value) => sum + (value ?? 0), 0);
    const highest = (values) => (this.kind === "stack" ? total(values) : Math.max(...values));
    const top = roundUp(Math.max(0.001, ...shown.map((second) => highest(second.values))));
    const isEmpty = shown.every((second) => total(second.values) === 0);
    this.card.querySelector(".top").textContent = isEmpty ? "" : this.format(top);
    const paths = isEmpty ? [] : this.series.map((one, row) => this.path(one, row, shown, top));
    const near = this.nearest(shown);
    if (near && this.hovered !== null) paths.push(this.cursor(near.at));
    this.svg.replaceChildren(...paths);
    this.legend(near);
  }

  /** The second under the pointer, else the latest one. */
  nearest(shown) {
    if (this.hovered === null) return shown.at(-1);
    const distance = (second) => Math.abs(second.at + 0.5 - this.hovered);
    return shown.reduce((best, one) => (best && distance(best) <= distance(one) ? best : one), null);
  }

  path(one, row, shown, top) {
    const x = (at) => at + 0.5 - (this.now - SPAN_S);
    const y = (value) => (HEIGHT * (1 - value / top)).toFixed(2);
    const path = document.createElementNS(SVG, "path");
    const sum = (values, end) => values.slice(0, end).reduce((all, value) => all + (value ?? 0), 0);
    if (this.kind === "bars") {
      const bar = ({ at, values }) => `M${x(at) - 0.4} ${HEIGHT}V${y(values[row])}h0.8V${HEIGHT}z`;
      path.setAttribute("d", shown.filter(({ values }) => values[row]).map(bar).join(""));
      path.style.fill = one.colour;
    } else if (this.kind === "stack") {
      const upper = shown.map(({ at, values }) => `${x(at)} ${y(sum(values, row + 1))}`);
      const lower = shown.map(({ at, values }) => `${x(at)} ${y(sum(values, row))}`).reverse();
      path.setAttribute("d", `M${[...upper, ...lower].join("L")}z`);
      path.style.fill = one.colour;
    } else {
      path.setAttribute("d", this.line(shown, row, x, y));
      path.setAttribute("class", "line");
      path.style.stroke = one.colour;
    }
    return path;
  }

  /** A line with gaps where seconds are missing. */
  line(shown, row, x, y) {
    let text = "";
    let before = null;
    for (const { at, values } of shown) {
      if (values[row] === null) continue;
      // "h0" makes a dot of a lonely value.
      text += before !== null && at - before <= GAP_S ? `L${x(at)} ${y(values[row])}` : `M${x(at)} ${y(values[row])}h0`;
      before = at;
    }
    return text;
  }

  cursor(at) {
    const path = document.createElementNS(SVG, "path");
    const x = at + 0.5 - (this.now - SPAN_S);
    path.setAttribute("d", `M${x} 0V${HEIGHT}`);
    path.setAttribute("class", "cursor");
    return path;
  }

  legend(second) {
    const items = this.series.map((one, row) => {
      const item = document.createElement("li");
      const key = document.createElement("i");
      const value = document.createElement("b");
      key.style.background = one.colour;
      const number = second?.values[row] ?? null;
      value.textContent = number === null ? "–" : this.format(number);
      item.append(key, one.label, " ", value);
      return item;
    });
    this.card.querySelector(".legend").replaceChildren(...items);
  }
}
