'use strict';

/*
 * Colours of frames: by module and kind in a flame graph, by what changed in a diff, and an ink that
 * can be read on each.
 */

const KIND_KERNEL = 1;
const KIND_UNKNOWN = 3;
const KIND_MARK = 4;

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
