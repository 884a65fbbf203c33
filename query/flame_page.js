'use strict';

/*
 * What all parts of the page share: its elements, its state, and what a frame's numbers are. Tooltip,
 * the line below and labels ask for them here.
 *
 * Names are untrusted. They reach the document only by textContent, and the canvas by fillText.
 */

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
