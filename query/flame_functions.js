'use strict';

/*
 * The table of functions, and changing between it and the graph.
 */

const TABLE_ROWS = 200; /* shown before "show all" */

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
