/*
 * Bytes as deltas of a dictionary, one after the other. Whatever is accepted must come back from
 * our own encoding, translate to another dict with its content ids, and be taken back by a
 * truncate; whatever is refused must leave nothing.
 */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "profile/dict.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void check_same(const struct dict *a, const struct dict *b)
{
	AUTO_BUF a_bytes = { 0 };
	AUTO_BUF b_bytes = { 0 };
	dict_encode(a, (struct dict_mark){ 0 }, &a_bytes);
	dict_encode(b, (struct dict_mark){ 0 }, &b_bytes);
	assert(a_bytes.count == b_bytes.count);
	assert(memcmp(a_bytes.bytes, b_bytes.bytes, a_bytes.count) == 0);
}

static void check_remap(const struct dict *from)
{
	AUTO(dict) to = dict_new(dict_limits_default);
	AUTO(dict_remap) remap = dict_remap_new(from, to);
	struct dict_mark mark = dict_mark(from);
	uint32_t id;
	for (uint32_t i = mark.nodes; i-- > 0;) {
		int r = dict_remap_node(remap, i, &id);
		assert(r == 0 && hash128_equal(dict_node_hash(from, i), dict_node_hash(to, id)));
	}
	for (uint32_t i = 0; i < mark.series; i++) {
		int r = dict_remap_series(remap, i, &id);
		assert(r == 0 &&
		        hash128_equal(dict_series_hash(from, i), dict_series_hash(to, id)));
	}

	/* The hashes that remap copied are those that a decoder computes. */
	AUTO_BUF encoded = { 0 };
	AUTO(dict) again = dict_new(dict_limits_default);
	dict_encode(to, (struct dict_mark){ 0 }, &encoded);
	struct reader reader = reader_of(encoded.bytes, encoded.count);
	int r = dict_decode(again, &reader);
	assert(r == 0 && reader_left(&reader) == 0);
	check_same(to, again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct dict_limits limits = { 1000, 1000, 1000, 1000, 1000, 100000 };
	AUTO(dict) dict = dict_new(limits);
	AUTO(dict) follower = dict_new(limits);
	struct reader from = reader_of(bytes, count);
	struct dict_mark mark = dict_mark(dict);

	while (dict_decode(dict, &from) == 0) {
		AUTO_BUF delta = { 0 };
		dict_encode(dict, mark, &delta);
		struct reader reader = reader_of(delta.bytes, delta.count);
		int r = dict_decode(follower, &reader);
		assert(r == 0 && reader_left(&reader) == 0);
		check_same(dict, follower);
		mark = dict_mark(dict);
		if (reader_left(&from) == 0)
			break;
	}
	/* Refused or at the end: nothing but what was accepted. */
	check_same(dict, follower);
	check_remap(dict);

	AUTO(dict) empty = dict_new(limits);
	dict_truncate(dict, (struct dict_mark){ 0 });
	check_same(dict, empty);
	return 0;
}
