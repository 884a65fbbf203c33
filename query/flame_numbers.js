'use strict';

/*
 * Numbers for people: the same digits as query/units.c.
 */

const DAMPING_PERIODS = 10;

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
