"use strict";
// Pictures, sounds, clips and motions of one example.
const AnyMALMedia = (() => {
  const { make, isolated } = AnyMALText;
  const SVG = "http://www.w3.org/2000/svg";
  const ROOT = "../";
  const AXES = ["x", "y", "z"];
  const SCALES = [1, 1.5, 2, 3, 4, 6, 8];

  function svg(tag, attributes, ...children) {
    const element = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  function bars(levels, classes) {
    const path = levels.map((level, at) => {
      const half = Math.max(0.6, level * 0.28);
      return `M${at * 3 + 1} ${(30 - half).toFixed(1)}V${(30 + half).toFixed(1)}`;
    });
    return svg("path", { d: path.join(""), class: classes });
  }

  // Peaks of a recording as bars around a middle line, its mean level (RMS) inside.
  function wave(peaks, classes, label, rms) {
    const drawing = svg("svg", { viewBox: `0 0 ${peaks.length * 3} 60`, preserveAspectRatio: "none", class: classes });
    if (label) {
      drawing.setAttribute("role", "img");
      drawing.setAttribute("aria-label", label);
    } else {
      drawing.setAttribute("aria-hidden", "true");
    }
    drawing.append(bars(peaks, rms ? "wave-line wave-peak" : "wave-line"));
    if (rms) drawing.append(bars(rms, "wave-line"));
    return drawing;
  }

  // Times along an axis that starts at ``from``: at most seven round ones.
  function timeAxis(seconds, from = 0) {
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600].find((each) => seconds / each <= 6) ?? 7200;
    const axis = make("div", "axis-time");
    axis.setAttribute("aria-hidden", "true");
    for (let at = 0; at <= seconds + 1e-9; at += step) {
      const tick = make("span", "", `${Number((from + at).toFixed(1))} s`);
      tick.style.left = `${(100 * at) / seconds}%`;
      if (at > 0.93 * seconds) tick.className = "last";
      axis.append(tick);
    }
    return axis;
  }

  function labelled(ticks) {
    const axis = make("div", "axis-level");
    axis.setAttribute("aria-hidden", "true");
    for (const [name, height] of ticks) {
      const tick = make("span", "", name);
      tick.style.bottom = `${100 * height}%`;
      axis.append(tick);
    }
    return axis;
  }

  function sound(medium) {
    const player = make("audio");
    player.controls = true;
    player.preload = "metadata";
    player.src = ROOT + medium.file;
    player.setAttribute("aria-label", "Sound " + medium.name);
    const decibels = (level) => `${level.toFixed(1).replace("-", "−")} dBFS`;
    const loud = `loudness ${decibels(medium.rmsDb)} (RMS), peak ${decibels(medium.peakDb)}`;
    const drawing = wave(medium.peaks, "wave", `Waveform of ${medium.seconds} seconds, ${loud}`, medium.rms);
    const picture = make("img", "spectrogram");
    picture.src = ROOT + medium.spectrogram;
    picture.alt = `Spectrogram of ${medium.seconds} seconds, from 40 Hz to ${medium.topHertz} Hz, over 80 dB`;
    const hand = svg("line", { x1: -1, x2: -1, y1: 0, y2: 100, class: "wave-hand" });
    const over = svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", class: "over", "aria-hidden": "true" }, hand);
    const tracks = make("div", "tracks", drawing, picture, over);
    player.addEventListener("timeupdate", () => {
      const x = (player.currentTime / (player.duration || medium.seconds)) * 100;
      hand.setAttribute("x1", x);
      hand.setAttribute("x2", x);
    });
    tracks.addEventListener("click", (event) => {
      const edges = tracks.getBoundingClientRect();
      player.currentTime = ((event.clientX - edges.left) / edges.width) * (player.duration || medium.seconds);
    });
    const plot = make("div", "signal", labelled(medium.hertz.map(([name, height]) => [name, height * 0.6])), tracks, timeAxis(medium.seconds));
    return make("div", "sound", plot, player, make("p", "quiet", `${medium.seconds} s; ${loud}. Waveform: peaks, inside them the RMS level. Spectrogram: 80 dB from black to bright.`));
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
    return make("div", "clip", player, medium.frames ? frames(medium, player) : null);
  }

  // The frames that the request samples, each with its time; a click goes there.
  function frames(medium, player) {
    const count = medium.frames.length;
    const list = make("ol", "frames");
    const from = medium.whole ? (medium.window?.[0] ?? 0) : 0;
    medium.frames.forEach((at, place) => {
      const image = make("img");
      image.src = ROOT + medium.strip;
      image.alt = "";
      image.style.width = `${100 * count}%`;
      image.style.marginLeft = `${-100 * place}%`;
      const button = make("button", "frame", make("span", "frame-cut", image), make("span", "frame-time", `${at.toFixed(2)} s`));
      button.type = "button";
      button.title = "Show this moment in the clip";
      button.setAttribute("aria-label", `Frame ${place + 1} of ${count}, at ${at.toFixed(2)} seconds`);
      button.addEventListener("click", () => {
        player.pause();
        player.currentTime = at - from;
      });
      list.append(make("li", "", button));
    });
    const how = `${count} frames as the request samples them, at the middles of ${count} equal parts. A model with a video processor of its own takes others.`;
    return make("div", "", make("h4", "minor", "What the model sees"), list, make("p", "quiet", how));
  }

  function picture(medium, place, all) {
    const image = make("img", medium.width < 160 ? "tiny" : "");
    image.src = ROOT + medium.file;
    image.width = medium.width;
    image.height = medium.height;
    image.alt = `Picture ${place + 1} of ${all.length} of this example, ${medium.name}`;
    const button = make("button", medium.width < 160 ? "picture small" : "picture", image);
    button.type = "button";
    button.title = "Enlarge";
    button.addEventListener("click", () => zoom(all.filter((each) => each.kind === "image" && each.file), medium));
    return button;
  }

  // One dialog over the page: +, - and 0 scale the picture, arrows lead to the others, Esc closes.
  function zoom(pictures, first) {
    let at = pictures.indexOf(first);
    let scale = 0;
    const image = make("img");
    const ground = make("div", "zoom-ground", image);
    ground.tabIndex = 0;
    ground.setAttribute("role", "region");
    ground.setAttribute("aria-label", "Picture");
    const title = make("h2", "zoom-title");
    const dialog = make("dialog", "zoom");
    const act = (name, text, what) => {
      const button = make("button", "", text);
      button.type = "button";
      button.setAttribute("aria-label", name);
      button.title = name;
      button.addEventListener("click", what);
      return button;
    };
    const draw = () => {
      const medium = pictures[at];
      if (image.getAttribute("src") !== ROOT + medium.file) image.src = ROOT + medium.file;
      image.alt = medium.name;
      const room = [ground.clientWidth / medium.width, ground.clientHeight / medium.height];
      image.style.width = `${Math.floor(medium.width * Math.min(...room) * SCALES[scale])}px`;
      image.className = medium.width < 160 ? "tiny" : "";
      title.replaceChildren(pictures.length > 1 ? `${at + 1} of ${pictures.length}: ` : "", isolated("bdi", "", medium.name), ` ${medium.width} x ${medium.height}`);
    };
    const grow = (by) => {
      scale = by === 0 ? 0 : Math.min(SCALES.length - 1, Math.max(0, scale + by));
      draw();
    };
    const turn = (by) => {
      at = Math.min(pictures.length - 1, Math.max(0, at + by));
      grow(0);
    };
    const keys = { "+": () => grow(1), "=": () => grow(1), "-": () => grow(-1), 0: () => grow(0), ArrowLeft: () => turn(-1), ArrowRight: () => turn(1) };
    const others = pictures.length > 1 ? [act("Previous picture", "Previous", () => turn(-1)), act("Next picture", "Next", () => turn(1))] : [];
    dialog.append(make("div", "zoom-bar", title, ...others, act("Smaller", "−", () => grow(-1)), act("Fit", "Fit", () => grow(0)), act("Larger", "+", () => grow(1)), act("Close", "Close", () => dialog.close())), ground);
    dialog.setAttribute("aria-label", "Enlarged picture");
    dialog.addEventListener("keydown", (event) => {
      event.stopPropagation(); // keys of the page behind
      if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
      if (event.key.startsWith("Arrow") && scale > 0) return; // they scroll the picture
      keys[event.key]();
      event.preventDefault();
    });
    ground.addEventListener("click", (event) => (event.target === ground ? dialog.close() : grow(scale ? 0 : 2)));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    draw();
    window.addEventListener("resize", draw);
    dialog.addEventListener("close", () => window.removeEventListener("resize", draw));
  }

  // Three channels on one axis that is symmetric around zero.
  function panel(channels, seconds, title, unit) {
    const most = Math.max(...channels.flat().map(Math.abs), 1e-9);
    const power = 10 ** Math.floor(Math.log10(most));
    const top = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((each) => each * power >= most) * power;
    const drawing = svg("svg", { viewBox: "0 0 600 120", preserveAspectRatio: "none", role: "img", class: "imu-plot" });
    drawing.setAttribute("aria-label", `${title}, ${AXES.join(", ")}, ${seconds} seconds, from ${-top} to ${top} ${unit}`);
    for (const y of [30, 60, 90]) drawing.append(svg("line", { x1: 0, x2: 600, y1: y, y2: y, class: y === 60 ? "zero" : "grid" }));
    channels.forEach((channel, at) => {
      const points = channel.map((value, place) => `${((place / Math.max(1, channel.length - 1)) * 600).toFixed(1)},${(60 - (value / top) * 58).toFixed(1)}`);
      drawing.append(svg("polyline", { points: points.join(" "), class: `channel-${at}` }));
    });
    const round = (value) => String(Number(value.toPrecision(3)));
    const levels = labelled([[`+${round(top)}`, 0.98], ["0", 0.5], [`−${round(top)}`, 0.02]]);
    const key = AXES.map((name, at) => {
      const line = svg("svg", { viewBox: "0 0 18 8", class: "key-line", "aria-hidden": "true" }, svg("line", { x1: 0, x2: 18, y1: 4, y2: 4, class: `channel-${at}` }));
      return make("span", "key", line, name);
    });
    return make("div", "channels", make("div", "channels-head", make("h4", "minor", unit ? `${title}, ${unit}` : title), ...key), make("div", "signal", levels, drawing, timeAxis(seconds)));
  }

  function motion(medium) {
    const [unit, turning] = medium.units;
    const removed = `Gravity is removed for the plot: the mean of each axis, (${medium.gravity.join(", ")})${unit ? " " + unit : ""}.`;
    const inferred = unit
      ? `Units are inferred: the median acceleration is ${medium.size}, and the rotation is in the range of ${turning}.`
      : `Units are the file's: the median acceleration is ${medium.size}, which is gravity neither in m/s² nor in g.`;
    return make("div", "motion", panel(medium.channels.slice(0, 3), medium.seconds, "Acceleration", unit), panel(medium.channels.slice(3, 6), medium.seconds, "Rotation", turning), make("p", "quiet", `${removed} ${inferred}`));
  }

  // One medium with its name; ``place`` is its place among all of the example.
  function show(medium, place, all) {
    const figure = make("figure", "medium " + medium.kind);
    if (medium.error) figure.append(isolated("p", "note", "cannot be shown: " + medium.error));
    else if (medium.left) figure.append(make("p", "note", "media were left out of this report"));
    else figure.append({ image: picture, audio: sound, video: clip, imu: motion }[medium.kind](medium, place, all));
    const cut = medium.window ? ` (${medium.window[0] ?? 0} to ${medium.window[1] ?? "the end"} s)` : "";
    const words = isolated("span", "", [medium.name + cut, medium.note].filter(Boolean).join("; "));
    figure.append(make("figcaption", "quiet", all.length > 1 ? make("strong", "order", String(place + 1)) : null, words));
    return figure;
  }

  return { show, svg, wave };
})();
