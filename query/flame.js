'use strict';

/*
 * flame.js is the flame graph page: it decodes the profile that `profleet` wrote into the document
 * (docs/formats/flame.md), and draws it as a graph and as a table of functions.
 *
 * The tree lies in typed arrays, one place per node in preorder, so that a subtree is a range:
 *
 *	parent  end  height  total[side]      of the tree          treeLink
 *	x0  width                             of the width mode    layoutMake
 *	levels.nodes[levels.at[d] ..]         the nodes of depth d, from left to right
 *
 * Drawing asks each visible row for what lies in the zoomed range. Where boxes are narrower than
 * half a pixel it jumps to the next half pixel by binary search and counts what it jumped over, so
 * that a redraw touches a number of nodes that depends on the window and not on the profile.
 *
 * Names are untrusted. They reach the document only by textContent, and the canvas by fillText.
 */

const ROW_PX = 20;
const WIDTH_MIN_PX = 0.5;
const LABEL_MIN_PX = 26;
const TABLE_ROWS = 200; /* shown before "show all" */
const MIRROR_ITEMS = 40; /* siblings and children each, on either side of the selected frame */
const PRINT_ROWS_MAX = 45;
const FRAGMENT_PAUSE_MS = 200;
const DAMPING_PERIODS = 10;
const KIND_KERNEL = 1;
const KIND_UNKNOWN = 3;
const KIND_MARK = 4;

/* ---- Reading the profile ---- */

/* What the page says instead of a graph. */
class Refusal extends Error {}

class Reader {
	constructor(bytes) {
		this.bytes = bytes;
		this.at = 0;
	}

	/* Past 2^53 the nearest double. */
	varint() {
		let value = 0;
		let scale = 1;
		for (let i = 0; i < 10; i++) {
			if (this.at >= this.bytes.length)
				throw new Refusal('The profile in this page ends too early.');
			const byte = this.bytes[this.at++];
			value += (byte & 127) * scale;
			if (byte < 128)
				return value;
			scale *= 128;
		}
		throw new Refusal('The profile in this page holds a number that is too long.');
	}

	zigzag() {
		const value = this.varint();
		return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
	}

	/* A count of things of at least `bytesEach`, refused before memory is taken for it. */
	count(what, bytesEach) {
		const value = this.varint();
		if (value * bytesEach > this.bytes.length - this.at)
			throw new Refusal(`The profile in this page claims ${value} ${what}, more than it can hold.`);
		return value;
	}

	index(what, count) {
		const value = this.varint();
		if (value >= count)
			throw new Refusal(`The profile in this page names ${what} ${value} of ${count}.`);
		return value;
	}
}

/* Control and bidirectional characters would move text that is not theirs. */
function nameClean(text) {
	return text.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, '·');
}

function profileDecode(bytes) {
	const reader = new Reader(bytes);
	for (const letter of 'PFG1') {
		if (bytes[reader.at++] !== letter.charCodeAt(0))
			throw new Refusal('The profile in this page is not of a format this page knows.');
	}

	const text = new TextDecoder();
	const strings = new Array(reader.count('strings', 1));
	for (let i = 0; i < strings.length; i++) {
		const length = reader.count('bytes of a string', 1);
		strings[i] = nameClean(text.decode(bytes.subarray(reader.at, reader.at + length)));
		reader.at += length;
	}

	const frames = { count: reader.count('frames', 3), names: [], modules: [], kinds: [] };
	for (let i = 0; i < frames.count; i++) {
		frames.names.push(strings[reader.index('string', strings.length)]);
		frames.modules.push(strings[reader.index('string', strings.length)]);
		frames.kinds.push(reader.varint());
	}

	const sides = reader.varint();
	if (sides !== 1 && sides !== 2)
		throw new Refusal(`The profile in this page has ${sides} sides.`);
	const count = reader.count('nodes', 2 + sides);
	if (count < 1 || frames.count < 1)
		throw new Refusal('The profile in this page has no root.');
	const depth = new Uint32Array(count);
	for (let i = 0, d = 0; i < count; i++) {
		const step = reader.zigzag();
		d += step;
		if (step > 1 || (i === 0 ? d !== 0 : d < 1))
			throw new Refusal(`The tree in this page jumps at node ${i}.`);
		depth[i] = d;
	}

	const frame = new Uint32Array(count);
	for (let i = 0; i < count; i++)
		frame[i] = reader.index('frame', frames.count);
	const self = [];
	for (let side = 0; side < sides; side++) {
		self.push(new Float64Array(count));
		for (let i = 0; i < count; i++)
			self[side][i] = reader.varint();
	}
	if (reader.at !== bytes.length)
		throw new Refusal('The profile in this page is followed by bytes that belong to nothing.');
	frames.names[0] = frames.names[0] || 'all';
	return { frames, sides, count, depth, frame, self };
}

async function profileBytes(element) {
	const text = atob(element.textContent.trim());
	const bytes = new Uint8Array(text.length);
	for (let i = 0; i < text.length; i++)
		bytes[i] = text.charCodeAt(i);
	if (element.dataset.encoding === 'plain')
		return bytes;
	if (typeof DecompressionStream === 'undefined')
		throw new Refusal('This browser cannot unpack the profile (it has no DecompressionStream). ' +
			'Chromium 80, Firefox 113, Safari 16.4 and later can.');
	const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
	try {
		return new Uint8Array(await new Response(stream).arrayBuffer());
	} catch (error) {
		throw new Refusal(`The profile in this page does not unpack: ${error.message}`);
	}
}

/* ---- The tree ---- */

/* Adds to the decoded columns what follows from them. */
function treeLink(tree) {
	const { count, depth, self } = tree;
	tree.parent = new Int32Array(count);
	tree.end = new Uint32Array(count);
	tree.height = new Uint32Array(count);
	tree.total = self.map((column) => Float64Array.from(column));

	const last = [];
	const levelCounts = [];
	for (let i = 0; i < count; i++) {
		tree.parent[i] = i === 0 ? -1 : last[depth[i] - 1];
		last[depth[i]] = i;
		levelCounts[depth[i]] = (levelCounts[depth[i]] || 0) + 1;
	}
	for (let i = count - 1; i > 0; i--) {
		const above = tree.parent[i];
		tree.end[i] = Math.max(tree.end[i], i + 1);
		tree.end[above] = Math.max(tree.end[above], tree.end[i]);
		tree.height[above] = Math.max(tree.height[above], tree.height[i] + 1);
		for (const column of tree.total)
			column[above] += column[i];
	}
	tree.end[0] = count;

	const at = new Uint32Array(levelCounts.length + 1);
	for (let d = 0; d < levelCounts.length; d++)
		at[d + 1] = at[d] + levelCounts[d];
	const nodes = new Uint32Array(count);
	const next = Uint32Array.from(at);
	for (let i = 0; i < count; i++)
		nodes[next[depth[i]]++] = i;
	tree.levels = { at, nodes };
	return tree;
}

/* At equal totals: what side A would be if as much had been measured as on side B. */
function treeScaleA(tree) {
	if (tree.sides === 1 || tree.total[0][0] === 0 || tree.total[1][0] === 0)
		return 1;
	return tree.total[1][0] / tree.total[0][0];
}

const WIDTHS = {
	both: (a, b) => Math.max(a, b),
	A: (a) => a,
	B: (a, b) => b,
	change: (a, b) => Math.abs(b - a),
};

/* Where each node lies, in the unit of the profile; and the sums of widths along each level. */
function layoutMake(tree, mode) {
	const { count, self, parent, levels } = tree;
	const width = Float64Array.from(self[0]);
	if (tree.sides === 2) {
		const scale = treeScaleA(tree);
		for (let i = 0; i < count; i++)
			width[i] = WIDTHS[mode](self[0][i] * scale, self[1][i]);
	}
	for (let i = count - 1; i > 0; i--)
		width[parent[i]] += width[i];

	const x0 = new Float64Array(count);
	const next = new Float64Array(count);
	for (let i = 1; i < count; i++) {
		x0[i] = next[parent[i]];
		next[parent[i]] += width[i];
		next[i] = x0[i];
	}

	const sums = new Float64Array(count + 1);
	for (let p = 0; p < count; p++)
		sums[p + 1] = sums[p] + width[levels.nodes[p]];
	return { width, x0, sums };
}

function treeChildren(tree, node) {
	const children = [];
	for (let i = node + 1; i < tree.end[node]; i = tree.end[i])
		children.push(i);
	return children;
}

function treePath(tree, node) {
	const path = [];
	for (let i = node; i >= 0; i = tree.parent[i])
		path.push(i);
	return path.reverse();
}

/* The first place in [from, to) of the level array at which `isPast` holds. */
function placeSearch(from, to, isPast) {
	while (from < to) {
		const middle = (from + to) >>> 1;
		if (isPast(middle))
			to = middle;
		else
			from = middle + 1;
	}
	return from;
}

/* The same, for an answer that is likely close to `from`: in steps of 1, 2, 4 ... first. */
function placeNear(from, to, isPast) {
	let probe = from;
	for (let step = 1; probe < to && !isPast(probe); step *= 2) {
		from = probe + 1;
		probe += step;
	}
	return placeSearch(from, Math.min(probe, to), isPast);
}

/* The places of level d that belong to the subtree of `node`. */
function levelRange(tree, d, node) {
	const { at, nodes } = tree.levels;
	const from = placeSearch(at[d], at[d + 1], (p) => nodes[p] >= node);
	return [from, placeSearch(from, at[d + 1], (p) => nodes[p] >= tree.end[node])];
}

/*
 * Per function: flat, and cum, in which a function that is on a stack twice counts once. `above` counts
 * how often each function stands on the path from the root.
 */
function functionsSum(tree) {
	const { frames, sides, depth, frame, self, total } = tree;
	const rows = { flat: [], cum: [] };
	for (let side = 0; side < sides; side++) {
		rows.flat.push(new Float64Array(frames.count));
		rows.cum.push(new Float64Array(frames.count));
	}

	const above = new Uint32Array(frames.count);
	const path = [];
	for (let i = 0; i < tree.count; i++) {
		while (path.length > depth[i])
			above[path.pop()]--;
		const f = frame[i];
		for (let side = 0; side < sides; side++) {
			rows.flat[side][f] += self[side][i];
			if (above[f] === 0)
				rows.cum[side][f] += total[side][i];
		}
		above[f]++;
		path.push(f);
	}
	return rows;
}

/* ---- Numbers for people: the same digits as query/units.c ---- */

function digits(value) {
	return value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
}

function countText(value) {
	return value.toFixed(0).replace(/\B(?=(\d{3})+$)/g, '\u00a0');
}

function durationText(ns) {
	const steps = [[1e3, 1, 'ns'], [1e6, 1e3, 'us'], [1e9, 1e6, 'ms'], [600e9, 1e9, 's'],
		[7200e9, 60e9, 'min'], [Infinity, 3600e9, 'h']];
	if (ns === 0)
		return '0\u00a0s';
	const [, divisor, name] = steps.find(([limit]) => ns < limit);
	return `${divisor === 1 ? ns : digits(ns / divisor)}\u00a0${name}`;
}

function bytesText(bytes) {
	const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
	let i = 0;
	for (; bytes >= 1024 && i + 1 < names.length; i++)
		bytes /= 1024;
	return `${i === 0 ? bytes : digits(bytes)}\u00a0${names[i]}`;
}

function valueText(unit, value) {
	if (unit === 'nanoseconds')
		return durationText(value);
	if (unit === 'bytes')
		return bytesText(value);
	return countText(value);
}

function shareText(part, whole) {
	return whole > 0 ? `${(100 * part / whole).toFixed(2)}\u00a0%` : '-';
}

function signed(text, value) {
	return `${value < 0 ? '\u2212' : value > 0 ? '+' : '±'}${text}`;
}

/*
 * What became of a share. `pp` and `percent` are text; `state` is new, gone, or empty; `effect` is
 * -1 .. 1 for the colour, damped so that one sample against two is not a doubling.
 */
function changeOf(a, b, totalA, totalB, damping) {
	const shareA = totalA > 0 ? a / totalA : 0;
	const shareB = totalB > 0 ? b / totalB : 0;
	const points = 100 * (shareB - shareA);
	const effect = shareA === shareB ? 0 :
		(shareB - shareA) / (Math.max(shareA, shareB) + damping / Math.max(totalA, totalB, 1));
	const state = a === 0 && b > 0 ? 'new' : a > 0 && b === 0 ? 'gone' : '';
	const ratio = shareA > 0 ? 100 * (shareB / shareA - 1) : 0;
	return {
		points, effect, state,
		pp: `${signed(Math.abs(points).toFixed(2), points)}\u00a0pp`,
		percent: state || `${signed(Math.abs(ratio) < 100 ? Math.abs(ratio).toFixed(1) :
			Math.abs(ratio).toFixed(0), ratio)}\u00a0%`,
	};
}

/* ---- Colours ---- */

function hslColour(hue, saturation, lightness) {
	const a = saturation * Math.min(lightness, 1 - lightness);
	return [0, 8, 4].map((n) => {
		const k = (n + hue / 30) % 12;
		return Math.round(255 * (lightness - a * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
	});
}

function colourMix(from, to, part) {
	return from.map((value, i) => Math.round(value + (to[i] - value) * part));
}

function colourText(colour) {
	return `rgb(${colour.join(',')})`;
}

function luminance(colour) {
	const [r, g, b] = colour.map((value) => {
		const v = value / 255;
		return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
	});
	return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrastOf(a, b) {
	const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
	return (high + 0.05) / (low + 0.05);
}

/* One of the two inks always reaches 4.5:1, whatever the fill. */
const INK_DARK = [17, 20, 24];
const INK_LIGHT = [255, 255, 255];

function inkFor(fill) {
	return contrastOf(fill, INK_DARK) >= contrastOf(fill, INK_LIGHT) ? INK_DARK : INK_LIGHT;
}

function paint(fill) {
	const ink = inkFor(fill);
	return { fill: colourText(fill), ink: colourText(ink), rgb: fill, contrast: contrastOf(fill, ink) };
}

const THEMES = {
	light: {
		back: [255, 255, 255], root: [222, 226, 231], merged: [206, 210, 216], unknown: [184, 189, 196],
		kernel: [240, 178, 158], module: [0.42, 0.80], same: [228, 231, 235],
		less: [92, 158, 235], more: [244, 150, 52], hatch: 0.24,
		find: [126, 34, 206], focus: [17, 20, 24],
	},
	dark: {
		back: [22, 25, 30], root: [58, 64, 73], merged: [62, 67, 75], unknown: [86, 92, 102],
		kernel: [134, 72, 54], module: [0.26, 0.32], same: [50, 55, 63],
		less: [38, 108, 190], more: [176, 92, 8], hatch: 0.30,
		find: [216, 180, 254], focus: [255, 255, 255],
	},
};

/* The hues around the kernel's are left to it. */
function hueOf(text) {
	let hash = 2166136261;
	for (let i = 0; i < text.length; i++)
		hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
	return 60 + ((hash ^ (hash >>> 15)) >>> 0) % 241;
}

/* The family a frame's colour stands for: its module, or the first part of its name. */
function familyOf(frames, f) {
	return frames.modules[f] || frames.names[f].split(/::|[./:(<]/, 1)[0] || frames.names[f];
}

function framePaint(theme, frames, f) {
	if (f === 0)
		return paint(theme.root);
	if (frames.kinds[f] === KIND_KERNEL)
		return paint(theme.kernel);
	if (frames.kinds[f] === KIND_UNKNOWN || frames.kinds[f] === KIND_MARK)
		return paint(theme.unknown);
	return paint(hslColour(hueOf(familyOf(frames, f)), ...theme.module));
}

const EFFECT_STEPS = 12;

function palettesMake(theme, frames) {
	const faded = (entry) => paint(colourMix(entry.rgb, theme.back, 0.72));
	const own = Array.from({ length: frames.count }, (_, f) => framePaint(theme, frames, f));
	const steps = [];
	for (let i = -EFFECT_STEPS; i <= EFFECT_STEPS; i++)
		steps.push(paint(colourMix(theme.same, i < 0 ? theme.less : theme.more, Math.abs(i) / EFFECT_STEPS)));
	const merged = paint(theme.merged);
	const back = paint(theme.back);
	return {
		own, steps, merged, back, ownFaded: own.map(faded), stepsFaded: steps.map(faded),
		mergedFaded: faded(merged), backFaded: back,
	};
}

/* ---- The page ---- */

const page = {}; /* elements by id */
const view = {
	meta: null, tree: null, layout: null, functions: null,
	zoom: 0, selected: 0, hover: -1, mode: 'graph', width: 'both', isFlipped: false,
	query: '', found: null, column: '', isAscending: false, only: 'all', isAllShown: false,
	theme: null, palettes: null, isPrinting: false, boxes: [], measured: new Map(), isDrawAsked: false, fragmentTimer: 0,
};

function make(tag, text, attributes) {
	const element = document.createElement(tag);
	if (text !== undefined)
		element.textContent = text;
	for (const [name, value] of Object.entries(attributes || {}))
		element.setAttribute(name, value);
	return element;
}

function rowMake(tag, cells) {
	const row = make('tr');
	for (const cell of cells)
		row.append(cell instanceof Node ? cell : make(tag, cell));
	return row;
}

function nodeName(node) {
	return view.tree.frames.names[view.tree.frame[node]];
}

function nodeModule(node) {
	return view.tree.frames.modules[view.tree.frame[node]];
}

function isDiff() {
	return view.tree.sides === 2;
}

function rootTotal(side) {
	return view.tree.total[side][0];
}

function change(a, b) {
	return changeOf(a, b, rootTotal(0), rootTotal(1), DAMPING_PERIODS * (Number(view.meta.period) || 0));
}

/* Of an own value. New and gone are said only of what is on no stack at all of the other side. */
function ownChange(self, total, at) {
	const what = change(self[0][at], self[1][at]);
	const { state } = change(total[0][at], total[1][at]);
	return { ...what, state, percent: state || (what.state ? '\u2013' : what.percent) };
}

function nodeChange(node) {
	const { total } = view.tree;
	return change(total[0][node], total[1][node]);
}

/* What the seconds watched are counted for: an instance, unless it has several series. */
function watchedWord() {
	return view.meta.watched === 'series' ? 'series' : 'instance';
}

/* Cores per instance where the seconds watched are known, else empty. */
function coresText(value, side) {
	const coverage = Number((view.meta.sides[side] || {}).coverage_ns) || 0;
	if (view.meta.unit !== 'nanoseconds' || coverage === 0)
		return '';
	const cores = value / coverage;
	return cores < 1 ? `${(1e3 * cores).toFixed(1)}\u00a0mcores` : `${digits(cores)}\u00a0cores`;
}

function unitWord() {
	const unit = view.meta.unit || '';
	return ['nanoseconds', 'bytes', 'count'].includes(unit) ? '' : unit;
}

function sideName(side) {
	return (view.meta.sides[side] || {}).name || (isDiff() ? 'AB'[side] : '');
}

/* ---- The text before the graph ---- */

function sidesFill() {
	for (const [i, side] of view.meta.sides.entries()) {
		const value = side.total === undefined ? '' : valueText(view.meta.unit, Number(side.total));
		const facts = [side.range, [value, unitWord()].filter(Boolean).join(' '),
			side.instances ? `${countText(side.instances)} ${side.instances === 1 ? 'instance' : 'instances'}` : '',
			...(side.lines || [])].filter(Boolean);
		const head = make('th', side.name || (view.meta.sides.length > 1 ? 'AB'[i] : ''), { scope: 'row' });
		const cell = make('td');
		if (side.selector && side.selector !== view.meta.title)
			cell.append(make('code', nameClean(side.selector)));
		for (const fact of facts)
			cell.append(make('span', nameClean(fact)));
		page.sides.append(rowMake('td', head.textContent ? [head, cell] : [cell]));
	}
}

function summaryFill() {
	const { meta } = view;
	page.recorded.textContent = nameClean(String(meta.recorded || ''));
	page.recorded.hidden = !meta.recorded;
	page.verdict.textContent = nameClean(String(meta.verdict || ''));
	page.verdict.hidden = !meta.verdict;
	sidesFill();
	for (const line of meta.lines || [])
		page.lines.append(make('li', nameClean(line)));
}

/* The emitter's sum and ours must agree: else one of the two is wrong and the reader must know. */
function totalsCheck() {
	for (const [side, column] of view.tree.total.entries()) {
		const said = Number((view.meta.sides[side] || {}).total);
		if (said >= 0 && Math.abs(said - column[0]) > Math.max(said, 1) * 1e-9)
			page.lines.append(make('li', `Warning: the values of this page add up to ${valueText(view.meta.unit,
				column[0])}, but ${valueText(view.meta.unit, said)} were announced.`, { class: 'warning' }));
	}
}

function topFill() {
	const { flat, cum } = view.functions;
	const weight = isDiff() ? (f) => Math.abs(change(flat[0][f], flat[1][f]).points) : (f) => flat[0][f];
	const order = Array.from({ length: view.tree.frames.count }, (_, f) => f)
		.filter((f) => weight(f) > 0).sort((a, b) => weight(b) - weight(a) || a - b);
	page['top-title'].textContent = isDiff() ? 'Top ten by change of own share' : 'Top ten by own value';
	const heads = isDiff() ? ['function', 'A', 'B', 'change', ''] : ['function', 'flat', 'flat %', 'cum %'];
	const body = make('tbody');
	for (const f of order.slice(0, 10)) {
		const name = make('td', view.tree.frames.names[f], { title: view.tree.frames.names[f] });
		const share = shareText(flat[0][f], rootTotal(0));
		let cells = [valueText(view.meta.unit, flat[0][f]), share, shareText(cum[0][f], rootTotal(0))];
		if (isDiff()) {
			const what = ownChange(flat, cum, f);
			cells = [share, shareText(flat[1][f], rootTotal(1)), what.pp, what.percent];
		}
		body.append(rowMake('td', [name, ...cells]));
	}
	const head = make('thead');
	head.append(rowMake('th', heads.map((text) => make('th', text, { scope: 'col' }))));
	page.top.replaceChildren(head, body);
}

/* ---- What a frame's numbers are: tooltip, line below, and labels all ask here ---- */

function figures(node) {
	const { tree, meta } = view;
	const rows = [];
	for (let side = 0; side < tree.sides; side++) {
		const total = tree.total[side][node];
		const self = tree.self[side][node];
		const cores = coresText(total, side);
		rows.push({
			side: sideName(side), total: valueText(meta.unit, total), share: shareText(total, rootTotal(side)),
			self: valueText(meta.unit, self), selfShare: shareText(self, rootTotal(side)), cores,
			zoomed: view.zoom > 0 ? shareText(total, tree.total[side][view.zoom]) : '',
		});
	}
	return rows;
}

function changeText(what) {
	return what.state ? `${what.pp}, ${what.state}` : `${what.pp} (${what.percent})`;
}

function detailText(node) {
	const parts = [nodeName(node), nodeModule(node)].filter(Boolean);
	const unit = unitWord() ? ` ${unitWord()}` : '';
	const values = figures(node).map((row) => `${row.side}${row.side ? ' ' : ''}` +
		`total ${row.total}${unit} (${row.share}), self ${row.self} (${row.selfShare})` +
		`${row.cores ? `, ${row.cores} per ${watchedWord()}` : ''}`);
	if (isDiff())
		values.push(`change ${changeText(nodeChange(node))}`);
	return `${parts.join(' — ')}: ${values.join('; ')}`;
}

function tipFill(node) {
	const rows = figures(node);
	const table = make('table');
	const line = (head, pick) => {
		if (rows.some((row) => pick(row)))
			table.append(rowMake('td', [make('th', head, { scope: 'row' }), ...rows.map(pick)]));
	};
	if (isDiff())
		table.append(rowMake('th', ['', ...rows.map((row) => row.side)]));
	line('total', (row) => row.total);
	line('of all', (row) => row.share);
	line('of zoomed', (row) => row.zoomed);
	line('self', (row) => row.self);
	line('self of all', (row) => row.selfShare);
	line(`per ${watchedWord()}`, (row) => row.cores);
	const parts = [make('b', nodeName(node)), make('span', nodeModule(node)), table];
	if (isDiff()) {
		const self = ownChange(view.tree.self, view.tree.total, node);
		parts.push(make('p', `change ${changeText(nodeChange(node))}`), make('p', `self ${changeText(self)}`));
	}
	page.tip.replaceChildren(...parts);
}

function tipMergedFill(box) {
	page.tip.replaceChildren(make('b', mergedText(box)),
		make('span', 'narrower than half a pixel each: zoom in to see them'));
}

function mergedText(box) {
	return `${countText(box.count)} ${box.count === 1 ? 'frame' : 'frames'}, ${shareText(box.sum, view.layout.width[0])}`;
}

function tipPlace(x, y) {
	page.tip.hidden = false;
	const { width, height } = page.tip.getBoundingClientRect();
	const left = x + 14 + width > innerWidth ? x - 14 - width : x + 14;
	const top = y + 18 + height > innerHeight ? y - 12 - height : y + 18;
	page.tip.style.left = `${Math.max(4, left)}px`;
	page.tip.style.top = `${Math.max(4, top)}px`;
}

/* ---- Drawing ---- */

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

/* ---- Zoom and selection ---- */

function crumbsFill() {
	const items = treePath(view.tree, view.zoom).map((node) => {
		const item = make('li');
		if (node === view.zoom) {
			item.append(make('span', nodeName(node), { 'aria-current': 'location', title: nodeName(node) }));
		} else {
			const button = make('button', nodeName(node), { type: 'button', title: nodeName(node) });
			button.addEventListener('click', () => zoomTo(node));
			item.append(button);
		}
		return item;
	});
	if (items.length > 8)
		items.splice(1, items.length - 7, make('li', `… ${items.length - 7} more …`));
	page.crumbs.replaceChildren(...items);
	page.reset.disabled = view.zoom === 0;
}

function mirrorItem(node, siblings, index) {
	const shares = figures(node).map((row) => `${row.side} ${row.share}`.trim()).join(', ');
	const what = isDiff() ? `, ${changeText(nodeChange(node))}` : '';
	const item = make('div', `${nodeName(node)}, ${shares}${what}`, {
		role: 'treeitem', id: `node-${node}`, 'aria-level': view.tree.depth[node] + 1,
		'aria-setsize': siblings.length, 'aria-posinset': index + 1,
		'aria-selected': String(node === view.selected),
	});
	if (view.tree.height[node] > 0)
		item.setAttribute('aria-expanded', String(treePath(view.tree, view.selected).includes(node)));
	return item;
}

/* For screen readers: the path, with the siblings and the children of the selected frame. */
function mirrorFill() {
	const { tree, selected } = view;
	const items = treePath(tree, selected).slice(0, -1).map((node) => {
		const siblings = node === 0 ? [0] : treeChildren(tree, tree.parent[node]);
		return mirrorItem(node, siblings, siblings.indexOf(node));
	});
	const siblings = selected === 0 ? [0] : treeChildren(tree, tree.parent[selected]);
	const at = siblings.indexOf(selected);
	for (let i = Math.max(0, at - MIRROR_ITEMS); i < Math.min(siblings.length, at + MIRROR_ITEMS); i++) {
		items.push(mirrorItem(siblings[i], siblings, i));
		if (i === at) {
			const children = treeChildren(tree, selected);
			items.push(...children.slice(0, MIRROR_ITEMS).map((node, k) => mirrorItem(node, children, k)));
		}
	}
	page.mirror.replaceChildren(...items);
	page.stage.setAttribute('aria-activedescendant', `node-${selected}`);
}

function scrollToRow(row) {
	const top = rowTop(row);
	const { stage } = page;
	if (top < stage.scrollTop)
		stage.scrollTop = top;
	else if (top + ROW_PX > stage.scrollTop + stage.clientHeight)
		stage.scrollTop = top + ROW_PX - stage.clientHeight;
}

/* All that shows the zoom and the selection, brought in step with them. */
function viewRefresh() {
	page.rows.style.height = `${rowsCount() * ROW_PX}px`;
	crumbsFill();
	mirrorFill();
	page.detail.textContent = detailText(view.selected);
	scrollToRow(view.tree.depth[view.selected]);
	drawAsk();
}

function isInZoom(node) {
	return node >= view.zoom && node < view.tree.end[view.zoom];
}

function nodeSelect(node) {
	view.selected = node;
	viewRefresh();
	fragmentWrite(false);
}

function zoomTo(node) {
	if (view.layout.width[node] === 0)
		return;
	const isMoved = node !== view.zoom;
	view.zoom = node;
	if (!isInZoom(view.selected))
		view.selected = node;
	if (isMoved)
		page.stage.scrollTop = view.isFlipped ? rowsCount() * ROW_PX : 0;
	viewRefresh();
	fragmentWrite(isMoved);
}

/* Selects a node wherever it is, zooming as little as it takes to make it a box one can see. */
function nodeReveal(node) {
	const { tree, layout } = view;
	const pixels = Math.max(page.rows.clientWidth, 1);
	const isSeen = (zoom) => layout.width[node] / layout.width[zoom] * pixels >= LABEL_MIN_PX;
	if (!isInZoom(node) || !isSeen(view.zoom)) {
		const path = treePath(tree, node);
		view.zoom = path.find((above) => layout.width[above] > 0 && isSeen(above)) || 0;
	}
	nodeSelect(node);
}

/* Out by one: to the parent of the zoomed frame. */
function zoomOut() {
	if (view.zoom > 0) {
		view.selected = view.zoom;
		zoomTo(view.tree.parent[view.zoom]);
	}
}

/* ---- Moving by keys ---- */

/* The widest child; none where all have no width in this mode. */
function childWidest(node) {
	const { width } = view.layout;
	const children = treeChildren(view.tree, node).filter((child) => width[child] > 0);
	return children.reduce((best, child) => (best < 0 || width[child] > width[best] ? child : best), -1);
}

function siblingStep(node, step) {
	if (node === 0)
		return -1;
	const siblings = treeChildren(view.tree, view.tree.parent[node])
		.filter((sibling) => view.layout.width[sibling] > 0);
	const next = siblings[siblings.indexOf(node) + step];
	return next === undefined ? -1 : next;
}

function nodeMove(node) {
	if (node < 0)
		return;
	if (isInZoom(node) || treePath(view.tree, view.zoom).includes(node))
		nodeSelect(node);
	else
		nodeReveal(node);
}

const KEYS = {
	ArrowDown: () => nodeMove(view.isFlipped ? view.tree.parent[view.selected] : childWidest(view.selected)),
	ArrowUp: () => nodeMove(view.isFlipped ? childWidest(view.selected) : view.tree.parent[view.selected]),
	ArrowLeft: () => nodeMove(siblingStep(view.selected, -1)),
	ArrowRight: () => nodeMove(siblingStep(view.selected, 1)),
	Enter: () => zoomTo(view.selected),
	Escape: () => (view.zoom > 0 ? zoomOut() : searchClear()),
	Home: () => {
		view.selected = 0;
		zoomTo(0);
	},
};

const KEYS_ANYWHERE = {
	'/': () => {
		page.search.focus();
		page.search.select();
	},
	n: () => foundStep(1),
	N: () => foundStep(-1),
	g: () => modeSet('graph'),
	t: () => modeSet('table'),
	i: () => flip(),
	'?': () => helpToggle(),
};

function keyDown(event) {
	if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches('input, select'))
		return;
	const isOnGraph = event.target === page.stage || event.target === document.body;
	const action = KEYS_ANYWHERE[event.key] || (isOnGraph && view.mode === 'graph' && KEYS[event.key]);
	if (!action)
		return;
	event.preventDefault();
	page.tip.hidden = true;
	action();
}

function helpToggle() {
	page.help.hidden = !page.help.hidden;
	page.keys.setAttribute('aria-expanded', String(!page.help.hidden));
	drawAsk();
}

function flip() {
	view.isFlipped = !view.isFlipped;
	page.stage.scrollTop = view.isFlipped ? rowsCount() * ROW_PX : 0;
	viewRefresh();
	fragmentWrite(false);
}

/* ---- Search ---- */

/* /regex/ or /regex/i, else text without regard to case. Null: the expression is not valid. */
function matcherMake(query) {
	const regex = query.match(/^\/(.+)\/(i?)$/);
	if (regex) {
		try {
			const expression = new RegExp(regex[1], regex[2]);
			return (text) => expression.test(text);
		} catch (error) {
			return null;
		}
	}
	const wanted = query.toLowerCase();
	return (text) => text.toLowerCase().includes(wanted);
}

/* `tops` are the topmost matches, largest first; `share` is what they hold of each side. */
function foundMake(matches) {
	const { tree, layout } = view;
	const { frames, levels } = tree;
	const isFrame = new Uint8Array(frames.count);
	for (let f = 0; f < frames.count; f++)
		isFrame[f] = matches(frames.names[f]) || (frames.modules[f] && matches(frames.modules[f])) ? 1 : 0;
	const tops = [];
	const sums = tree.total.map(() => 0);
	for (let i = 0; i < tree.count;) {
		if (!isFrame[tree.frame[i]]) {
			i++;
			continue;
		}
		tops.push(i);
		tree.total.forEach((column, side) => {
			sums[side] += column[i];
		});
		i = tree.end[i];
	}
	tops.sort((a, b) => layout.width[b] - layout.width[a] || a - b);
	const places = new Uint32Array(tree.count + 1);
	for (let p = 0; p < tree.count; p++)
		places[p + 1] = places[p] + isFrame[tree.frame[levels.nodes[p]]];
	return { isFrame, tops, sums, places, functions: isFrame.reduce((sum, one) => sum + one, 0), at: -1 };
}

function matchesText() {
	const { found } = view;
	if (!view.query)
		return '';
	if (!found)
		return 'not a valid expression';
	if (found.tops.length === 0)
		return 'no match';
	const shares = found.sums.map((sum, side) => `${sideName(side)} ${shareText(sum, rootTotal(side))}`.trim());
	const place = found.at < 0 ? '' : `${countText(found.at + 1)} of ${countText(found.tops.length)} · `;
	return `${place}matches ${shares.join(', ')}`;
}

function searchSet(query) {
	view.query = query;
	const matches = query ? matcherMake(query) : null;
	view.found = matches ? foundMake(matches) : null;
	page.search.setAttribute('aria-invalid', String(Boolean(query && !matches)));
	foundShow();
	if (view.mode === 'table')
		tableFill();
	drawAsk();
	fragmentWrite(false);
}

function foundShow() {
	page.matches.textContent = matchesText();
	const isNone = !view.found || view.found.tops.length === 0;
	page.next.disabled = isNone;
	page.previous.disabled = isNone;
}

function foundStep(step) {
	const { found } = view;
	if (!found || found.tops.length === 0)
		return;
	const count = found.tops.length;
	found.at = found.at < 0 ? (step > 0 ? 0 : count - 1) : (found.at + step + count) % count;
	modeSet('graph');
	nodeReveal(found.tops[found.at]);
	foundShow();
}

function searchClear() {
	page.search.value = '';
	searchSet('');
}

function searchKey(event) {
	if (event.key === 'Enter') {
		event.preventDefault();
		if (view.mode === 'graph') {
			page.stage.focus();
			foundStep(event.shiftKey ? -1 : 1);
		}
	} else if (event.key === 'Escape') {
		event.preventDefault();
		searchClear();
		(view.mode === 'graph' ? page.stage : page.list).focus();
	}
}

/* ---- The table of functions ---- */

/* Each column: its head, its key for sorting, its text. Values are shares of the side. */
function columnsMake() {
	const { flat, cum } = view.functions;
	const { frames } = view.tree;
	const columns = [];
	const value = (id, head, column, side) => {
		columns.push({ id, head, key: (f) => column[f], text: (f) => valueText(view.meta.unit, column[f]) });
		columns.push({ id: `${id}-share`, head: `${head} %`, key: (f) => column[f],
			text: (f) => shareText(column[f], rootTotal(side)) });
	};
	const pair = (id, columnsOfSides, what) => {
		columnsOfSides.forEach((column, side) => columns.push({
			id: `${id}-${'ab'[side]}`, head: `${id} ${sideName(side)}`,
			key: (f) => column[f] / (rootTotal(side) || 1),
			text: (f) => shareText(column[f], rootTotal(side)),
		}));
		const [a, b] = columnsOfSides;
		const ratio = (f) => (a[f] > 0 ? b[f] / a[f] : b[f] > 0 ? Infinity : 0);
		columns.push({ id: `${id}-change`, head: `${id} change`, what,
			key: (f) => what(f).points, text: (f) => what(f).pp });
		columns.push({ id: `${id}-rel`, head: `${id} rel.`, what,
			key: ratio, text: (f) => what(f).percent });
	};
	if (isDiff()) {
		pair('flat', flat, (f) => ownChange(flat, cum, f));
		pair('cum', cum, (f) => change(cum[0][f], cum[1][f]));
	} else {
		value('flat', 'flat', flat[0], 0);
		value('cum', 'cum', cum[0], 0);
	}
	for (const [id, texts] of [['function', frames.names], ['module', frames.modules]])
		columns.push({ id, head: id, key: (f) => texts[f], text: (f) => texts[f], isText: true });
	return columns;
}

function tableRows(column) {
	const { frames } = view.tree;
	const { cum } = view.functions;
	const rows = [];
	for (let f = 0; f < frames.count; f++) {
		if (f === 0 && view.functions.flat.every((side) => side[0] === 0))
			continue;
		if (view.found && !view.found.isFrame[f])
			continue;
		if (view.only !== 'all' && change(cum[0][f], cum[1][f]).state !== view.only)
			continue;
		rows.push({ f, key: column.key(f) });
	}
	const order = view.isAscending ? 1 : -1;
	const isChange = Boolean(column.what) && column.id.endsWith('change');
	const weigh = isChange && !view.isAscending ? (key) => Math.abs(key) : (key) => key;
	return rows.sort((a, b) => {
		const [x, y] = [weigh(a.key), weigh(b.key)];
		return x < y ? -order : x > y ? order : a.f - b.f;
	}).map((row) => row.f);
}

function headMake(column) {
	const isSorted = column.id === view.column;
	const cell = make('th', undefined, { scope: 'col', class: column.isText ? 'text' : 'number' });
	if (isSorted)
		cell.setAttribute('aria-sort', view.isAscending ? 'ascending' : 'descending');
	const arrow = isSorted ? (view.isAscending ? ' ▲' : ' ▼') : '';
	const button = make('button', `${column.head}${arrow}`, { type: 'button', id: `sort-${column.id}` });
	button.addEventListener('click', () => {
		view.isAscending = isSorted ? !view.isAscending : Boolean(column.isText);
		view.column = column.id;
		tableFill();
		document.getElementById(`sort-${column.id}`).focus();
		fragmentWrite(false);
	});
	cell.append(button);
	return cell;
}

/* The name leads to the graph: all places of the function, found by its exact name. */
function nameCell(f, text) {
	const cell = make('td', undefined, { class: 'text' });
	const button = make('button', text || '-', { type: 'button', title: `Show ${text} in the graph` });
	button.addEventListener('click', () => {
		const query = `/^${text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')}$/`;
		page.search.value = query;
		searchSet(query);
		page.stage.focus();
		foundStep(1);
	});
	cell.append(button);
	return cell;
}

function tableCell(column, f) {
	if (column.id === 'function')
		return nameCell(f, column.text(f));
	const what = column.what && column.what(f);
	const tone = what && Math.abs(what.points) >= 0.005 ? (what.points > 0 ? ' more' : ' less') : '';
	return make('td', column.text(f), { class: `${column.isText ? 'text' : 'number'}${tone}` });
}

function tableFill() {
	const columns = columnsMake();
	const column = columns.find((one) => one.id === view.column) || columns[isDiff() ? 2 : 0];
	view.column = column.id;
	const rows = tableRows(column);
	const shown = view.isAllShown ? rows : rows.slice(0, TABLE_ROWS);
	const head = make('thead');
	head.append(rowMake('th', columns.map(headMake)));
	const body = make('tbody');
	for (const f of shown)
		body.append(rowMake('td', columns.map((one) => tableCell(one, f))));
	page.functions.replaceChildren(head, body);

	page.more.textContent = `${countText(shown.length)} of ${countText(rows.length)} functions shown` +
		`${view.query ? ' (those that match the search)' : ''}. `;
	if (shown.length < rows.length) {
		const button = make('button', 'Show all', { type: 'button', id: 'show-all' });
		button.addEventListener('click', () => {
			view.isAllShown = true;
			tableFill();
		});
		page.more.append(button);
	}
}

function modeSet(mode) {
	if (view.mode === mode)
		return;
	view.mode = mode;
	modeShow();
	fragmentWrite(false);
}

function modeShow() {
	const isGraph = view.mode === 'graph';
	page.stage.hidden = !isGraph;
	page.list.hidden = isGraph;
	page['view-graph'].setAttribute('aria-pressed', String(isGraph));
	page['view-table'].setAttribute('aria-pressed', String(!isGraph));
	for (const id of ['foot', 'turn', 'reset'])
		page[id].hidden = !isGraph;
	page.crumbs.parentElement.hidden = !isGraph;
	page['width-label'].hidden = !isGraph || !isDiff();
	page['only-label'].hidden = isGraph || !isDiff();
	page.tip.hidden = true;
	if (isGraph)
		viewRefresh();
	else
		tableFill();
}

/* ---- The fragment of the address ---- */

/* Names from below the root; ":k" behind a name says that k siblings before it are called the same. */
function pathWrite(node) {
	return treePath(view.tree, node).slice(1).map((one) => {
		const alike = treeChildren(view.tree, view.tree.parent[one])
			.filter((other) => nodeName(other) === nodeName(one));
		const k = alike.indexOf(one);
		return `${encodeURIComponent(nodeName(one))}${k > 0 ? `:${k}` : ''}`;
	}).join('/');
}

function pathRead(text) {
	let node = 0;
	for (const part of text.split('/').filter(Boolean)) {
		const [name, k] = part.split(':');
		let wanted;
		try {
			wanted = decodeURIComponent(name);
		} catch (error) {
			return node;
		}
		const alike = treeChildren(view.tree, node).filter((child) => nodeName(child) === wanted);
		const next = alike[Number(k) || 0];
		if (next === undefined)
			return node;
		node = next;
	}
	return node;
}

function fragmentText() {
	const parts = [];
	const put = (key, value, usual) => {
		if (value && value !== usual)
			parts.push(`${key}=${value}`);
	};
	put('v', view.mode, 'graph');
	put('z', pathWrite(view.zoom));
	put('s', view.selected === view.zoom ? '' : pathWrite(view.selected));
	put('q', encodeURIComponent(view.query));
	put('o', view.isFlipped ? 'up' : '');
	put('w', view.width, 'both');
	put('t', view.mode === 'table' ? `${view.column},${view.isAscending ? 'asc' : 'desc'}` : '');
	put('f', view.only, 'all');
	return parts.length > 0 ? `#${parts.join('&')}` : '';
}

/*
 * Only a zoom is a step that "back" undoes. All else replaces, and waits until keys and typing pause:
 * browsers refuse more than some seven writes a second.
 */
function fragmentWrite(isStep) {
	clearTimeout(view.fragmentTimer);
	if (isStep)
		fragmentPut('pushState');
	else
		view.fragmentTimer = setTimeout(fragmentPut, FRAGMENT_PAUSE_MS, 'replaceState');
}

function fragmentPut(how) {
	const text = fragmentText();
	if (text === location.hash)
		return;
	try {
		history[how](null, '', text || location.href.split('#')[0]);
	} catch (error) {
		location.replace(text || '#');
	}
}

function fragmentRead() {
	clearTimeout(view.fragmentTimer);
	const values = new Map(location.hash.slice(1).split('&').map((part) => {
		const at = part.indexOf('=');
		return at < 0 ? [part, ''] : [part.slice(0, at), part.slice(at + 1)];
	}));
	const text = (key) => values.get(key) || '';
	view.mode = text('v') === 'table' ? 'table' : 'graph';
	view.isFlipped = text('o') === 'up';
	view.only = ['new', 'gone'].includes(text('f')) && isDiff() ? text('f') : 'all';
	page.only.value = view.only;
	const width = isDiff() && Object.hasOwn(WIDTHS, text('w')) ? text('w') : 'both';
	if (width !== view.width || !view.layout)
		widthSet(width);
	const [column, order] = text('t').split(',');
	view.column = column;
	view.isAscending = order === 'asc';
	const zoom = pathRead(text('z'));
	view.zoom = view.layout.width[zoom] > 0 ? zoom : 0;
	view.selected = text('s') ? pathRead(text('s')) : view.zoom;
	try {
		view.query = decodeURIComponent(text('q'));
	} catch (error) {
		view.query = '';
	}
	page.search.value = view.query;
	const matches = view.query ? matcherMake(view.query) : null;
	view.found = matches ? foundMake(matches) : null;
	foundShow();
	modeShow();
}

function widthSet(mode) {
	view.width = mode;
	page.width.value = mode;
	view.layout = layoutMake(view.tree, mode);
	if (view.layout.width[view.zoom] === 0)
		view.zoom = 0;
}

/* ---- Theme, legend, start ---- */

function themeSet() {
	const isDark = matchMedia('(prefers-color-scheme: dark)').matches && !view.isPrinting;
	view.theme = THEMES[isDark ? 'dark' : 'light'];
	view.palettes = palettesMake(view.theme, view.tree.frames);
	legendFill();
	if (view.mode === 'graph' && view.layout)
		graphDraw();
}

function legendItem(kind, text, colour) {
	const item = make('li', text, { class: kind });
	const swatch = make('i');
	swatch.style.backgroundColor = colourText(colour);
	item.prepend(swatch);
	return item;
}

function legendFill() {
	const { theme } = view;
	const { modules } = view.tree.frames;
	const kinds = view.tree.frames.kinds.slice(1);
	const items = [];
	if (isDiff()) {
		for (const name of ['less', 'same', 'more'])
			items.push(legendItem('', name, theme[name]));
		items.push(legendItem('hatched', 'new: only in B', theme.more), legendItem('dashed', 'gone: only in A', theme.back));
	} else {
		const first = modules.find(Boolean);
		items.push(legendItem('', first ? 'user, hue by module' : 'hue by name',
			hslColour(hueOf(first || 'a'), ...theme.module)));
		if (kinds.includes(KIND_KERNEL))
			items.push(legendItem('', 'kernel', theme.kernel));
		if (kinds.includes(KIND_UNKNOWN) || kinds.includes(KIND_MARK))
			items.push(legendItem('', 'unknown', theme.unknown));
	}
	items.push(legendItem('', 'merged, too narrow', theme.merged));
	page.legend.replaceChildren(...items);
}

function pointerMove(event) {
	const bounds = page.canvas.getBoundingClientRect();
	const box = boxAt(event.clientX - bounds.left, event.clientY - bounds.top);
	const hover = box && box.node >= 0 ? box.node : -1;
	if (hover !== view.hover) {
		view.hover = hover;
		drawAsk();
	}
	page.canvas.style.cursor = box ? 'pointer' : 'default';
	if (!box) {
		page.tip.hidden = true;
		return;
	}
	if (box.node >= 0)
		tipFill(box.node);
	else
		tipMergedFill(box);
	tipPlace(event.clientX, event.clientY);
}

function pointerLeave() {
	page.tip.hidden = true;
	view.hover = -1;
	drawAsk();
}

/* A merged box zooms to what holds it, or selects the first of its frames when that is zoomed already. */
function pointerClick(event) {
	const bounds = page.canvas.getBoundingClientRect();
	const box = boxAt(event.clientX - bounds.left, event.clientY - bounds.top);
	if (!box)
		return;
	page.tip.hidden = true;
	if (box.node < 0) {
		const above = view.tree.parent[box.first];
		if (above === view.zoom)
			nodeReveal(box.first);
		else
			zoomTo(above);
		return;
	}
	view.selected = box.node;
	zoomTo(box.node);
}

function printSet(isPrinting) {
	view.isPrinting = isPrinting;
	themeSet();
}

function eventsBind() {
	const on = (id, event, action) => page[id].addEventListener(event, action);
	document.addEventListener('keydown', keyDown);
	on('stage', 'scroll', drawAsk);
	on('canvas', 'mousemove', pointerMove);
	on('canvas', 'mouseleave', pointerLeave);
	on('canvas', 'click', pointerClick);
	on('search', 'input', () => searchSet(page.search.value));
	on('search', 'keydown', searchKey);
	on('next', 'click', () => foundStep(1));
	on('previous', 'click', () => foundStep(-1));
	on('view-graph', 'click', () => modeSet('graph'));
	on('view-table', 'click', () => modeSet('table'));
	on('turn', 'click', flip);
	on('reset', 'click', KEYS.Home);
	on('keys', 'click', helpToggle);
	on('width', 'change', () => {
		widthSet(page.width.value);
		viewRefresh();
		fragmentWrite(false);
	});
	on('only', 'change', () => {
		view.only = page.only.value;
		tableFill();
		fragmentWrite(false);
	});
	document.querySelector('.skip').addEventListener('click', (event) => {
		event.preventDefault();
		page.stage.focus();
	});
	new ResizeObserver(drawAsk).observe(page.stage);
	addEventListener('hashchange', fragmentRead);
	addEventListener('popstate', fragmentRead);
	addEventListener('beforeprint', () => printSet(true));
	addEventListener('afterprint', () => printSet(false));
	matchMedia('(prefers-color-scheme: dark)').addEventListener('change', themeSet);
}

function metaRead() {
	const meta = JSON.parse(document.getElementById('meta').textContent);
	if (meta.schema_version !== 1 || !Array.isArray(meta.sides))
		throw new Refusal('The description in this page is not of a version this page knows.');
	return meta;
}

function failureShow(error) {
	page.failure.hidden = false;
	page.failure.textContent = error instanceof Refusal ? error.message : `The page failed: ${error}`;
	page.app.hidden = true;
}

async function start() {
	for (const element of document.querySelectorAll('[id]'))
		page[element.id] = element;
	try {
		view.meta = metaRead();
		summaryFill();
		const started = performance.now();
		const bytes = await profileBytes(page.profile);
		const unpacked = performance.now();
		view.tree = treeLink(profileDecode(bytes));
		const decoded = performance.now();
		view.functions = functionsSum(view.tree);
		topFill();
		totalsCheck();
		page.app.hidden = false;
		widthSet('both');
		const laidOut = performance.now();
		themeSet();
		eventsBind();
		fragmentRead();
		Object.assign(page.canvas.dataset, { nodes: view.tree.count, unpackMs: (unpacked - started).toFixed(1),
			decodeMs: (decoded - unpacked).toFixed(1), layoutMs: (laidOut - decoded).toFixed(1) });
		document.documentElement.dataset.ready = 'yes';
	} catch (error) {
		failureShow(error);
	}
}

start();
