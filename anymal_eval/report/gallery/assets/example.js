"use strict";
// One example in full: media, question, references, answers side by side, the prompt.
const AnyMALExample = (() => {
  const { make, said, number } = AnyMALText;
  const SVG = "http://www.w3.org/2000/svg";
  const LONG = 1200; // characters; a longer text scrolls in a box of its own
  const ROOT = "../";

  function svg(tag, attributes) {
    const element = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  function text(content, label) {
    const box = said("pre", "words", content);
    if (content.length > LONG || content.split("\n").length > 24) {
      box.classList.add("long");
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", label + ", " + content.length.toLocaleString("en") + " characters");
    }
    return box;
  }

  // Peaks of a sound as bars around a middle line.
  function wave(peaks, classes, label) {
    const drawing = svg("svg", { viewBox: `0 0 ${peaks.length * 3} 60`, preserveAspectRatio: "none" });
    drawing.setAttribute("class", classes);
    if (label) {
      drawing.setAttribute("role", "img");
      drawing.setAttribute("aria-label", label);
    } else {
      drawing.setAttribute("aria-hidden", "true");
    }
    const path = peaks.map((peak, at) => {
      const half = Math.max(1, peak * 0.28);
      return `M${at * 3 + 1} ${30 - half}V${30 + half}`;
    });
    drawing.append(svg("path", { d: path.join(""), class: "wave-line" }));
    return drawing;
  }

  function sound(medium) {
    const player = make("audio");
    player.controls = true;
    player.preload = "metadata";
    player.src = ROOT + medium.file;
    player.setAttribute("aria-label", "Sound " + medium.name);
    const drawing = wave(medium.peaks, "wave", `Waveform of ${medium.seconds} seconds`);
    const hand = svg("line", { x1: 0, x2: 0, y1: 0, y2: 60, class: "wave-hand" });
    drawing.append(hand);
    player.addEventListener("timeupdate", () => {
      const x = (player.currentTime / (player.duration || medium.seconds)) * medium.peaks.length * 3;
      hand.setAttribute("x1", x);
      hand.setAttribute("x2", x);
    });
    drawing.addEventListener("click", (event) => {
      const edges = drawing.getBoundingClientRect();
      player.currentTime = ((event.clientX - edges.left) / edges.width) * (player.duration || medium.seconds);
    });
    return make("div", "sound", drawing, player);
  }

  function clip(medium) {
    const player = make("video");
    player.controls = true;
    player.loop = Boolean(medium.whole);
    player.preload = "metadata";
    player.playsInline = true;
    player.width = Math.max(medium.width, 320);
    player.height = Math.round((player.width * medium.height) / medium.width);
    player.poster = ROOT + medium.thumb;
    const cut = medium.window && !medium.whole ? "#t=" + medium.window.map((edge) => edge ?? "").join(",") : "";
    player.src = ROOT + medium.file + cut;
    player.setAttribute("aria-label", "Clip " + medium.name);
    return player;
  }

  function picture(medium) {
    const image = make("img", medium.width < 160 ? "tiny" : "");
    image.src = ROOT + medium.file;
    image.width = medium.width;
    image.height = medium.height;
    image.alt = "Picture of this example, " + medium.name;
    const link = make("a", "picture", image);
    link.href = ROOT + medium.file;
    return link;
  }

  // Six channels in two panels of three, each panel with its own scale.
  function motion(medium) {
    const figure = make("div", "motion");
    for (const first of [0, 3]) {
      const three = medium.channels.slice(first, first + 3);
      const values = three.flat();
      const low = Math.min(...values);
      const high = Math.max(...values);
      const drawing = svg("svg", { viewBox: "0 0 600 130", preserveAspectRatio: "none", role: "img" });
      drawing.setAttribute("class", "imu-plot");
      drawing.setAttribute("aria-label", `Motion, channels ${first + 1} to ${first + 3}, ${medium.seconds} seconds, from ${low} to ${high}`);
      three.forEach((channel, at) => {
        const points = channel.map((value, place) => {
          const x = (place / Math.max(1, channel.length - 1)) * 600;
          const y = 125 - ((value - low) / (high - low || 1)) * 120;
          return `${x.toFixed(1)},${y.toFixed(1)}`;
        });
        drawing.append(svg("polyline", { points: points.join(" "), class: `channel-${at}` }));
      });
      const label = make("p", "quiet", `channels ${first + 1} to ${first + 3}: ${low} to ${high}, ${medium.seconds} s`);
      figure.append(drawing, label);
    }
    return figure;
  }

  function media(medium) {
    const figure = make("figure", "medium " + medium.kind);
    if (medium.error) figure.append(said("p", "note", "cannot be shown: " + medium.error));
    else if (medium.left) figure.append(make("p", "note", "media were left out of this report"));
    else figure.append({ image: picture, audio: sound, video: clip, imu: motion }[medium.kind](medium));
    const cut = medium.window ? ` (${medium.window[0] ?? 0} to ${medium.window[1] ?? "the end"} s)` : "";
    figure.append(said("figcaption", "quiet", [medium.name + cut, medium.note].filter(Boolean).join("; ")));
    return figure;
  }

  function badge(side) {
    if (side.state !== "ok") return make("span", "badge " + side.state, side.state);
    if (side.right === null) return make("span", "badge", "ok");
    return make("span", "badge " + (side.right ? "right" : "wrong"), side.right ? "right" : "wrong");
  }

  function scored(example, side) {
    const rows = Object.entries(side.scores).map(([metric, value]) => [metric, number(value)]);
    if (side.p_yes !== undefined) rows.push(["P(yes)", side.p_yes.toFixed(3)]);
    if (side.choice !== undefined && example.options.length) rows.push(["choice", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[side.choice] ?? String(side.choice)]);
    const list = make("dl", "scores");
    for (const [name, value] of rows) list.append(make("div", "", make("dt", "", name), make("dd", "", value)));
    return list;
  }

  function ranked(example, side) {
    const labels = example.options.length === side.raw.length ? example.options : (example.prompt?.candidates ?? []);
    const table = make("table", "ranked", make("caption", "", "log p of each candidate"));
    side.raw.forEach((value, at) => {
      const head = said("th", "", labels[at] ?? String(at + 1));
      head.scope = "row";
      table.append(make("tr", "", head, make("td", "number", value.toFixed(3))));
    });
    return table;
  }

  function answer(example, side, label, index) {
    const title = said("h4", "", label);
    title.id = "side-" + index;
    const box = make("section", "answer", title);
    box.setAttribute("aria-labelledby", title.id);
    if (side === null) {
      box.append(make("p", "quiet", "was not asked this example"));
      return box;
    }
    title.append(" ", badge(side));
    if (side.state === "error") {
      box.append(make("h5", "", "Error"), text(String(side.answer ?? ""), "Error of " + label));
      return box;
    }
    const raw = side.raw ?? "";
    const same = raw === side.answer;
    box.append(make("h5", "", same ? "Raw answer, read as it is" : "Read as"), text(side.answer ?? "", "Answer of " + label));
    if (Array.isArray(raw)) box.append(ranked(example, side));
    else if (!same) box.append(make("h5", "", "Raw answer"), text(raw, "Raw answer of " + label));
    box.append(scored(example, side));
    return box;
  }

  function references(example) {
    if (example.options.length && example.kind === "choice") {
      const list = make("ol", "options");
      example.options.forEach((option, at) => {
        const gold = at === example.label;
        list.append(make("li", gold ? "gold" : "", said("span", "", option), gold ? make("span", "badge right", "label") : null));
      });
      return list;
    }
    if (example.references === null) return make("p", "quiet", "this split has no public answers");
    const counted = new Map();
    for (const each of example.references) counted.set(each, (counted.get(each) ?? 0) + 1);
    const list = make("ul", "references");
    for (const [each, times] of counted) {
      list.append(make("li", "", said("span", "", each), times > 1 ? make("span", "quiet", " x" + times) : null));
    }
    return list;
  }

  function prompt(example, sameWords) {
    const box = make("details", "prompt", make("summary", "", "The exact prompt"));
    if (example.sent) {
      const { text: whole, tokens, special } = example.sent;
      box.append(make("h5", "", `as the model is given it: ${tokens} tokens, ${special} of them special or of media`),
        text(whole, "Prompt after the chat template"));
    }
    if (!example.prompt) {
      box.append(make("p", "note", "The words of this model are not known without loading it; the run's manifest holds their hash."));
      return box;
    }
    const { messages, prefix, candidates, how, frames } = example.prompt;
    for (const turn of messages) {
      box.append(make("h5", "", turn.role), text(turn.parts.join(""), "Prompt, " + turn.role));
    }
    if (prefix) box.append(make("h5", "", "the answer begins"), text(prefix, "Beginning of the answer"));
    if (candidates.length) box.append(make("h5", "", "candidates"), text(candidates.join(" | "), "Candidates"));
    box.append(make("p", "quiet", how + (frames ? `, ${frames} frames` : "")));
    if (!sameWords) box.append(make("p", "note", "Another run was asked in other words."));
    return box;
  }

  // Fills the element with an example; what was there before is gone, its players stopped.
  function show(element, example, index) {
    const title = said("h3", "", example.id);
    title.id = "example-title";
    const groups = make("p", "groups", ...Object.entries(example.groups).map(([name, value]) => said("span", "badge", `${name}: ${value}`)));
    const asked = make("div", "asked");
    if (example.question) asked.append(said("p", "question", example.question));
    for (const [name, value] of Object.entries(example.context)) {
      if (value) asked.append(make("h5", "", name), text(value, name));
    }
    asked.append(make("h4", "", example.kind === "choice" ? "Options" : "References"), references(example));
    // What was comes before what is, as in the list.
    const order = [...example.sides.keys()].slice(1).concat(0);
    const sides = order.map((at) => answer(example, example.sides[at], index.runs[at], at));
    element.replaceChildren(
      make("div", "example-head", title, make("span", "quiet", "cluster " + example.cluster), groups),
      make("div", "example-top", make("div", "media", ...example.media.map(media)), asked),
      make("div", "answers", ...sides),
      prompt(example, index.sameWords.every(Boolean)),
    );
    element.setAttribute("aria-labelledby", title.id);
  }

  return { show, wave };
})();
