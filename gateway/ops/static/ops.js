// The page draws its plots here, and says so when its node does not answer.
// Everything else is HTML that the node makes and htmx asks for.
(() => {
  "use strict";
  const live = document.getElementById("live");
  const stale = document.getElementById("stale");
  const patience = 5000; // ms without an answer, after which what is shown is old
  const plots = new Map(); // by the figure's id
  let answered = Date.now();

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // rate writes bytes per second the way the node does.
  function rate(units, language) {
    return (v) => {
      let unit = 0;
      while (v >= 1000 && unit < units.length - 1) { v /= 1000; unit++; }
      const digits = unit > 0 && v < 9.95 ? 1 : 0;
      return v.toLocaleString(language, { maximumFractionDigits: digits }) + "\u00a0" + units[unit] + "/s";
    };
  }

  function options(figure, lines, width) {
    const language = document.documentElement.lang;
    const written = rate(figure.dataset.units.split(" "), language);
    const time = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
    const axis = { stroke: style("--quiet"), grid: { stroke: style("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const series = [{}];
    for (let i = 0; i < lines; i++) {
      const colour = style(`--series-${(i % 8) + 1}`);
      series.push({ stroke: colour, width: 2, spanGaps: false, points: { show: false }, dash: i < 8 ? undefined : [6, 4] });
    }
    return {
      width, height: 180, series, legend: { show: false }, cursor: { show: false }, padding: [8, 22, 0, 0],
      scales: { y: { range: (_, __, most) => [0, Math.max(most || 0, 1000) * 1.1] } },
      axes: [
        { ...axis, size: 28, space: 70, values: (_, ticks) => ticks.map((t) => time.format(t * 1000)) },
        { ...axis, size: 76, space: 40, values: (_, ticks) => ticks.map(written) },
      ],
    };
  }

  function draw(anew) {
    for (const figure of live.querySelectorAll("figure[data-plot]")) {
      const at = figure.querySelector(".canvas");
      const data = JSON.parse(figure.dataset.plot);
      const width = Math.floor(at.clientWidth);
      let known = plots.get(figure.id);
      if (known && (anew || known.at !== at || known.lines !== data.length || known.language !== document.documentElement.lang)) {
        known.plot.destroy();
        known = undefined;
      }
      if (width <= 0 || data.length < 2) continue;
      if (!known) {
        known = { at, lines: data.length, language: document.documentElement.lang, width, plot: new uPlot(options(figure, data.length - 1, width), data, at) };
        plots.set(figure.id, known);
        continue;
      }
      if (known.width !== width) {
        known.width = width;
        known.plot.setSize({ width, height: 180 });
      }
      known.plot.setData(data);
    }
  }

  function look() {
    const old = Date.now() - answered > patience;
    if (stale.hidden !== !old) {
      stale.hidden = !old;
      document.body.classList.toggle("old", old);
    }
  }

  live.addEventListener("htmx:after:swap", (e) => {
    if (e.detail.ctx?.response?.status !== 200) return;
    answered = Date.now();
    const inner = live.firstElementChild;
    if (inner?.dataset.title && document.title !== inner.dataset.title) document.title = inner.dataset.title;
    look();
    draw(false);
  });
  setInterval(look, 1000);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(true));
  new ResizeObserver(() => draw(false)).observe(live);
  draw(false);
})();
