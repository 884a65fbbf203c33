/* There and back, and everything a hostile peer can do to the way back. */

#include "core/compress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/rng.h"
#include "tests/lib/test.h"

static const enum compress_codec codecs[] = { COMPRESS_LZ4, COMPRESS_ZSTD };

/* Some of it repeats and some does not. */
static void fill(struct rng *rng, struct buf *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		buf_put_u8(bytes, rng_below(rng, 4) ? (uint8_t)(i / 7) : (uint8_t)rng_u64(rng));
	CHECK(!bytes->failed);
}

static void what_was_packed_comes_back(void **state)
{
	static const size_t counts[] = { 0, 1, 2, 100, 4096, 100000 };
	struct rng rng;
	rng_init(&rng, 1);
	for (size_t i = 0; i < COUNT_OF(counts) * COUNT_OF(codecs); i++) {
		enum compress_codec codec = codecs[i % 2];
		AUTO_BUF plain = { 0 };
		AUTO_BUF packed = { 0 };
		AUTO_BUF unpacked = { 0 };
		fill(&rng, &plain, counts[i / 2]);
		buf_put_u8(&packed, 'x'); /* it appends */
		buf_put_u8(&unpacked, 'y');
		CHECK_OK(compress_append(codec, plain.bytes, plain.count, &packed));
		CHECK_OK(compress_unpack(codec, packed.bytes + 1, packed.count - 1, plain.count,
		        plain.count, &unpacked));
		CHECK(packed.bytes[0] == 'x' && unpacked.bytes[0] == 'y');
		assert_int_equal(unpacked.count, plain.count + 1);
		if (plain.count > 0)
			assert_memory_equal(unpacked.bytes + 1, plain.bytes, plain.count);
	}
}

static void size_beyond_the_limit_is_refused_before_memory_is_taken(void **state)
{
	for (size_t i = 0; i < COUNT_OF(codecs); i++) {
		static const size_t claims[] = { 101, 1 << 30, (size_t)1 << 40, SIZE_MAX };
		for (size_t n = 0; n < COUNT_OF(claims); n++) {
			AUTO_BUF to = { 0 };
			assert_int_equal(
			        compress_unpack(codecs[i], "x", 1, claims[n], 100, &to), -E2BIG);
			assert_null(to.bytes);
		}
	}
}

/* A megabyte of zeros packs to next to nothing: the smallest bomb. */
static void bombs_stop_at_the_size_that_was_announced(void **state)
{
	for (size_t i = 0; i < COUNT_OF(codecs); i++) {
		autofree uint8_t *zeros = calloc(1, 1 << 20);
		AUTO_BUF packed = { 0 };
		CHECK_OK(compress_append(codecs[i], zeros, 1 << 20, &packed));
		CHECK(packed.count < 8192);
		static const size_t claims[] = { 0, 1, 1000, (1 << 20) - 1, (1 << 20) + 1 };
		for (size_t n = 0; n < COUNT_OF(claims); n++) {
			AUTO_BUF to = { 0 };
			assert_int_equal(compress_unpack(codecs[i], packed.bytes, packed.count,
			                         claims[n], 1 << 21, &to),
			        -EBADMSG);
			assert_int_equal(to.count, 0);
			CHECK(to.capacity <= 2 << 20);
		}
	}
}

static void truncated_and_flipped_bytes_are_refused_or_another_content(void **state)
{
	struct rng rng;
	rng_init(&rng, 2);
	for (size_t i = 0; i < COUNT_OF(codecs); i++) {
		AUTO_BUF plain = { 0 };
		AUTO_BUF packed = { 0 };
		fill(&rng, &plain, 500);
		CHECK_OK(compress_append(codecs[i], plain.bytes, plain.count, &packed));
		for (size_t count = 0; count < packed.count; count++) {
			AUTO_BUF to = { 0 };
			autofree uint8_t *cut = malloc(count ? count : 1);
			memcpy(cut, packed.bytes, count);
			assert_int_equal(
			        compress_unpack(codecs[i], cut, count, 500, 500, &to), -EBADMSG);
		}
		for (size_t bit = 0; bit < packed.count * 8; bit++) {
			AUTO_BUF to = { 0 };
			packed.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			int r = compress_unpack(
			        codecs[i], packed.bytes, packed.count, 500, 500, &to);
			CHECK(r == -EBADMSG || (r == 0 && to.count == 500));
			packed.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}

static void unknown_codec_is_refused(void **state)
{
	AUTO_BUF to = { 0 };
	assert_int_equal(compress_unpack((enum compress_codec)9, "x", 1, 1, 1, &to), -EBADMSG);
	assert_int_equal(compress_unpack((enum compress_codec)0, "x", 1, 1, 1, &to), -EBADMSG);
}

static void full_buf_is_no_memory(void **state)
{
	for (size_t i = 0; i < COUNT_OF(codecs); i++) {
		AUTO_BUF packed = { 0 };
		AUTO_BUF small = { .limit = 10 };
		CHECK_OK(compress_append(codecs[i], "hello hello hello", 17, &packed));
		assert_int_equal(compress_append(codecs[i], "hello hello", 11, &small), -ENOMEM);
		buf_reset(&small);
		assert_int_equal(
		        compress_unpack(codecs[i], packed.bytes, packed.count, 17, 100, &small),
		        -ENOMEM);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_packed_comes_back),
		cmocka_unit_test(size_beyond_the_limit_is_refused_before_memory_is_taken),
		cmocka_unit_test(bombs_stop_at_the_size_that_was_announced),
		cmocka_unit_test(truncated_and_flipped_bytes_are_refused_or_another_content),
		cmocka_unit_test(unknown_codec_is_refused),
		cmocka_unit_test(full_buf_is_no_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
