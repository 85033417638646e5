"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const { duration, before, segments } = data;
  const audio = byId("audio"), head = byId("head"), seekBar = byId("seek");
  if (!audio) return;
  const STEP_S = 5, SAME_S = 2;
  let at = 0;         // place of the playhead, in seconds
  let chosen = -1;    // the segment that j and k go on from
  let sources = null; // addresses of the sound, once somebody plays
  let source = -1;
  let wants = false;  // to play as soon as it can

  // ---- looks
  const clock = (seconds) => {
    const whole = Math.floor(seconds), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    const two = (n) => String(n).padStart(2, "0");
    return (hours ? hours + ":" + two(minutes) : minutes) + ":" + two(whole % 60);
  };
  const problem = (text) => { byId("problem").textContent = text; byId("problem").hidden = !text; };
  const marked = new Map();
  document.querySelectorAll("[data-number]").forEach((element) => {
    if (element.tagName === "BUTTON") return;
    const number = Number(element.dataset.number);
    marked.set(number, [...(marked.get(number) || []), element]);
  });
  const isAt = (i) => segments[i][0] <= at && at < segments[i][1];
  let shown = new Set();

  function show() {
    byId("time").textContent = clock(at) + " / " + data.length;
    if (seekBar) {
      seekBar.value = at;
      seekBar.setAttribute("aria-valuetext", clock(at) + " of " + data.length);
      place();
    }
    const heard = segments.map((_, i) => i).filter(isAt);
    const now = new Set(heard.length ? heard : chosen >= 0 && audio.paused ? [chosen] : []);
    for (const i of shown) if (!now.has(i)) mark(i, false);
    for (const i of now) if (!shown.has(i)) mark(i, true);
    shown = now;
    byId("now").textContent = heard.map((i) => segments[i][2]).join("; ");
    byId("playing").textContent = audio.paused ? "Play" : "Pause";
  }

  function mark(i, on) {
    for (const element of marked.get(i) || []) {
      element.classList.toggle("now", on);
      if (element.tagName !== "TR") continue;
      if (on) {
        element.setAttribute("aria-current", "true");
        const list = byId("list"), top = element.offsetTop, bottom = top + element.offsetHeight;
        if (top - 60 < list.scrollTop) list.scrollTop = top - 60;
        else if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
      } else element.removeAttribute("aria-current");
    }
  }

  function place() {
    const chart = byId("chart").getBoundingClientRect(), times = byId("times").getBoundingClientRect();
    head.hidden = false;
    head.style.left = times.left - chart.left + times.width * (duration ? at / duration : 0) + "px";
    seekBar.style.width = times.width + "px";
    seekBar.style.marginLeft = times.left - chart.left + "px";
  }

  // A name that its stretch has no room for becomes its first letter, or nothing.
  function fit() {
    document.querySelectorAll(".seg").forEach((segment) => {
      segment.classList.remove("tight", "tighter");
      const width = segment.querySelector(".edge").getBoundingClientRect().width;
      const full = segment.querySelector(".full").getComputedTextLength();
      if (full + 6 > width) segment.classList.add(width > 17 ? "tight" : "tighter");
    });
  }

  // ---- sound: nothing is fetched before somebody plays
  function found() {
    const copy = byId("copy");
    if (copy) {
      const bytes = Uint8Array.from(atob(copy.textContent), (letter) => letter.charCodeAt(0));
      return [URL.createObjectURL(new Blob([bytes], { type: "audio/ogg" }))];
    }
    // A page from a server may not read files.
    return data.urls.filter((url) => location.protocol === "file:" || !url.startsWith("file:"));
  }

  function load(i) {
    source = i;
    if (i < sources.length) audio.src = sources[i];
    else {
      wants = false;
      audio.removeAttribute("src");
      byId("play").disabled = true;
      problem("The recording cannot be reached from here, or this browser does not play its format; “ser show --html --clips” puts a copy into the page.");
      show();
    }
  }

  function play() {
    if (byId("play").disabled) return;
    wants = true;
    sources = sources || found();
    if (source < 0) return load(0);
    if (at >= duration - 0.05) seek(0);
    audio.play().then(tick, (error) => {
      if (error.name === "NotAllowedError") problem("Press Play: this browser plays sound only after a click.");
    });
  }

  function pause() {
    wants = false;
    audio.pause();
  }

  const toggle = () => (wants ? pause() : play());

  audio.addEventListener("loadedmetadata", () => {
    if (Number.isFinite(audio.duration) && Math.abs(audio.duration - duration) > SAME_S)
      problem("This browser finds " + clock(audio.duration) + " of " + data.length + " in the recording; “ser show --html --clips” puts a whole copy into the page.");
    audio.currentTime = at;
    if (wants) play();
  });
  audio.addEventListener("error", () => { if (audio.getAttribute("src")) load(source + 1); });
  audio.addEventListener("ended", () => { wants = false; });
  for (const name of ["timeupdate", "seeked", "pause", "playing", "ended"]) audio.addEventListener(name, () => watch());

  function watch() {
    if (audio.readyState >= 1 && !audio.seeking) {
      if (!audio.paused && audio.currentTime < at - 1) {
        pause();
        problem("This recording cannot be played from the middle; “ser show --html --clips” puts a copy into the page.");
      } else at = Math.min(duration, audio.currentTime);
    }
    show();
  }

  let ticking = 0;
  function tick() {
    cancelAnimationFrame(ticking);
    watch();
    if (!audio.paused) ticking = requestAnimationFrame(tick);
  }

  // ---- places
  function seek(seconds) {
    at = Math.max(0, Math.min(duration, seconds));
    if (audio.readyState >= 1) audio.currentTime = at;
    show();
  }

  const name = () => history.replaceState(null, "", "#t=" + Math.round(at * 100) / 100);

  function hear(i) {
    if (!segments[i]) return;
    chosen = i;
    seek(segments[i][0] - before);
    name();
    play();
  }

  // The segment after, or before, the one that was heard last.
  function step(by) {
    if (chosen < 0) {
      const next = segments.findIndex(([start]) => Math.max(0, start - before) >= at - 0.05);
      hear(by > 0 ? next : (next < 0 ? segments.length : next) - 1);
    } else hear(chosen + by);
  }

  function follow() {
    const found = /^#t=(\d+(?:\.\d+)?)$/.exec(location.hash);
    if (!found) return;
    chosen = -1;
    seek(Number(found[1]));
  }

  // ---- hands
  byId("play").addEventListener("click", toggle);
  document.addEventListener("click", (event) => {
    const target = event.target;
    const segment = target.closest(".seg, button[data-number]");
    if (segment) {
      hear(Number(segment.dataset.number));
      // After a click the space bar is for play and pause; after a key the button keeps it.
      if (event.detail && !byId("play").disabled) byId("play").focus({ preventScroll: true });
      return;
    }
    if (target.closest(".plot")) {
      const times = byId("times").getBoundingClientRect();
      chosen = -1;
      seek(duration * (event.clientX - times.left) / times.width);
      name();
    }
  });
  if (seekBar) seekBar.addEventListener("input", () => { chosen = -1; seek(Number(seekBar.value)); });

  const keys = {
    " ": toggle,
    ArrowLeft: () => { chosen = -1; seek(at - STEP_S); },
    ArrowRight: () => { chosen = -1; seek(at + STEP_S); },
    j: () => step(1),
    k: () => step(-1),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
    const own = event.target.closest && event.target.closest("button, summary, a, input");
    if (own && (event.key === " " ? own !== seekBar : own === seekBar && event.key.startsWith("Arrow"))) return;
    event.preventDefault();
    keys[event.key]();
  });
  window.addEventListener("hashchange", follow);
  window.addEventListener("resize", () => { fit(); show(); });

  fit();
  follow();
  show();
})();
