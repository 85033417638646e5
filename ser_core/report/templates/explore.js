"use strict";
(() => {
  // The clips are in the page; one is given to the player when its button is pressed, not before.
  const clips = JSON.parse(document.getElementById("clips").textContent);
  const audio = new Audio();
  let playing = null;
  const show = (button, plays) => {
    button.textContent = plays ? "■ Stop" : "▶ Play";
    button.setAttribute("aria-pressed", String(plays));
  };
  const stop = () => {
    audio.pause();
    if (playing) show(playing, false);
    playing = null;
  };
  const play = (button) => {
    const again = playing === button;
    stop();
    if (again) return;
    audio.src = "data:audio/mpeg;base64," + clips[button.dataset.clip];
    playing = button;
    show(button, true);
    audio.play().catch(() => {
      if (playing === button) stop();
    });
  };
  audio.addEventListener("ended", stop);
  for (const button of document.querySelectorAll("button.play")) {
    button.hidden = false;
    button.addEventListener("click", () => play(button));
  }
})();
