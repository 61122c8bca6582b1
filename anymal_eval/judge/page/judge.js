"use strict";

// The state is the server's; the page keeps only who judges and when the trial was shown.
const $ = (id) => document.getElementById(id);
const CHOICES = [["left", "A", "A is better"], ["right", "B", "B is better"], ["tie", "T", "Equal"],
                 ["both bad", "X", "Both bad"], ["skip", "S", "Skip"]];
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
let annotator = "", state = null, shownAt = 0, busy = false, levels = {};

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function only(id) {
  for (const each of ["start", "trial", "done"]) $(each).hidden = each !== id;
}

function media(tag) {
  if (tag.error) return element("p", tag.error, "quiet");
  const source = tag.file;
  if (tag.kind === "image") {
    const made = element("img");
    made.src = source;
    made.alt = "The picture that the prompt is about";
    return made;
  }
  if (tag.kind === "audio" || tag.kind === "video") {
    const made = element(tag.kind);
    made.src = tag.window && tag.kind === "video" ? `${source}#t=${tag.window[0] ?? 0}${tag.window[1] ? `,${tag.window[1]}` : ""}` : source;
    made.controls = true;
    return made;
  }
  return motion(tag.channels || []);
}

function motion(channels) {
  const space = "http://www.w3.org/2000/svg", made = document.createElementNS(space, "svg");
  const all = channels.flat(), low = Math.min(...all), high = Math.max(...all), height = high - low || 1;
  made.setAttribute("viewBox", "0 0 1000 160");
  made.setAttribute("preserveAspectRatio", "none");
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", "The channels of a motion sensor over time");
  channels.forEach((channel, number) => {
    const line = document.createElementNS(space, "polyline");
    line.setAttribute("points", channel.map((value, at) => `${(1000 * at) / Math.max(channel.length - 1, 1)},${155 - (150 * (value - low)) / height}`).join(" "));
    line.setAttribute("fill", "none");
    line.setAttribute("stroke", COLOURS[number % COLOURS.length]);
    line.setAttribute("vector-effect", "non-scaling-stroke");
    made.append(line);
  });
  return made;
}

function answer(text, name) {
  const made = element("section", undefined, "answer");
  made.append(element("h3", name));
  made.append(text.trim() ? element("p", text) : element("p", "(an empty answer)", "empty"));
  return made;
}

function scaleFields() {
  levels = {};
  $("scales").replaceChildren(...state.scales.map((scale, number) => {
    const field = element("fieldset");
    field.append(element("legend", scale.question));
    scale.levels.forEach((label, level) => {
      const made = element("label"), input = element("input");
      input.type = "radio";
      input.name = `scale-${number}`;
      input.addEventListener("change", () => { levels[scale.name] = level; rated(); });
      made.append(input, element("kbd", String(level + 1)), label);
      field.append(made);
    });
    return field;
  }));
}

function rated() {
  const next = $("choices").querySelector("[data-choice=rated]");
  if (next) next.disabled = Object.keys(levels).length < state.scales.length;
}

function show() {
  $("error").textContent = "";
  if (!state.trial) return only("done");
  only("trial");
  const trial = state.trial, pairwise = state.mode === "pairwise";
  $("trial").dataset.mode = state.mode;
  $("progress").max = state.total;
  $("progress").value = state.done;
  $("count").textContent = `${state.done} of ${state.total}`;
  $("undo").disabled = state.done === 0;
  $("media").replaceChildren(...trial.media.map(media));
  $("prompt").textContent = trial.prompt;
  $("answers").replaceChildren(...trial.answers.map((text, at) => answer(text, pairwise ? "AB"[at] : "Answer")));
  $("scales").hidden = pairwise;
  if (!pairwise) scaleFields();
  const buttons = pairwise ? CHOICES : [["rated", "Enter", "Next"], ["skip", "S", "Skip"]];
  $("choices").replaceChildren(...buttons.map(([choice, key, label]) => {
    const made = element("button");
    made.type = "button";
    made.dataset.choice = choice;
    made.append(element("kbd", key), label);
    made.addEventListener("click", () => vote(choice));
    return made;
  }));
  rated();
  shownAt = performance.now();
}

async function read(path, options) {
  const reply = await fetch(path, options);
  const content = await reply.json();
  if (!reply.ok) throw Object.assign(new Error(content.error), { status: reply.status });
  return content;
}

async function load() {
  state = await read(`state?annotator=${encodeURIComponent(annotator)}`);
  show();
}

async function vote(choice) {
  if (busy || !state) return;
  if (choice === "undo" ? state.done === 0 : !state.trial) return;
  if (choice === "rated" && Object.keys(levels).length < state.scales.length) return;
  busy = true;
  const sent = { annotator, n: state.n, trial: state.trial ? state.trial.id : "", choice,
                 seconds: (performance.now() - shownAt) / 1000 };
  if (choice === "rated") sent.ratings = levels;
  try {
    state = await read("vote", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(sent) });
    show();
  } catch (error) {
    // What the server did not acknowledge is shown again; what it did take is not sent twice, because of its number.
    try {
      await load();
      $("error").textContent = error.status === 409 ? "" : `Not taken: ${error.message}`;
    } catch (_) {
      $("error").textContent = "The command is not running: start it again, and give this vote once more.";
    }
  } finally {
    busy = false;
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || $("trial").hidden && $("done").hidden) return;
  const key = event.key.toLowerCase();
  if (key === "u") return vote("undo");
  if ($("trial").hidden) return;
  if (state.mode === "rating" && key === "enter" && event.target.tagName !== "BUTTON") return vote("rated");
  if (state.mode === "rating" && /^[1-9]$/.test(key)) return level(Number(key) - 1);
  const found = CHOICES.find(([choice, name]) => name.toLowerCase() === key && (state.mode === "pairwise" || choice === "skip"));
  if (found) vote(found[0]);
});

// A digit gives a level to the first scale that has none.
function level(number) {
  const at = state.scales.findIndex((scale) => !(scale.name in levels));
  const inputs = at < 0 ? [] : $("scales").querySelectorAll(`[name=scale-${at}]`);
  if (inputs[number]) inputs[number].click();
}

$("undo").addEventListener("click", () => vote("undo"));
$("last").addEventListener("click", () => vote("undo"));
$("who").addEventListener("submit", (event) => {
  event.preventDefault();
  const chosen = $("codes").querySelector("input:checked");
  if (!chosen) return;
  annotator = chosen.value;
  load().catch((error) => { $("consent").textContent = error.message; });
});

read("about").then((about) => {
  $("guideline").textContent = about.guideline;
  $("consent").textContent = about.consent;
  $("reminder").textContent = about.guideline;
  $("demo").hidden = $("flag").hidden = !about.demo;
  $("codes").replaceChildren(...about.annotators.map((code, number) => {
    const made = element("label"), input = element("input");
    input.type = "radio";
    input.name = "code";
    input.value = code;
    input.checked = number === 0;
    made.append(input, ` ${code}`);
    return made;
  }));
  $("codes").querySelector("input").focus();
});
