'use strict';

/*
 * The text before the graph: which profile it is, of when, how complete, and what costs most.
 */

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
