"use strict";
(() => {
  const root = document.documentElement;
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const make = (name, text, look) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (look) made.className = look;
    return made;
  };
  const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
  const many = (count) => count.toLocaleString("en");

  // samples: filters, and one of them large
  const samples = data["look-at-them"];
  const tiles = [...document.querySelectorAll("#gallery > figure")];
  const dialog = at("large");
  const most = 21;
  let shown = tiles;
  let open = 0;
  let all = false;

  const filter = () => {
    const tag = document.querySelector('[data-tag][aria-pressed="true"]')?.dataset.tag ?? "all";
    const pair = at("pair")?.value ?? "";
    const fits = (tile) =>
      (tag === "all" || tile.dataset.tags.split("\n").includes(tag)) &&
      (pair === "" || `${tile.dataset.actual}\n${tile.dataset.predicted}` === pair);
    shown = tiles.filter(fits);
    const seen = new Set(all ? shown : shown.slice(0, most));
    for (const tile of tiles) tile.hidden = !seen.has(tile);
    at("none-fits").hidden = shown.length > 0;
    at("all-samples").hidden = seen.size === shown.length;
    at("all-samples").textContent = `Show all ${shown.length}`;
  };

  const bars = (top) => {
    const list = make("div", undefined, "bars");
    for (const [name, share] of top) {
      const line = make("div");
      const bar = make("progress");
      bar.max = 1;
      bar.value = share;
      line.append(make("span", name), make("span", percent(share, 1)), bar);
      list.append(line);
    }
    return list;
  };

  const pairs = (values) => {
    const body = make("tbody");
    for (const [name, value] of values) {
      const row = make("tr");
      row.append(make("th", name), make("td", value, "n"));
      body.append(row);
    }
    const table = make("table");
    table.append(body);
    return table;
  };

  const known = (tile) => {
    const sample = samples.samples[Number(tile.dataset.at)];
    const words = make("div");
    words.append(make("h3", sample.index === null ? "Sample" : `Sample #${sample.index}`));
    words.append(tile.querySelector("figcaption").cloneNode(true));
    const tags = tile.dataset.tags.split("\n").filter(Boolean).join(" · ");
    if (tags) words.append(make("p", tags, "quiet"));
    if (sample.top.length) words.append(make("p", "What it thought of"), bars(sample.top));
    if (sample.text) words.append(make("p", sample.text));
    if (sample.values.length) words.append(pairs(sample.values));
    if (sample.index !== null && samples.maps.includes(sample.index)) {
      const link = make("a", `Its maps: row ${samples.maps.indexOf(sample.index) + 1} of the sheet below`);
      link.href = "#relies-on";
      link.addEventListener("click", () => dialog.close());
      words.append(link);
    }
    return words;
  };

  const enlarge = (tile) => {
    open = Math.max(shown.indexOf(tile), 0);
    const inside = make("div", undefined, "inside");
    const panes = make("div", undefined, "panes");
    for (const pane of tile.querySelectorAll(".pane")) panes.append(pane.cloneNode(true));
    if (panes.children.length) inside.append(panes);
    inside.append(known(tile));
    const turn = make("div", undefined, "turn");
    for (const [text, step] of [["← previous", -1], ["next →", 1]]) {
      const button = make("button", text, "tag");
      button.type = "button";
      button.addEventListener("click", () => move(step));
      turn.append(button);
    }
    const close = make("button", "close", "tag close");
    close.type = "button";
    close.addEventListener("click", () => dialog.close());
    turn.append(close);
    dialog.replaceChildren(inside, turn);
    if (!dialog.open) dialog.showModal();
  };

  const move = (step) => enlarge(shown[(open + step + shown.length) % shown.length]);

  if (tiles.length) {
    for (const tile of tiles) tile.querySelector(".open").addEventListener("click", () => enlarge(tile));
    for (const button of document.querySelectorAll("[data-tag]"))
      button.addEventListener("click", () => {
        for (const other of document.querySelectorAll("[data-tag]")) other.setAttribute("aria-pressed", String(other === button));
        filter();
      });
    at("pair")?.addEventListener("change", filter);
    at("all-samples").addEventListener("click", () => {
      all = true;
      filter();
    });
    filter();
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") move(-1);
      if (event.key === "ArrowRight") move(1);
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }

  // the matrix
  const matrix = data["what-goes-wrong"];
  const canvas = at("matrix");
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  const drawing = () => {
    const { names, cells, support } = matrix;
    const count = names.length;
    const counts = new Map(cells.map(([i, j, n]) => [i * count + j, n]));
    const recall = (i) => (support[i] ? (counts.get(i * count + i) ?? 0) / support[i] : 2);
    const orders = {
      confusion: matrix.order,
      given: names.map((_, i) => i),
      weakest: names.map((_, i) => i).sort((a, b) => recall(a) - recall(b)),
    };
    let order = orders.confusion;
    let place = [];
    let here = null;
    let chosen = null;
    let size = { left: 0, top: 0, cell: 1, side: 1 };
    const sans = () => getComputedStyle(document.body).fontFamily;

    const shortened = (context, room) => {
      const fits = (text) => context.measureText(text).width <= room;
      const cut = (text, keep) => {
        for (let letters = text.length - 1; letters > 1; letters--) if (fits(keep(text, letters))) return keep(text, letters);
        return "…";
      };
      const ways = [
        (text, n) => `${text.slice(0, n).trimEnd()}…`,
        (text, n) => `${text.slice(0, Math.ceil(n / 2)).trimEnd()}…${text.slice(text.length - Math.floor(n / 2)).trimStart()}`,
        (text, n) => `…${text.slice(text.length - n).trimStart()}`,
      ];
      const made = ways.map((way) => names.map((name) => (fits(name) ? name : cut(name, way))));
      const distinct = made.map((list) => new Set(list).size);
      return made[distinct.indexOf(Math.max(...distinct))];
    };

    const layout = (context, width) => {
      let left = 0;
      let top = 0;
      const shownNames = width / count >= 12;
      if (shownNames) {
        context.font = `12px ${sans()}`;
        const longest = Math.max(...names.map((name) => context.measureText(name).width));
        left = Math.min(longest + 12, width * 0.3, 190);
        top = Math.min(longest + 12, width * 0.22, 130);
      }
      const side = Math.min(width - left, count * 84);
      size = { left, top, side, cell: side / count, named: shownNames && side / count >= 9 };
      if (!size.named) size = { left: 0, top: 0, side: Math.min(width, count * 84), cell: Math.min(width / count, 84), named: false };
    };

    const labels = (context) => {
      if (!size.named) return;
      const text = Math.min(12, Math.max(9, size.cell * 0.62));
      context.font = `${text}px ${sans()}`;
      context.fillStyle = colour("--quiet");
      context.textBaseline = "middle";
      const rows = shortened(context, size.left - 10);
      const columns = shortened(context, size.top - 10);
      order.forEach((name, spot) => {
        const middle = (spot + 0.5) * size.cell;
        context.textAlign = "right";
        context.fillText(rows[name], size.left - 7, size.top + middle);
        context.save();
        context.translate(size.left + middle, size.top - 7);
        context.rotate(-Math.PI / 2);
        context.textAlign = "left";
        context.fillText(columns[name], 0, 0);
        context.restore();
      });
    };

    const draw = () => {
      const scale = window.devicePixelRatio || 1;
      const context = canvas.getContext("2d");
      const width = canvas.clientWidth;
      layout(context, width);
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round((size.top + size.side) * scale);
      canvas.style.height = `${size.top + size.side}px`;
      context.scale(scale, scale);
      const { left, top, cell, side } = size;
      place = [];
      order.forEach((name, spot) => (place[name] = spot));
      context.fillStyle = colour("--wash");
      context.fillRect(left, top, side, side);
      const gap = cell >= 7 ? 1 : 0;
      const least = Math.max(cell - gap, 1.8);
      const faint = cell < 3 ? 0.5 : 0.28;
      const grey = colour("--grey");
      const accent = colour("--accent");
      for (const [i, j, n] of cells) {
        const share = n / support[i];
        context.globalAlpha = i === j ? 0.12 + 0.6 * share : faint + (1 - faint) * Math.sqrt(share);
        context.fillStyle = i === j ? grey : accent;
        context.fillRect(left + place[j] * cell, top + place[i] * cell, least, least);
      }
      context.globalAlpha = 1;
      if (cell >= 17) {
        context.font = `${Math.min(14, cell * 0.46)}px ${sans()}`;
        context.textAlign = "center";
        context.textBaseline = "middle";
        for (const [i, j, n] of cells) {
          const strong = i === j ? n / support[i] > 0.62 : n / support[i] > 0.22;
          context.fillStyle = strong ? colour("--paper") : colour("--ink");
          const text = n < 10000 ? String(n) : `${Math.round(n / 1000)}k`;
          if (context.measureText(text).width < cell) context.fillText(text, left + (place[j] + 0.5) * cell - gap / 2, top + (place[i] + 0.5) * cell);
        }
      }
      labels(context);
      for (const [spot, strong] of [[here, false], [chosen, true]]) if (spot) mark(context, spot, strong);
    };

    const mark = (context, [i, j], strong) => {
      const { left, top, cell, side } = size;
      const x = left + place[j] * cell;
      const y = top + place[i] * cell;
      context.strokeStyle = colour("--ink");
      context.globalAlpha = 0.25;
      context.lineWidth = 1;
      context.strokeRect(left + 0.5, y, side - 1, cell);
      context.strokeRect(x, top + 0.5, cell, side - 1);
      context.globalAlpha = 1;
      context.lineWidth = strong ? 2.5 : 1.5;
      const wide = Math.max(cell, 6);
      context.strokeRect(x - (wide - cell) / 2, y - (wide - cell) / 2, wide, wide);
    };

    const say = ([i, j]) => {
      const n = counts.get(i * count + j) ?? 0;
      const line = at("cell");
      const name = (k) => make("b", names[k]);
      const rows = support[i] ? ` of ${many(support[i])} (${percent(n / support[i])})` : "";
      line.replaceChildren(`${many(n)}${rows}: `, name(i), i === j ? " predicted as it is" : " taken for ", ...(i === j ? [] : [name(j)]));
    };

    const strip = ([i, j]) => {
      const found = tiles.filter((tile) => tile.dataset.actual === names[i] && tile.dataset.predicted === names[j]);
      const box = at("cell-samples");
      box.replaceChildren();
      for (const tile of found.slice(0, 8)) {
        const button = make("button");
        button.type = "button";
        const picture = tile.querySelector("img");
        button.append(picture ? picture.cloneNode() : make("small", tile.querySelector(".words, .values")?.textContent.slice(0, 80) ?? ""));
        button.setAttribute("aria-label", tile.querySelector(".open").getAttribute("aria-label"));
        button.addEventListener("click", () => {
          shown = found;
          enlarge(tile);
        });
        box.append(button);
      }
      if (!found.length && tiles.length) box.append(make("small", "No sample of this square was kept."));
    };

    const choose = (spot) => {
      chosen = spot;
      here = spot;
      draw();
      say(spot);
      strip(spot);
    };

    const under = (event) => {
      const box = canvas.getBoundingClientRect();
      const row = Math.floor((event.clientY - box.top - size.top) / size.cell);
      const column = Math.floor((event.clientX - box.left - size.left) / size.cell);
      const inside = (spot) => spot >= 0 && spot < count;
      return inside(row) && inside(column) ? [order[row], order[column]] : null;
    };

    // of very small cells the largest near the pointer is meant
    const nearest = (event) => {
      const spot = under(event);
      if (!spot || size.cell >= 6) return spot;
      const reach = Math.ceil(5 / size.cell);
      let best = spot;
      let most = counts.get(spot[0] * count + spot[1]) ?? 0;
      if (most) return spot;
      for (let r = -reach; r <= reach; r++)
        for (let c = -reach; c <= reach; c++) {
          const near = [order[place[spot[0]] + r], order[place[spot[1]] + c]];
          const n = near[0] === undefined || near[1] === undefined ? 0 : counts.get(near[0] * count + near[1]) ?? 0;
          if (n > most) [best, most] = [near, n];
        }
      return best;
    };

    let waiting = false;
    const later = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        draw();
      });
    };

    canvas.addEventListener("pointermove", (event) => {
      const spot = nearest(event);
      if (!spot) return;
      here = spot;
      say(spot);
      later();
    });
    canvas.addEventListener("pointerleave", () => {
      here = chosen;
      if (chosen) say(chosen);
      later();
    });
    canvas.addEventListener("click", (event) => {
      const spot = nearest(event);
      if (spot) choose(spot);
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (step) {
        event.preventDefault();
        const [i, j] = here ?? [order[0], order[0]];
        const to = (k, by) => order[Math.min(count - 1, Math.max(0, place[k] + by))];
        here = here ? [to(i, step[0]), to(j, step[1])] : [i, j];
        say(here);
        draw();
      }
      if ((event.key === "Enter" || event.key === " ") && here) {
        event.preventDefault();
        choose(here);
      }
    });
    at("order").addEventListener("change", (event) => {
      order = orders[event.target.value];
      draw();
    });
    for (const button of document.querySelectorAll("#pairs [data-a]"))
      button.addEventListener("click", () => choose([Number(button.dataset.a), Number(button.dataset.p)]));
    new ResizeObserver(later).observe(canvas.parentElement);
    draw();
    const first = document.querySelector("#pairs [data-a]");
    if (first) choose([Number(first.dataset.a), Number(first.dataset.p)]);
    return draw;
  };

  const redraw = matrix ? drawing() : () => {};

  // the table of classes
  const table = at("class-table");
  if (table) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    const first = body.rows.length;
    let rows = [...body.rows];
    let rest = data.classes?.rows ?? [];
    let whole = rest.length === 0;
    const value = (row, column) => {
      const cell = row.cells[column];
      return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
    };
    const sort = (column, up) => {
      const way = up ? 1 : -1;
      every().sort((a, b) => {
        const [one, other] = [value(a, column), value(b, column)];
        return way * (typeof one === "string" ? one.localeCompare(other, undefined, { numeric: true }) : one - other);
      });
      body.replaceChildren(...rows.slice(0, whole ? rows.length : first));
      heads.forEach((head, place) => {
        if (place === column) head.setAttribute("aria-sort", up ? "ascending" : "descending");
        else head.removeAttribute("aria-sort");
      });
    };
    heads.forEach((head, column) =>
      head.querySelector("button").addEventListener("click", () => sort(column, head.getAttribute("aria-sort") !== "ascending")),
    );
    const every = () => {
      const pattern = rows[0];
      for (const [name, support, values, ends, taken] of rest) {
        const row = pattern.cloneNode(true);
        row.cells[0].textContent = name;
        row.cells[1].textContent = support === null ? "–" : many(support);
        row.cells[1].dataset.v = support ?? -1;
        values.forEach((share, place) => figure(row.cells[place + 2], share, ends[place]));
        const last = row.cells[values.length + 2];
        if (last) last.textContent = taken;
        rows.push(row);
      }
      rest = [];
      return rows;
    };
    const unfold = () => {
      whole = true;
      body.replaceChildren(...every());
      at("all-classes")?.remove();
      at("more-classes")?.remove();
    };
    at("all-classes")?.addEventListener("click", unfold);
    const figure = (cell, share, ends) => {
      cell.dataset.v = share ?? -1;
      const bar = cell.querySelector("svg");
      if (!bar) {
        cell.textContent = share === null ? "–" : share.toFixed(3);
        return;
      }
      bar.querySelector(".fill")?.setAttribute("width", 84 * (share ?? 0));
      const line = bar.querySelector(".ends");
      line?.setAttribute("x1", 84 * (ends?.[0] ?? 0));
      line?.setAttribute("x2", 84 * (ends?.[1] ?? 0));
      cell.querySelector("span > span").textContent = share === null ? "–" : percent(share);
      cell.firstElementChild.title = ends ? `95 % interval ${percent(ends[0])} to ${percent(ends[1])}` : "";
    };
  }

  // how many rows get an answer
  const slider = at("coverage");
  if (slider) {
    slider.addEventListener("input", () => {
      at("answered").textContent = data.believed.answered[Number(slider.value)];
    });
  }

  // which section is read, light and dark, paper
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const link = links.get(target.id);
        if (isIntersecting) link?.setAttribute("aria-current", "true");
        else link?.removeAttribute("aria-current");
      }
    },
    { rootMargin: "-15% 0px -80% 0px" },
  );
  for (const section of document.querySelectorAll("main > section")) watcher.observe(section);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const each of folded) each.open = true;
    root.dataset.print = "";
    redraw();
  });
  addEventListener("afterprint", () => {
    for (const each of folded) each.open = false;
    delete root.dataset.print;
    redraw();
  });
})();
