'use strict';

/*
 * The fragment of the address says what is shown, so that a link leads to the same view and the
 * browser's back button steps through views.
 */

const FRAGMENT_PAUSE_MS = 200;

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
