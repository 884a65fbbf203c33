'use strict';

/*
 * The flame graph page as a whole: theme, legend, events, and what happens when it is opened. The
 * scripts flame_*.js become one, joined in the order of their names, which `profleet` writes into
 * the page (flame_page.c): functions of all of them see each other, and this one, which begins, is
 * the last.
 */

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
