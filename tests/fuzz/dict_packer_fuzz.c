/*
 * Bytes as packed deltas of a dictionary: varint length and so many bytes, one after the other.
 * What is accepted comes back from our own encoding, by a packer that saw all and by one that goes
 * over the dict first; what is refused leaves nothing.
 */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "profile/dict_packer.h"

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

static void check_again(const struct dict *dict, struct dict_mark mark, struct dict_packer *packer,
        struct dict *follower)
{
	AUTO(dict_packer) anew = dict_packer_new();
	AUTO_BUF delta = { 0 };
	dict_encode_packed(anew, dict, mark, &delta);
	assert(!delta.failed);
	struct reader reader = reader_of(delta.bytes, delta.count);
	int r = dict_decode_packed(packer, follower, &reader);
	assert(r == 0);
	check_same(dict, follower);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct dict_limits limits = { 300, 50, 300, 300, 50, 10000 };
	AUTO(dict) dict = dict_new(limits);
	AUTO(dict) follower = dict_new(limits);
	AUTO(dict_packer) packer = dict_packer_new();
	AUTO(dict_packer) following = dict_packer_new();
	struct reader from = reader_of(bytes, count);
	while (reader_left(&from) > 0) {
		struct dict_mark mark = dict_mark(dict);
		size_t delta_count = reader_count(&from, 1);
		const uint8_t *delta = reader_bytes(&from, delta_count);
		struct reader reader = reader_of(delta, delta ? delta_count : 0);
		if (!delta || dict_decode_packed(packer, dict, &reader) < 0)
			break;
		check_again(dict, mark, following, follower);
	}
	check_same(dict, follower);
	return 0;
}
