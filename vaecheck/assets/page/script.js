"use strict";
// What a page can do beyond being read: without this, pictures stand side by side and tables in their first order.
(() => {
  const make = (tag, className, text = "") => {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = text;
    if (tag === "button") element.type = "button";
    return element;
  };

  // Before and after: the first picture lies over the second and ends where the slider stands.
  for (const split of document.querySelectorAll(".split")) {
    const slider = make("input", "slider");
    Object.assign(slider, { type: "range", min: "0", max: "100", step: "1", value: "50" });
    const [left, right] = [...split.querySelectorAll(".label")].map((label) => label.textContent);
    slider.setAttribute("aria-label", `${left} left of here, ${right} right: ${split.dataset.name}`);
    const move = () => {
      split.style.setProperty("--split", slider.value);
      slider.setAttribute("aria-valuetext", `${slider.value} % ${left}`);
    };
    slider.addEventListener("input", move);
    // A browser that drags the picture away as a file would let go of the slider.
    for (const image of split.querySelectorAll("img")) image.draggable = false;
    split.classList.add("live");
    split.append(slider);
    move();
  }

  // Zoom: one dialog for all pictures, each drawn by whole factors so that its pixels can be seen.
  const dialog = make("dialog", "");
  const title = make("h2", "");
  title.id = "zoomed";
  dialog.setAttribute("aria-labelledby", title.id);
  const views = make("div", "bar");
  const smaller = make("button", "", "\u2212");
  const larger = make("button", "", "+");
  const scale = make("output", "");
  const close = make("button", "close", "Close");
  const bar = make("div", "bar");
  const stage = make("div", "stage");
  const picture = make("img", "");
  smaller.setAttribute("aria-label", "Smaller");
  larger.setAttribute("aria-label", "Larger");
  stage.tabIndex = 0;
  stage.setAttribute("role", "group");
  stage.setAttribute("aria-label", "Enlarged picture");
  stage.append(picture);
  bar.append(views, smaller, scale, larger, close);
  dialog.append(title, bar, stage);
  document.body.append(dialog);

  let factor = 1;
  const draw = () => {
    const middle = [stage.scrollLeft + stage.clientWidth / 2, stage.scrollTop + stage.clientHeight / 2];
    const before = picture.width || 1;
    picture.width = picture.naturalWidth * factor;
    picture.height = picture.naturalHeight * factor;
    const grown = picture.width / before;
    stage.scrollTo(middle[0] * grown - stage.clientWidth / 2, middle[1] * grown - stage.clientHeight / 2);
    scale.textContent = `\u00d7 ${factor}`;
  };
  const resize = (by) => {
    factor = Math.min(16, Math.max(1, factor + by));
    draw();
  };
  const show = (image) => {
    picture.src = image.src;
    picture.alt = title.textContent = image.alt;
    for (const button of views.children) button.setAttribute("aria-pressed", String(button.image === image));
  };
  const open = (image) => {
    const found = [...image.closest("figure").querySelectorAll("img")];
    const labelled = found.length > 1 ? found : [];
    views.replaceChildren(...labelled.map((each) => {
      const button = make("button", "", each.closest(".view").querySelector(".label").textContent);
      button.image = each;
      button.addEventListener("click", () => show(each));
      return button;
    }));
    const room = Math.min(innerWidth * 0.9 / image.naturalWidth, innerHeight * 0.75 / image.naturalHeight);
    const shown = image.width / image.naturalWidth * (labelled.length ? 1.5 : 1);
    factor = Math.min(16, Math.max(1, Math.floor(room), Math.floor(shown) + 1));
    picture.removeAttribute("width");
    show(image);
    dialog.showModal();
    picture.decode().catch(() => {}).then(() => {
      draw();
      stage.scrollTo((picture.width - stage.clientWidth) / 2, (picture.height - stage.clientHeight) / 2);
    });
  };
  smaller.addEventListener("click", () => resize(-1));
  larger.addEventListener("click", () => resize(1));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "+") resize(1);
    if (event.key === "-") resize(-1);
  });
  for (const image of document.querySelectorAll("main img")) {
    const button = make("button", "zoom");
    button.setAttribute("aria-label", `Enlarge: ${image.alt}`);
    image.replaceWith(button);
    button.append(image);
    button.addEventListener("click", () => open(image));
  }

  // Sorting: by the figure behind a cell, else by its text; what is absent stays last.
  const key = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    const text = cell.textContent.trim();
    return /^-?[\d,]+(\.\d+)?(e[-+]?\d+)?$/.test(text) ? Number(text.replaceAll(",", "")) : text;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === "string" && typeof b === "string") return a.localeCompare(b, "en", { numeric: true });
    return typeof a === "number" ? -1 : 1;
  };
  const absent = (value) => value === "" || value === "-" || value === "unavailable";
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", "sort", head.textContent);
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const falling = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
        const known = rows.filter(([value]) => !absent(value));
        const rest = rows.filter(([value]) => absent(value));
        known.sort(([a], [b]) => (falling ? -compare(a, b) : compare(a, b)));
        table.tBodies[0].append(...[...known, ...rest].map(([, row]) => row));
      });
    });
  }

  // Paper has no folds: what browsers cannot unfold by style alone is opened for it.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const each of folded) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of folded) each.open = false;
  });
})();
