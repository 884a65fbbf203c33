'use strict';

/*
 * Drawing asks each visible row for what lies in the zoomed range. Where boxes are narrower than half
 * a pixel it jumps to the next half pixel by binary search and counts what it jumped over, so that a
 * redraw touches a number of nodes that depends on the window and not on the profile.
 */

const ROW_PX = 20;
const WIDTH_MIN_PX = 0.5;
const LABEL_MIN_PX = 26;
const PRINT_ROWS_MAX = 45;

/* How rows map to depths: the path to the zoomed frame, then its subtree. */
function rowsCount() {
	return view.tree.depth[view.zoom] + view.tree.height[view.zoom] + 1;
}

/* Flipped, the root stands at the lower edge of the stage, or of the rows when they are more. */
function rowFlip(row) {
	const room = view.isPrinting ? 0 : Math.floor(page.stage.clientHeight / ROW_PX);
	const rows = Math.max(rowsCount(), room);
	return view.isFlipped ? rows - 1 - row : row;
}

function rowTop(row) {
	return rowFlip(row) * ROW_PX;
}

function boxNode(node, x, w) {
	return { node, x, w, count: 1, sum: view.layout.width[node], place: -1 };
}

/* The boxes of one row of the zoomed subtree; `stats.touched` counts the nodes looked at. */
function rowBoxes(d, pixels, stats) {
	const { tree, layout, zoom } = view;
	const { nodes } = tree.levels;
	const { x0, width } = layout;
	const scale = pixels / width[zoom];
	const left = x0[zoom];
	const boxes = [];
	const [from, to] = levelRange(tree, d, zoom);
	for (let p = from; p < to;) {
		const node = nodes[p];
		const x = (x0[node] - left) * scale;
		const w = width[node] * scale;
		stats.touched++;
		if (w >= WIDTH_MIN_PX) {
			boxes.push(boxNode(node, x, w));
			p++;
			continue;
		}

		/* All but the last that begin within this half pixel also end in it. */
		const limit = x0[node] + WIDTH_MIN_PX / scale;
		let next = placeNear(p + 1, to, (q) => {
			stats.touched++;
			return x0[nodes[q]] >= limit;
		});
		if (next - 1 > p && width[nodes[next - 1]] * scale >= WIDTH_MIN_PX)
			next--;
		rowMerge(boxes, p, next, x, scale);
		p = next;
	}
	return boxes;
}

/* Joins a run of tiny boxes to the one before it when they touch and stem from the same parent. */
function rowMerge(boxes, from, to, x, scale) {
	const { tree, layout } = view;
	const { nodes } = tree.levels;
	const sum = layout.sums[to] - layout.sums[from];
	const last = nodes[to - 1];
	const end = (layout.x0[last] + layout.width[last] - layout.x0[view.zoom]) * scale;
	if (sum === 0)
		return;
	const before = boxes[boxes.length - 1];
	if (before && before.node < 0 && x - (before.x + before.w) < WIDTH_MIN_PX &&
		(tree.parent[before.first] === tree.parent[nodes[from]] ||
			layout.width[tree.parent[nodes[from]]] * scale < 4)) {
		before.w = end - before.x;
		before.count += to - from;
		before.sum += sum;
		before.to = to;
		return;
	}
	boxes.push({ node: -1, first: nodes[from], x, w: end - x, count: to - from, sum, place: from, to });
}

function textWidth(ctx, text) {
	let width = view.measured.get(text);
	if (width === undefined) {
		width = ctx.measureText(text).width;
		view.measured.set(text, width);
	}
	return width;
}

/* `text`, cut to `room` pixels; empty when not even three characters fit. */
function textFit(ctx, text, room) {
	const width = textWidth(ctx, text);
	if (width <= room)
		return text;
	let length = Math.floor(text.length * room / width);
	while (length >= 3) {
		const cut = `${text.slice(0, length - 1)}…`;
		if (ctx.measureText(cut).width <= room)
			return cut;
		length--;
	}
	return '';
}

/* Name, and in a diff the number behind it; where there is no room for both, its sign in front. */
function labelDraw(ctx, box, what, y) {
	const room = box.w - 8;
	const name = nodeName(box.node);
	const centre = y + ROW_PX / 2 + 0.5;
	if (!what) {
		ctx.fillText(textFit(ctx, name, room), box.x + 4, centre);
		return;
	}
	const sign = what.state === 'new' ? '✚ ' : what.state === 'gone' ? '✕ ' :
		what.points > 0.005 ? '▲ ' : what.points < -0.005 ? '▼ ' : '';
	const number = what.state ? `${what.state} ${what.pp}` : what.pp;
	const numberWidth = textWidth(ctx, number);
	const isRoomy = room > numberWidth + Math.min(textWidth(ctx, sign + name), 60) + 12;
	const text = textFit(ctx, sign + name, isRoomy ? room - numberWidth - 12 : room);
	ctx.fillText(text, box.x + 4, centre);
	if (isRoomy && text)
		ctx.fillText(number, box.x + box.w - 4 - numberWidth, centre);
}

function boxIsFound(box) {
	const { found } = view;
	if (!found)
		return false;
	if (box.node >= 0)
		return found.isFrame[view.tree.frame[box.node]] === 1;
	return found.places[box.to] > found.places[box.place];
}

function boxPaint(box, what, isFaded) {
	const suffix = isFaded ? 'Faded' : '';
	const { palettes, tree } = view;
	if (box.node < 0)
		return palettes[`merged${suffix}`];
	if (!what)
		return palettes[`own${suffix}`][tree.frame[box.node]];
	if (what.state === 'gone')
		return palettes[`back${suffix}`];
	const effect = Math.max(-1, Math.min(1, what.effect));
	return palettes[`steps${suffix}`][EFFECT_STEPS + Math.round(effect * EFFECT_STEPS)];
}

/* Diagonal lines over a box: only in B. They are drawn lighter below the label's ink than it needs. */
function hatchDraw(ctx, x, y, w, fill) {
	const lines = colourMix(fill.rgb, inkFor(fill.rgb) === INK_DARK ? INK_LIGHT : INK_DARK, view.theme.hatch);
	ctx.save();
	ctx.beginPath();
	ctx.rect(x, y, w, ROW_PX - 1);
	ctx.clip();
	ctx.strokeStyle = colourText(lines);
	ctx.lineWidth = 2;
	ctx.beginPath();
	const first = Math.floor((x - ROW_PX) / 8) * 8;
	for (let at = first; at < x + w; at += 8) {
		ctx.moveTo(at, y + ROW_PX);
		ctx.lineTo(at + ROW_PX, y);
	}
	ctx.stroke();
	ctx.restore();
}

function boxDraw(ctx, box, y, stats) {
	const what = isDiff() && box.node > 0 ? nodeChange(box.node) : null;
	const isFound = boxIsFound(box);
	const fill = boxPaint(box, what, view.found ? !isFound : box.node >= 0 && box.node < view.zoom);
	const gap = box.w > 3 ? 1 : 0;
	const w = Math.max(box.w - gap, WIDTH_MIN_PX);
	ctx.fillStyle = fill.fill;
	ctx.fillRect(box.x, y, w, ROW_PX - 1);
	if (what && what.state === 'new' && box.w > 3)
		hatchDraw(ctx, box.x, y, w, fill);
	if (what && what.state === 'gone' && box.w > 3)
		outlineDraw(ctx, box, y, colourText(view.theme.less), 1, [4, 3]);
	stats.drawn++;
	if (isFound)
		outlineDraw(ctx, box, y, colourText(view.theme.find), 2, []);
	if (box.w >= LABEL_MIN_PX) {
		ctx.fillStyle = fill.ink;
		stats.contrast = Math.min(stats.contrast, fill.contrast);
		if (box.node >= 0)
			labelDraw(ctx, box, what, y);
		else
			ctx.fillText(textFit(ctx, mergedText(box), box.w - 8), box.x + 4, y + ROW_PX / 2 + 0.5);
	}
}

function outlineDraw(ctx, box, y, style, thickness, dash) {
	ctx.strokeStyle = style;
	ctx.lineWidth = thickness;
	ctx.setLineDash(dash);
	const half = thickness / 2;
	ctx.strokeRect(box.x + half, y + half, Math.max(box.w - 1 - thickness, 0.5), ROW_PX - 1 - thickness);
	ctx.setLineDash([]);
}

/* The box of the row that the node is drawn in, alone or merged. */
function boxOf(node, boxes) {
	const { tree } = view;
	return boxes.find((box) => box.node === node || (box.node < 0 && box.first <= node &&
		node <= tree.levels.nodes[box.to - 1]));
}

function ringsDraw(ctx, scrolled) {
	const { tree, boxes } = view;
	for (const node of [view.hover, view.selected]) {
		const row = node < 0 ? null : boxes[tree.depth[node]];
		const box = row && boxOf(node, row);
		if (!box)
			continue;
		const y = rowTop(tree.depth[node]) - scrolled;
		const isSelected = node === view.selected && !view.isPrinting;
		if (isSelected)
			page.canvas.dataset.ring = [box.x, y, box.w, ROW_PX].map((v) => v.toFixed(1)).join(' ');
		outlineDraw(ctx, box, y, colourText(view.theme.focus), isSelected ? 2 : 1, []);
	}
}

/* The canvas is as high as the window; the element around it is as high as all rows. */
function canvasFit(width, height) {
	const ratio = window.devicePixelRatio || 1;
	const { canvas } = page;
	const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
	if (canvas.width !== w || canvas.height !== h) {
		canvas.width = w;
		canvas.height = h;
		canvas.style.width = `${width}px`;
		canvas.style.height = `${height}px`;
	}
	const ctx = canvas.getContext('2d');
	ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
	ctx.font = '12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
	ctx.textBaseline = 'middle';
	return ctx;
}

function graphDraw() {
	const started = performance.now();
	const { tree } = view;
	const rows = rowsCount();
	const rowsShown = view.isPrinting ? Math.min(rows, PRINT_ROWS_MAX) : rows;
	page.rows.style.height = `${rowsShown * ROW_PX}px`;
	const width = page.rows.clientWidth;
	const height = view.isPrinting ? rowsShown * ROW_PX : Math.min(page.stage.clientHeight, innerHeight);
	if (width < 1 || height < 1)
		return;

	const scrolled = view.isPrinting ? 0 : page.stage.scrollTop;
	const ctx = canvasFit(width, height);
	const stats = { touched: 0, drawn: 0, contrast: 21 };
	ctx.fillStyle = colourText(view.theme.back);
	ctx.fillRect(0, 0, width, height);
	delete page.canvas.dataset.ring;
	view.boxes = [];
	const path = treePath(tree, view.zoom);
	for (let row = 0; row < rows; row++) {
		const y = rowTop(row) - scrolled;
		if (y <= -ROW_PX || y >= height)
			continue;
		const boxes = row < path.length ? [boxNode(path[row], 0, width)] : rowBoxes(row, width, stats);
		view.boxes[row] = boxes;
		for (const box of boxes)
			boxDraw(ctx, box, y, stats);
	}
	ringsDraw(ctx, scrolled);
	Object.assign(page.canvas.dataset, { touched: stats.touched, drawn: stats.drawn,
		contrast: stats.contrast.toFixed(2), drawMs: (performance.now() - started).toFixed(2) });
}

/* At most one redraw per frame of the screen, however many events ask. */
function drawAsk() {
	if (view.isDrawAsked)
		return;
	view.isDrawAsked = true;
	requestAnimationFrame(() => {
		view.isDrawAsked = false;
		if (view.mode === 'graph')
			graphDraw();
	});
}

function boxAt(x, y) {
	const row = rowFlip(Math.floor((y + page.stage.scrollTop) / ROW_PX));
	return (view.boxes[row] || []).find((box) => x >= box.x && x < box.x + Math.max(box.w, 1));
}
