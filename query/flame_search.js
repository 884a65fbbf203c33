'use strict';

/*
 * Searching: which functions match, which boxes show it, and how much of the whole they are.
 */

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
