"use strict";
// Draws the snapshot of harness/load/stats/live.py once a second, also after the test, for its final numbers.
// Nothing here computes a metric; a rate is a count of the snapshot divided by the length of its bin.

const POLL_MS = 1000;
const SVG = "http://www.w3.org/2000/svg";
const LEFT = 56, RIGHT = 12, TOP = 10, BOTTOM = 24, HEIGHT = 240;
const SIDE_BY_SIDE = [["ttft_ms", "TTFT, ms"], ["inter_token_ms", "ITL, ms"], ["duration_ms", "Duration, ms"]];
const METRICS = [["ttft_ms", "TTFT"], ["inter_token_ms", "ITL"], ["duration_ms", "Duration"], ["stall_ms", "Stall"],
  ["resume_ms", "Resume"], ["conflict_ms", "409"], ["cancel_ms", "Cancel"], ["session_ms", "Session"],
  ["recovery_ms", "Recovery after a restart"], ["cold_ttft_ms", "Cold TTFT"], ["warm_ttft_ms", "Warm TTFT"], ["tokens_per_s", "Tokens/s"],
  ["tpot_ms", "TPOT"], ["output_tokens_per_s", "Output tokens/s"], ["ttf_reasoning_ms", "First reasoning"],
  ["ttf_tool_ms", "First tool call"], ["ttf_progress_ms", "First progress"]];
const WORDS = ["p50", "p95", "p99"];
const PERCENTILES = [["p50", "c1", ""], ["p95", "c2", "thick"], ["p99", "c3", "dotted"]];
const percentileLines = (metric) => PERCENTILES.map(([percentile, color, look]) =>
  ({ label: percentile, color, look, values: (series) => series[metric][percentile] }));
const perSecond = (name) => (series) => series[name].map((count) => count / series.bin_s);
const CHARTS = [
  { id: "ttft", title: "TTFT", unit: "ms", metric: "ttft_ms", lines: percentileLines("ttft_ms") },
  { id: "itl", title: "Inter-token latency", unit: "ms", metric: "inter_token_ms", lines: percentileLines("inter_token_ms") },
  { id: "in-flight", title: "Streams in flight", unit: "", whole: true,
    lines: [{ label: "in flight", color: "c1", look: "", values: (series) => series.in_flight }] },
  { id: "arrivals", title: "Arrivals and completions", unit: "streams/s", lines: [
    { label: "arrivals", color: "c1", look: "", values: perSecond("arrivals") },
    { label: "completions", color: "c4", look: "dashed", values: perSecond("completions") },
    { label: "dropped", color: "c2", look: "dotted", values: perSecond("dropped"), ifAny: true }] },
  { id: "violations", title: "Violations and failed streams", unit: "", whole: true, bars: true, none: "No violations and no failed streams.", lines: [
    { label: "violations", color: "c3", look: "bar", values: (series) => series.violations },
    { label: "failed streams", color: "c2", look: "bar", values: (series) => series.failed }] },
];

let shown = "", newest = null;
const cursors = {};

function make(parent, tag, attributes = {}, text = null) {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function number(value, whole = false) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const digits = whole || size >= 1000 ? 0 : size >= 10 ? 1 : size === 0 ? 0 : 2;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

const share = (value) => value === null ? "–" : `${(value * 100).toFixed(2)}%`;

function clock(seconds) {
  const s = Math.max(0, Math.round(seconds)), pad = (n) => String(n).padStart(2, "0");
  return s < 3600 ? `${Math.floor(s / 60)}:${pad(s % 60)}` : `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)}`;
}

// The smallest step of 1, 2 or 5 × 10^n that reaches `highest` in at most five steps; at least 1 for whole numbers.
function step(highest, whole) {
  const rough = Math.max(highest / 5, whole ? 1 : 1e-9), power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999999);
}

function timeStep(seconds, most) {
  return [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400].find((length) => seconds / length <= most) || 172800;
}

function objectivesOf(chart, snapshot) {
  return chart.metric ? snapshot.objectives.filter((objective) => objective.metric === chart.metric && !objective.at_least) : [];
}

function linesOf(chart, series) {
  return chart.lines.map((line) => ({ ...line, points: line.values(series) }))
    .filter((line) => !line.ifAny || line.points.some((value) => value > 0));
}

function build() {
  for (const chart of CHARTS) {
    const figure = make(document.getElementById("charts"), "figure", { id: `chart-${chart.id}` });
    chart.figure = figure;
    const caption = make(figure, "figcaption");
    make(caption, "h2", { id: `title-${chart.id}` }, chart.unit ? `${chart.title}, ${chart.unit}` : chart.title);
    chart.legend = make(caption, "ul", { class: "legend" });
    chart.svg = make(figure, "svg:svg", { role: "img", tabindex: "0", "aria-labelledby": `title-${chart.id} text-${chart.id}` });
    chart.readout = make(figure, "p", { class: "readout" });
    chart.text = make(figure, "p", { class: "hidden", id: `text-${chart.id}` });
    chart.empty = make(figure, "p", { class: "empty" });
    const details = make(figure, "details");
    make(details, "summary", {}, "Latest values as a table");
    chart.table = make(details, "div", { class: "scroll" });
    chart.svg.addEventListener("pointermove", (event) => point(chart, event));
    chart.svg.addEventListener("pointerleave", () => { delete cursors[chart.id]; draw(chart); });
    chart.svg.addEventListener("keydown", (event) => walk(chart, event));
    chart.svg.addEventListener("blur", () => { delete cursors[chart.id]; draw(chart); });
  }
  new ResizeObserver(() => CHARTS.forEach(draw)).observe(document.getElementById("charts"));
}

function point(chart, event) {
  if (!newest || !newest.series.t_s.length) return;
  const box = chart.svg.getBoundingClientRect(), series = newest.series;
  const share = (event.clientX - box.left - LEFT) / Math.max(1, box.width - LEFT - RIGHT);
  const index = Math.floor(share * span(series) / series.bin_s);
  cursors[chart.id] = Math.min(Math.max(index, 0), series.t_s.length - 1);
  draw(chart);
}

function walk(chart, event) {
  const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
  if (move === undefined || !newest || !newest.series.t_s.length) return;
  event.preventDefault();
  const last = newest.series.t_s.length - 1;
  cursors[chart.id] = Math.min(Math.max((cursors[chart.id] ?? last + 1) + move, 0), last);
  draw(chart);
}

const span = (series) => Math.max(10 * series.bin_s, series.t_s.length * series.bin_s);

// When the server was restarted, in seconds since the first bin; null if not, or outside the chart.
function restartOf(series) {
  const at = newest.restarted_s === null || !series.from_s ? -1 : newest.restarted_s - series.from_s;
  return at < 0 || at > span(series) ? null : at;
}

function draw(chart) {
  if (!newest) return;
  const series = newest.series, lines = linesOf(chart, series), limits = objectivesOf(chart, newest);
  const values = lines.flatMap((line) => line.points).filter((value) => value !== null);
  const measured = Math.max(0, ...values);
  // Without anything to draw, the chart is one line that says so.
  const empty = !values.length || (Boolean(chart.none) && measured === 0);
  chart.figure.classList.toggle("without", empty);
  chart.empty.textContent = !empty ? "" : values.length ? chart.none : "No data yet.";
  chart.svg.replaceChildren();
  if (empty) return describe(chart, lines, limits, [], series);
  const width = Math.max(240, chart.svg.clientWidth), right = width - RIGHT, bottom = HEIGHT - BOTTOM;
  // A limit far above the measured values would flatten the curve, so the legend names it instead.
  const near = limits.filter((objective) => objective.limit <= Math.max(measured * 4, 1e-9));
  const highest = Math.max(measured, ...near.map((objective) => objective.limit), chart.whole ? 1 : 0) || 1;
  const up = step(highest * 1.02, chart.whole), top = Math.ceil(highest * 1.02 / up) * up, total = span(series);
  const x = (seconds) => LEFT + (right - LEFT) * seconds / total;
  const y = (value) => bottom - (bottom - TOP) * value / top;
  chart.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  if (newest.measured_from_s !== null && series.from_s) {
    const until = Math.min(total, newest.measured_from_s - series.from_s);
    if (until > 0) {
      make(chart.svg, "svg:rect", { class: "shade", x: LEFT, y: TOP, width: x(until) - LEFT, height: bottom - TOP });
      make(chart.svg, "svg:text", { x: LEFT + 4, y: TOP + 12 }, "warm-up");
    }
  }
  for (let value = 0; value <= top * 1.0001; value += up) {
    make(chart.svg, "svg:line", { class: "grid", x1: LEFT, x2: right, y1: y(value), y2: y(value) });
    make(chart.svg, "svg:text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, Number(value.toPrecision(6)).toLocaleString("en"));
  }
  const across = timeStep(total, Math.min(8, Math.floor((right - LEFT) / 64)));
  for (let at = 0; at <= total; at += across) {
    make(chart.svg, "svg:text", { x: x(at), y: HEIGHT - 6, "text-anchor": at ? "middle" : "start" }, clock(at));
  }
  make(chart.svg, "svg:line", { class: "axis", x1: LEFT, x2: right, y1: bottom, y2: bottom });
  lines.forEach((line, index) => chart.bars ? bars(chart, line, index, lines.length, series, x, y, bottom) : curve(chart, line, series, x, y));
  for (const limit of near) {
    const group = make(chart.svg, "svg:g", { class: "limit" });
    make(group, "svg:line", { class: "mark dashed", x1: LEFT, x2: right, y1: y(limit.limit), y2: y(limit.limit) });
    const above = y(limit.limit) > TOP + 18;
    make(group, "svg:text", { x: right, y: y(limit.limit) + (above ? -5 : 14), "text-anchor": "end" }, limit.expression);
  }
  const restarted = restartOf(series);
  if (restarted !== null) {
    const at = x(restarted), after = at < right - 64;
    const group = make(chart.svg, "svg:g", { class: "restart" });
    make(group, "svg:line", { class: "mark dashdot", x1: at, x2: at, y1: TOP, y2: bottom });
    make(group, "svg:text", { x: at + (after ? 4 : -4), y: TOP + 12, "text-anchor": after ? "start" : "end" }, "restart");
  }
  if (cursors[chart.id] !== undefined) {
    const at = x(series.t_s[cursors[chart.id]] + series.bin_s / 2);
    make(chart.svg, "svg:line", { class: "cursor", x1: at, x2: at, y1: TOP, y2: bottom });
  }
  describe(chart, lines, limits, near, series);
}

function curve(chart, line, series, x, y) {
  const group = make(chart.svg, "svg:g", { class: line.color });
  let path = "", run = 0;
  line.points.forEach((value, index) => {
    if (value === null) { run = 0; return; }
    const at = `${x(series.t_s[index] + series.bin_s / 2).toFixed(1)} ${y(value).toFixed(1)}`;
    const alone = run === 0 && (line.points[index + 1] ?? null) === null;
    if (alone) make(group, "svg:circle", { class: "dot", cx: at.split(" ")[0], cy: at.split(" ")[1], r: 2.5 });
    path += `${run ? "L" : "M"}${at}`;
    run += 1;
  });
  if (path) make(group, "svg:path", { class: `mark ${line.look}`, d: path });
}

function bars(chart, line, lineIndex, count, series, x, y, bottom) {
  const group = make(chart.svg, "svg:g", { class: line.color });
  const wide = Math.max(1, (x(series.bin_s) - x(0)) * 0.8 / count);
  line.points.forEach((value, index) => {
    if (!value) return;
    const left = x(series.t_s[index] + series.bin_s * 0.1) + lineIndex * wide;
    make(group, "svg:rect", { class: "mark bar", x: left.toFixed(1), y: y(value).toFixed(1), width: wide.toFixed(1), height: (bottom - y(value)).toFixed(1) });
  });
}

function describe(chart, lines, limits, near, series) {
  const legend = lines.map((line) => {
    const item = make(null, "li", { class: line.color });
    const sample = make(item, "svg:svg", { viewBox: "0 0 24 8", "aria-hidden": "true" });
    if (line.look === "bar") make(sample, "svg:rect", { class: "mark bar", x: 6, y: 0, width: 12, height: 8 });
    else make(sample, "svg:line", { class: `mark ${line.look}`, x1: 0, x2: 24, y1: 4, y2: 4 });
    item.append(line.label);
    return item;
  });
  for (const limit of limits) {
    if (!near.includes(limit)) legend.push(make(null, "li", { class: "limit" }, `${limit.expression} (above the chart)`));
  }
  chart.legend.replaceChildren(...legend);
  const index = cursors[chart.id] ?? series.t_s.length - 1;
  const values = lines.map((line) => `${line.label} ${number(line.points[index], chart.whole)}`).join(", ");
  const readout = index >= 0 ? `${clock(series.t_s[index])}: ${values}` : "";
  if (chart.readout.textContent !== readout) chart.readout.textContent = readout;
  const objectives = limits.map((objective) => objective.expression).join(", ");
  chart.text.textContent = `${series.t_s.length} bins of ${series.bin_s} s. ${readout ? `At ${readout}.` : "No data yet."}${objectives ? ` Objectives: ${objectives}.` : ""}`;
  const restarted = restartOf(series);
  if (restarted !== null) chart.text.textContent += ` The server was restarted at ${clock(restarted)}.`;
  const latest = series.t_s.map((_, bin) => bin).slice(-10);
  chart.table.replaceChildren(table(["", ...latest.map((bin) => clock(series.t_s[bin]))],
    lines.map((line) => [line.label, ...latest.map((bin) => number(line.points[bin], chart.whole))])));
}

function table(head, rows, texts = []) {
  const element = make(null, "table"), top = make(make(element, "thead"), "tr");
  head.forEach((cell, index) => make(top, "th", { scope: "col", ...(texts.includes(index) ? { class: "text" } : {}) }, cell));
  const body = make(element, "tbody");
  for (const row of rows) {
    const line = make(body, "tr", row.all ? { class: "all" } : {});
    (row.cells || row).forEach((cell, index) => index
      ? make(line, "td", texts.includes(index) ? { class: "text" } : {}, cell)
      : make(line, "th", { scope: "row" }, cell));
  }
  return element;
}

function tiles(snapshot) {
  const all = snapshot.rates.all, series = snapshot.series, last = series.t_s.length - 1;
  const metric = (name, percentile) => snapshot.metrics[name]?.all[percentile] ?? null;
  const violations = Object.values(snapshot.violations).reduce((sum, violation) => sum + violation.count, 0);
  // Latencies of an open loop include the schedule lag. A closed loop has none.
  const scheduleLag = snapshot.harness.schedule_lag_ms.p99;
  const lag = scheduleLag === null ? ["Receive lag p99", snapshot.harness.lag_ms.p99] : ["Schedule lag p99", scheduleLag];
  const rows = [
    ["In flight", number(snapshot.in_flight, true), "", ""],
    ["Streams started", last < 0 || snapshot.state !== "running" ? "–" : number(series.arrivals[last] / series.bin_s), "/s", ""],
    ["TTFT p50", number(metric("ttft_ms", "p50")), "ms", ""],
    ["TTFT p95", number(metric("ttft_ms", "p95")), "ms", ""],
    ["TTFT p99", number(metric("ttft_ms", "p99")), "ms", ""],
    ["ITL p95", number(metric("inter_token_ms", "p95")), "ms", ""],
    ["Goodput", share(all.goodput), "", ""],
    ["Error rate", share(all.error_rate), "", all.failed ? "bad" : ""],
    ["Violations", number(violations, true), "", violations ? "bad" : ""],
    ["Ledger", snapshot.ledger.adds_up ? "adds up" : `${snapshot.ledger.missing} missing`, "", snapshot.ledger.adds_up ? "" : "bad"],
    [lag[0], number(lag[1]), "ms", snapshot.harness.saturated ? "warn" : ""],
  ];
  if (all.sessions) rows.splice(7, 0, ["Sessions", number(all.sessions, true), "", ""], ["Session success", share(all.session_success), "", ""]);
  if (snapshot.metrics.cancel_ms) rows.splice(7, 0, ["Cancelled p95", number(metric("cancel_ms", "p95")), "ms", ""]);
  if (snapshot.metrics.recovery_ms) rows.splice(7, 0, ["Recovery", number(metric("recovery_ms", "max")), "ms", ""]);
  document.getElementById("tiles").replaceChildren(...rows.map(([label, value, unit, look]) => {
    const tile = make(null, "div");
    make(tile, "dt", {}, label);
    const dd = make(tile, "dd", { class: look }, value);
    if (unit && value !== "–") make(dd, "small", {}, ` ${unit}`);
    return tile;
  }));
}

// One row for each journey: the outcomes of its streams, and its latencies side by side.
function journeyTable(snapshot) {
  const element = make(null, "table"), head = make(element, "thead"), groups = make(head, "tr"), words = make(head, "tr");
  const sideBySide = snapshot.metrics.cancel_ms ? [...SIDE_BY_SIDE, ["cancel_ms", "Cancel, ms"]] : SIDE_BY_SIDE;
  const hasSessions = Boolean(snapshot.rates.all.sessions);
  const belongs = (name, journey) => journey === null || name === journey || name.startsWith(`${journey}.`);
  const cells = (journey) => {
    const counts = journey === null ? snapshot.ledger.counts : snapshot.ledger.journeys[journey];
    const rates = journey === null ? snapshot.rates.all : snapshot.rates.journeys[journey];
    const violations = Object.values(snapshot.violations).flatMap((found) => Object.entries(found.journeys))
      .reduce((sum, [name, count]) => sum + (belongs(name, journey) ? count : 0), 0);
    const sessions = hasSessions ? [rates.sessions ? `${number(rates.sessions_succeeded, true)}/${number(rates.sessions, true)}` : "–"] : [];
    const latencies = sideBySide.flatMap(([name]) => {
      const metric = snapshot.metrics[name];
      const values = metric && (journey === null ? metric.all : metric.journeys[journey]);
      return WORDS.map((word) => number(values ? values[word] : null));
    });
    return [number(counts.scheduled, true), `${number(rates.failed, true)}/${number(rates.judged, true)}`, number(violations, true), share(rates.goodput), ...sessions, ...latencies];
  };
  const counts = ["Streams", "Failed", "Violations", "Goodput", ...(hasSessions ? ["Sessions"] : [])];
  for (const title of ["Journey", ...counts]) {
    make(groups, "th", { scope: "col", rowspan: 2 }, title);
  }
  for (const [, title] of sideBySide) {
    make(groups, "th", { scope: "colgroup", colspan: WORDS.length, class: "group" }, title);
    WORDS.forEach((word, index) => make(words, "th", { scope: "col", class: index ? "" : "group" }, word));
  }
  const body = make(element, "tbody");
  for (const journey of [null, ...Object.keys(snapshot.ledger.journeys).sort()]) {
    const row = make(body, "tr", journey === null ? { class: "all" } : {});
    make(row, "th", { scope: "row" }, journey === null ? "all" : journey);
    cells(journey).forEach((cell, index) => make(row, "td", { class: index >= counts.length && (index - counts.length) % WORDS.length === 0 ? "group" : "" }, cell));
  }
  return element;
}

function tables(snapshot) {
  put("journeys", snapshot.run ? journeyTable(snapshot) : "No test yet.");
  const rows = METRICS.filter(([name]) => snapshot.metrics[name]).map(([name, label]) => {
    const metric = snapshot.metrics[name];
    return [metric.unit === "ms" ? `${label}, ms` : label, number(metric.all.count, true), ...[...WORDS, "max"].map((word) => number(metric.all[word]))];
  });
  put("metrics", rows.length ? table(["Metric", "Count", "p50", "p95", "p99", "Max"], rows) : "No data yet.");
  const broken = Object.entries(snapshot.violations).map(([id, violation]) =>
    [id, Object.entries(violation.journeys).map(([journey, count]) => `${journey} ${number(count, true)}`).join(", "), number(violation.count, true)]);
  put("violations", broken.length ? table(["Requirement", "Journeys", "Count"], broken, [1]) : "No violations under load.");
  const ledger = Object.entries(snapshot.ledger.counts).filter(([outcome, count]) => count || outcome === "scheduled").map(([outcome, count]) => [outcome === "abandoned" ? "abandoned (ended by the harness)" : outcome, number(count, true)]);
  put("ledger", table(["Outcome", "Streams"], ledger), make(null, "p", { class: snapshot.ledger.adds_up ? "good" : "bad" },
    snapshot.ledger.adds_up ? "The ledger adds up." : `The ledger does not add up: ${snapshot.ledger.missing} missing.`));
  const own = [["Receive lag", "lag_ms"], ["Schedule lag", "schedule_lag_ms"], ["Arrival error", "arrival_error_ms"], ["Hub delay", "hub_delay_ms"]]
    .map(([label, key]) => [label, ...["p50", "p99", "max"].map((name) => number(snapshot.harness[key][name]))]);
  const processes = Object.entries(snapshot.harness.processes).map(([worker, usage]) =>
    [worker, share(usage.cpu_mean), share(usage.cpu_max), `${number(usage.rss_max_bytes / 1048576, true)} MiB`]);
  put("own", table(["ms", "p50", "p99", "Max"], own), table(["Process", "CPU mean", "CPU max", "Memory"], processes),
    ...snapshot.harness.why.map((reason) => make(null, "p", { class: "warn" }, `Harness saturated: ${reason}.`)),
    ...(snapshot.harness.faults.streams ? [make(null, "p", { class: "bad" }, `Harness faults: ${snapshot.harness.faults.sentence}.`)] : []));
}

function put(id, ...content) {
  document.getElementById(id).replaceChildren(...content);
}

function head(snapshot) {
  const left = snapshot.left_s === null ? "" : `, ${clock(snapshot.left_s)} left`;
  const texts = { ready: "no test yet", running: snapshot.warming_up ? "warming up" : "running", stopping: "waiting for the last streams" };
  const text = `${texts[snapshot.state] || snapshot.state}${snapshot.run ? ` ${clock(snapshot.elapsed_s)}${left}` : ""}`;
  const state = document.getElementById("state");
  state.dataset.state = snapshot.state;
  state.dataset.run = snapshot.run || "";
  state.setAttribute("aria-live", "off");
  state.textContent = text;
  document.getElementById("plan").textContent = snapshot.run ? [snapshot.plan, snapshot.target].filter(Boolean).join(" → ") : "";
  const lost = snapshot.workers_lost.length ? `${snapshot.workers_lost.join(", ")} lost; the last results are missing.` : "";
  showProblem(snapshot.problem || lost);
  document.getElementById("coarse").textContent = snapshot.series.bin_s > 1 ? `Each point covers ${snapshot.series.bin_s} s.` : "";
}

function showProblem(message) {
  const problem = document.getElementById("problem");
  problem.hidden = !message;
  if (problem.textContent !== message) problem.textContent = message;
}

async function poll() {
  try {
    const response = await fetch("./live.json", { cache: "no-store" });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const text = await response.text();
    if (text !== shown) {
      const snapshot = JSON.parse(text);
      if (String(snapshot.version) !== document.body.dataset.version) location.reload();
      if (newest && newest.run !== snapshot.run) CHARTS.forEach((chart) => delete cursors[chart.id]);
      newest = snapshot;
      head(snapshot);
      tiles(snapshot);
      tables(snapshot);
      CHARTS.forEach(draw);
      shown = text;
    } else if (newest) head(newest);
  } catch (problem) {
    shown = "";
    showProblem(`Cannot fetch the numbers (${problem.message}); retrying. The page shows the latest ones received.`);
  }
  setTimeout(poll, POLL_MS);
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  document.getElementById("theme").textContent = name === "dark" ? "Light theme" : "Dark theme";
}

// Locust's page stores its theme under the same name.
theme(localStorage.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
document.getElementById("theme").addEventListener("click", () => {
  localStorage.theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  theme(localStorage.theme);
});
build();
poll();
