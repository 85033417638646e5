"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const { columns, rows, items, labels } = data;
  const KEYS = "1234567890";
  const KEPT = "ser-review-" + data.list, NAME = "ser-review-annotator";
  const audio = byId("audio"), field = byId("annotator");

  // ---- what is known: by annotator, so that two people at one browser do not mix
  let kept = { name: "", people: {} };
  let keeps = true;
  const read = (key) => { try { return localStorage.getItem(key); } catch { keeps = false; return null; } };
  const write = (key, text) => { try { localStorage.setItem(key, text); } catch { keeps = false; } };
  try { kept = Object.assign(kept, JSON.parse(read(KEPT)) || {}); } catch { /* begin anew */ }
  const fresh = () => ({ at: 0, given: {}, past: [] });
  const people = new Map(Object.entries(kept.people));
  let annotator = kept.name || data.annotator || read(NAME) || "";
  const mine = () => {
    if (!people.has(annotator)) people.set(annotator, fresh());
    return people.get(annotator);
  };
  const keep = () => {
    write(KEPT, JSON.stringify({ name: annotator, people: Object.fromEntries(people) }));
    if (annotator) write(NAME, annotator);
    if (!keeps) note("This browser cannot keep answers for this page: download them before you close it.");
  };

  // ---- the looks
  const say = (id, text) => { byId(id).textContent = text; byId(id).hidden = !text; };
  const note = (text) => say("note", text);
  const clock = (s) => {
    const tenths = Math.round(s * 10);
    return Math.floor(tenths / 600) + ":" + String(Math.floor(tenths / 10) % 60).padStart(2, "0") + "." + tenths % 10;
  };
  const item = () => items[mine().at];
  // Lists of other nights, and of people whose names are alike, have other names.
  const mark = (text) => {
    let hash = 0x811c9dc5;
    for (const letter of text) hash = Math.imul(hash ^ letter.codePointAt(0), 0x01000193);
    return (hash >>> 0).toString(16).padStart(8, "0").slice(0, 4);
  };
  function fileName() {
    const plain = annotator.replace(/[^\p{L}\p{N}._-]+/gu, "_") || "nobody";
    const who = plain === annotator || !annotator ? plain : plain + "-" + mark(annotator);
    return data.name + "-" + who + "-" + data.list.slice(0, 6) + ".csv";
  }

  function sides(segment) {
    if (segment.channels < 2) return segment.role === "mixed" ? "One channel holds both sides: judge the customer’s." : "";
    const side = segment.channels === 2 ? ["the left", "the right"][segment.channel] + " ear" : "channel " + (segment.channel + 1);
    return segment.clip ? "Only the " + segment.role + "’s side is in this clip."
      : "The recording plays all its " + segment.channels + " sides: judge the " + segment.role + "’s (" + side + ") alone.";
  }

  function counts() {
    const given = Object.values(mine().given), unsure = given.filter((answer) => answer === "").length;
    return (given.length - unsure) + " labelled, " + unsure + " not sure, " + (rows.length - given.length) + " open";
  }

  function show(asked = false) {
    const { at, given, past } = mine(), segment = item();
    byId("card").hidden = byId("labels").hidden = !segment;
    byId("end").hidden = !!segment;
    byId("unsure").disabled = byId("skip").disabled = byId("next").disabled = !segment;
    byId("back").disabled = at === 0;
    byId("undo").disabled = !past.length;
    say("progress", Math.min(at + 1, rows.length) + " of " + rows.length);
    say("counts", counts());
    byId("bar").style.width = 100 * at / rows.length + "%";
    byId("download").textContent = "Download " + fileName();
    if (byId("tell")) byId("tell").disabled = !segment;
    if (!segment) {
      say("sum", counts() + ". Download the list below.");
      byId("open").hidden = Object.keys(given).length >= rows.length;
      return;
    }
    say("name", segment.name);
    const side = segment.channels > 1 ? " (channel " + (segment.channel + 1) + " of " + segment.channels + ")" : "";
    say("place", segment.role + side + ", " + clock(segment.start_s) + " – " + clock(segment.end_s));
    say("sides", sides(segment));
    byId("unsure").classList.toggle("given", given[at] === "");
    [...byId("labels").children].forEach((button, i) => {
      button.classList.toggle("given", given[at] === labels[i]);
      button.setAttribute("aria-pressed", String(given[at] === labels[i]));
    });
    say("guess", "guess" in segment && (asked || at in given) ? "The model said: " + segment.guess : "");
  }

  // ---- sound: only the segment, whatever the file holds
  // A clip begins with the seconds before the segment.
  const from = () => item().clip ? item().lead_s : item().start_s;
  const first = () => from() - item().lead_s;
  const until = () => item().clip ? Infinity : item().end_s;
  const long = () => item().end_s - item().start_s;
  let begins = 0; // where the listener wants to hear from: the segment, or before it

  function draw(segment) {
    const wave = segment && segment.wave.length ? segment.wave : null;
    byId("wave").toggleAttribute("hidden", !wave);
    byId("track").hidden = !!wave;
    if (!wave) return;
    const wide = 160 / wave.length, cut = wave.length * segment.lead_s / (segment.lead_s + long());
    const outline = (a, b) => wave.slice(a, b).map((peak, i) => {
      const high = Math.max(peak, 1) / 2.1, x = (a + i) * wide;
      return "M" + x.toFixed(2) + " " + (50 - high).toFixed(1) + "h" + (0.8 * wide).toFixed(2) + "v" + (2 * high).toFixed(1) + "h" + (-0.8 * wide).toFixed(2) + "z";
    }).join("");
    byId("lead").setAttribute("d", outline(0, Math.round(cut)));
    byId("voice").setAttribute("d", outline(Math.round(cut), wave.length));
    point(0);
  }

  // The place of the needle: seconds from where the segment begins.
  function point(seconds) {
    const { lead_s } = item(), x = 160 * Math.min(1, Math.max(0, (seconds + lead_s) / (lead_s + long())));
    for (const end of ["x1", "x2"]) byId("needle").setAttribute(end, x.toFixed(2));
  }

  function load() {
    const segment = item();
    audio.pause();
    byId("heard").style.width = "0";
    byId("playing").textContent = "Play";
    say("problem", segment ? segment.problem : "");
    byId("play").disabled = !segment || !segment.url;
    byId("earlier").disabled = byId("play").disabled || !segment.lead_s;
    draw(segment);
    if (segment) begins = from();
    if (segment && segment.url) audio.src = segment.clip ? segment.url : segment.url + "#t=" + segment.start_s + "," + segment.end_s;
    else audio.removeAttribute("src");
  }

  function play(before = false) {
    const segment = item();
    if (!segment || !segment.url) return;
    begins = before ? first() : from();
    if (before && !segment.clip) audio.src = segment.url + "#t=" + begins + "," + segment.end_s;
    if (audio.readyState >= 1) audio.currentTime = begins;
    audio.play().then(tick, (error) => {
      if (error.name === "NotAllowedError") note("Press Play: this browser plays sound only after a click.");
    });
  }

  function watch() {
    if (!item() || audio.paused || audio.seeking || audio.readyState < 2) return;
    if (audio.currentTime < begins - 0.5) {
      audio.pause();
      say("problem", "This recording cannot be played from the middle; “ser review --clips DIR” copies the segments.");
    }
    point(audio.currentTime - from());
    byId("heard").style.width = Math.max(0, Math.min(100, 100 * (audio.currentTime - from()) / long())) + "%";
    if (audio.currentTime >= until()) audio.pause();
  }

  let ticking = 0;
  function tick() {
    cancelAnimationFrame(ticking);
    watch();
    if (!audio.paused) ticking = requestAnimationFrame(tick);
  }

  audio.addEventListener("loadedmetadata", () => { if (item()) audio.currentTime = begins; });
  audio.addEventListener("timeupdate", watch); // also where the page is not seen
  audio.addEventListener("playing", () => { byId("playing").textContent = "Playing …"; });
  for (const name of ["pause", "ended"]) audio.addEventListener(name, () => { byId("playing").textContent = "Play again"; });
  audio.addEventListener("error", () => {
    const segment = item();
    if (!segment || !audio.getAttribute("src")) return;
    byId("play").disabled = byId("earlier").disabled = true;
    byId("playing").textContent = "Play";
    say("problem", segment.clip
      ? "The clip cannot be played. It should be beside this page, in the folder of --clips: move both together."
      : "The recording cannot be reached from here, or this browser does not play its format; “ser review --clips DIR” copies the segments for this page.");
  });

  // ---- answers
  function give(label) {
    const me = mine(), at = me.at;
    if (!item()) return;
    if (!annotator) {
      note("Enter your name first: it is written beside each label in the list.");
      field.classList.add("wanted");
      field.focus();
      return;
    }
    note("");
    me.past.push([at, at in me.given ? me.given[at] : null]);
    me.given[at] = label;
    const guess = "guess" in item() ? "; the model said " + item().guess : "";
    say("before", (at + 1) + ": " + (label || "not sure") + guess + ".");
    go(at + 1);
  }

  function undo() {
    const me = mine(), last = me.past.pop();
    if (!last) return;
    const [at, was] = last;
    if (was === null) delete me.given[at]; else me.given[at] = was;
    say("before", (at + 1) + ": taken back.");
    go(at);
  }

  function go(at) {
    mine().at = Math.max(0, Math.min(rows.length, at));
    keep();
    show();
    load();
    play();
  }

  function open() {
    const first = items.findIndex((_, i) => !(i in mine().given));
    if (first >= 0) go(first);
  }

  function rename() {
    const name = field.value.trim().replace(/\s+/g, " ");
    if (!name || name === annotator) { field.value = annotator; return; }
    const before = mine(), answered = Object.keys(before.given).length;
    const taken = !people.has(name) && (!answered || !annotator || confirm(
      "Take over the " + answered + " answers of “" + annotator + "”? OK: it is the same person. Cancel: begin anew."));
    if (taken) { people.set(name, before); people.delete(annotator); }
    annotator = field.value = name;
    field.classList.remove("wanted");
    note("");
    keep();
    show();
    load();
  }

  // ---- the list again, with labels
  const quoted = (text) => /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;

  function list() {
    const given = mine().given, label = columns.indexOf("label"), who = columns.indexOf("annotator");
    const filled = rows.map((row, i) => {
      if (!(i in given)) return row;
      const line = [...row];
      line[label] = given[i];
      line[who] = annotator;
      return line;
    });
    return [columns, ...filled].map((row) => row.map(quoted).join(",") + "\r\n").join("");
  }

  function download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([list()], { type: "text/csv;charset=utf-8" }));
    link.download = fileName();
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  // ---- hands
  labels.forEach((label, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    if (i < KEYS.length) {
      const key = document.createElement("kbd");
      key.textContent = KEYS[i];
      button.prepend(key, " ");
    }
    button.addEventListener("click", () => give(label));
    byId("labels").append(button);
  });
  const next = () => go(mine().at + 1), back = () => go(mine().at - 1), tell = () => show(true);
  const earlier = () => play(true);
  const clicks = { play, earlier, undo, back, next, open, download, skip: next, unsure: () => give(""), tell };
  for (const [id, does] of Object.entries(clicks)) if (byId(id)) byId(id).addEventListener("click", () => does());
  field.addEventListener("change", rename);
  field.addEventListener("keydown", (event) => { if (event.key === "Enter") field.blur(); });

  const keys = { " ": play, b: earlier, u: undo, Backspace: undo, ArrowLeft: back, ArrowRight: next, s: next, "?": () => give("") };
  if (byId("tell")) keys.g = tell;
  labels.slice(0, KEYS.length).forEach((label, i) => { keys[KEYS[i]] = () => give(label); });
  const ours = (event) => event.target !== field && !event.ctrlKey && !event.metaKey && !event.altKey;
  document.addEventListener("keydown", (event) => {
    const does = Object.hasOwn(keys, event.key) && keys[event.key];
    if (!ours(event) || !does) return;
    event.preventDefault();
    if (!event.repeat) does();
  });
  // A space would also press the button that has the focus.
  document.addEventListener("keyup", (event) => { if (event.key === " " && ours(event)) event.preventDefault(); });

  field.value = annotator;
  if (mine().at > rows.length) mine().at = 0;
  show();
  load();
})();
