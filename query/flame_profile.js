'use strict';

/*
 * The profile that the page carries: decoded (docs/formats/flame.md), and as a tree. It lies in
 * typed arrays, one place per node in preorder, so that a subtree is a range:
 *
 *	parent  end  height  total[side]      of the tree          treeLink
 *	x0  width                             of the width mode    layoutMake
 *	levels.nodes[levels.at[d] ..]         the nodes of depth d, from left to right
 *
 * Nothing here knows of a document or a canvas.
 */

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
