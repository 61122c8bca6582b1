"use strict";
// The data of the list, in columns, what can be shown of it, and a row of it.
const AnyMALRows = (() => {
  const { make, isolated, number } = AnyMALText;
  const EPSILON = 1e-6;
  const STATES = { o: "ok", e: "empty", u: "unparsable", x: "error", "-": "none" };
  const OUTCOMES = { 1: "right", 0: "wrong", p: "partly" };
  let index = null;
  let own = 0; // the run whose answers are judged
  let base = 0; // the run that it is compared with
  let most = 1; // the largest score, the whole of a bar
  const graded = () => index.kind === "caption";
  const compared = () => own !== base;

  function use(received) {
    index = received;
    most = index.unit === "fraction" ? 1 : Math.max(EPSILON, ...index.v.map((column) => column.reduce((one, other) => Math.max(one, other ?? 0), 0)));
  }

  // The run and the one that it is compared with, by their numbers.
  function pair(chosen = [own, base]) {
    [own, base] = chosen;
    return [own, base];
  }

  function change(at) {
    if (!compared()) return null;
    const [now, before] = [index.v[own][at], index.v[base][at]];
    return now === null || before === null ? null : now - before;
  }

  // A change for the better is positive.
  const better = () => (index.better === "lower" ? -1 : 1);
  const gain = (at) => (change(at) === null ? null : better() * change(at));
  const outcome = (run, at) => index.ok[run]?.[at];
  const any = (letter) => (at) => index.s.some((states) => states[at] === letter);

  // What the list can be narrowed to: key, words, which examples. Runs are called by their names.
  function kinds() {
    const [mine, other] = [index.runs[own], index.runs[base]];
    const made = [["all", "all", () => true]];
    if (compared()) {
      made.push(
        ["fell", `worse than ${other}`, (at) => gain(at) < -EPSILON],
        ["rose", `better than ${other}`, (at) => gain(at) > EPSILON],
        ["differs", `answer differs from ${other}`, (at) => index.answers[own][at] !== index.answers[base][at]],
      );
    }
    if (!graded()) {
      made.push(["right", `${mine} right`, (at) => outcome(own, at) === "1"], ["wrong", `${mine} wrong`, (at) => outcome(own, at) === "0"]);
      if (index.ok[own].includes("p")) made.push(["partly", `${mine} partly right`, (at) => outcome(own, at) === "p"]);
      if (compared()) {
        made.push(
          ["broken", `${mine} wrong, ${other} right`, (at) => outcome(own, at) === "0" && outcome(base, at) === "1"],
          ["fixed", `${mine} right, ${other} wrong`, (at) => outcome(own, at) === "1" && outcome(base, at) === "0"],
          ["both-wrong", "both wrong", (at) => outcome(own, at) === "0" && outcome(base, at) === "0"],
          ["both-right", "both right", (at) => outcome(own, at) === "1" && outcome(base, at) === "1"],
        );
      }
    }
    made.push(["error", "errors", any("x")], ["empty", "empty answers", any("e")], ["unparsable", "unparsable answers", any("u")]);
    return made;
  }

  function orders() {
    const data = (at) => index.at[at];
    const value = (at) => (index.v[own][at] === null ? null : better() * index.v[own][at]);
    const low = (at) => (index.s[own][at] === "x" ? -Infinity : value(at)); // an error is worse than any answer
    const high = (at) => (value(at) === null ? null : -value(at));
    const made = [["low", "worst first", low], ["high", "best first", high], ["data", "order of the data", data]];
    if (!compared()) return made;
    const rise = (at) => (gain(at) === null ? null : -gain(at));
    return [["fall", "largest fall first", gain], ["rise", "largest rise first", rise], ...made];
  }

  // What has no value stands last in every order; equals are in the order of the data.
  function sort(found, value) {
    const keys = new Map(found.map((at) => [at, value(at)]));
    return found.sort((one, other) => {
      const [a, b] = [keys.get(one), keys.get(other)];
      if (a === null || b === null) return (a === null) - (b === null) || index.at[one] - index.at[other];
      return (a === b ? 0 : a - b) || index.at[one] - index.at[other];
    });
  }

  function thumb(row) {
    if (Array.isArray(row.t)) return AnyMALExample.wave(row.t, "thumb");
    if (row.t === null) return make("span", "thumb");
    const image = make("img", "thumb");
    image.loading = "lazy";
    image.decoding = "async";
    image.alt = "";
    image.src = "../" + row.t;
    return image;
  }

  function signed(value) {
    return (value < 0 ? "\u2212" : "+") + number(Math.abs(value));
  }

  // A score with its bar, or a word: right and wrong where the metric is a choice.
  function score(run, at, direction) {
    const state = STATES[index.s[run][at]];
    if (state === "none") return make("span", "score", "no answer");
    if (state !== "ok") return make("span", "score " + state, state);
    const [value, word] = [index.v[run][at], OUTCOMES[outcome(run, at)] ?? ""];
    if (value === null) return make("span", "score", "");
    if (word === "right" || word === "wrong") return make("span", "score " + word, word);
    const bar = make("span", "bar " + (run === own ? direction : ""), make("span"));
    bar.firstChild.style.setProperty("--part", String(Math.min(1, Math.max(0, value / most))));
    bar.setAttribute("aria-hidden", "true");
    return make("span", "score " + word, bar, make("span", "value", number(value)));
  }

  function changed(at, direction) {
    const by = change(at);
    if (by === null || !direction) return null;
    const shown = make("span", "change " + direction, signed(by));
    shown.title = `score of ${index.runs[own]} less that of ${index.runs[base]}, x100`;
    return shown;
  }

  // A row is a link to its example.
  function line(at, row) {
    const by = gain(at);
    const direction = by > EPSILON ? "rise" : by < -EPSILON ? "fall" : "";
    const title = isolated("span", "row-question", row.q || row.l || index.ids[at]);
    const words = make("span", "row-words", make("span", "row-top", title, compared() ? changed(at, direction) : null));
    for (const run of compared() ? [base, own] : [own]) {
      const text = isolated("bdi", "", row.a[run] ?? "");
      const name = make("span", "which", index.short[run]);
      name.title = index.runs[run];
      words.append(make("span", "row-answer", compared() ? name : null, text, score(run, at, direction)));
    }
    const link = make("a", "row", thumb(row), words);
    link.href = "#" + encodeURIComponent(index.ids[at]);
    link.draggable = false;
    return make("li", "", link);
  }

  return { use, pair, kinds, orders, sort, line, compared, graded };
})();
