/*
 * Bytes as packed deltas of a dictionary: varint length and so many bytes, one after the other; a
 * length of 0 is followed by a text and a delta without it, each likewise.
 * What is accepted comes back from our own encoding, by a packer that saw all and by one that goes
 * over the dict first; what is refused leaves nothing.
 */

#include <assert.h>
#include <stdbool.h>
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

static void check_again(const struct dict *dict, struct dict_mark mark, bool is_apart,
        struct dict_packer *packer, struct dict *follower)
{
	AUTO(dict_packer) anew = dict_packer_new();
	AUTO_BUF text = { 0 };
	AUTO_BUF delta = { 0 };
	dict_encode_packed(anew, dict, mark, is_apart ? &text : &delta, &delta);
	assert(!delta.failed && !text.failed);
	struct reader text_reader = reader_of(text.bytes, text.count);
	struct reader reader = reader_of(delta.bytes, delta.count);
	int r = dict_decode_packed(packer, follower, is_apart ? &text_reader : &reader, &reader);
	assert(r == 0);
	check_same(dict, follower);
}

static bool read_apart(struct reader *from, struct reader *ret_text, struct reader *ret_delta)
{
	struct reader *both[] = { ret_text, ret_delta };
	for (int i = 0; i < 2; i++) {
		size_t count = reader_count(from, 1);
		const uint8_t *bytes = reader_bytes(from, count);
		if (!bytes)
			return false;
		*both[i] = reader_of(bytes, count);
	}
	return true;
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
		struct reader text;
		if (!delta)
			break;
		/* Of no bytes: the next are a text, and behind them what it is of. */
		bool is_apart = delta_count == 0;
		if (is_apart && !read_apart(&from, &text, &reader))
			break;
		if (dict_decode_packed(packer, dict, is_apart ? &text : &reader, &reader) < 0)
			break;
		check_again(dict, mark, is_apart, following, follower);
	}
	check_same(dict, follower);
	return 0;
}
