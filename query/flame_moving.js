'use strict';

/*
 * Which frame is zoomed to and which is selected, by pointer and by keys; and the same for whoever
 * reads the page by a screen reader: the path to the frame, its siblings and what it calls as lists.
 */

const MIRROR_ITEMS = 40; /* siblings and children each, on either side of the selected frame */

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
