/* gzip: what was packed comes back, bounds hold, and broken files are refused. */

#include "core/gzip.h"

#include <errno.h>
#include <string.h>

#include "tests/lib/test.h"

static void pack_text(const char *text, struct buf *to)
{
	CHECK_OK(gzip_pack(text, strlen(text), 6, to));
	assert_true(gzip_is_gzip(to->bytes, to->count));
}

static void what_was_packed_comes_back_appended(void **state)
{
	(void)state;
	AUTO_BUF packed = { 0 };
	AUTO_BUF back = { 0 };
	buf_put(&back, "x", 1);
	pack_text("hello", &packed);
	CHECK_OK(gzip_unpack(packed.bytes, packed.count, 5, &back));
	assert_true(back.count == 6 && memcmp(back.bytes, "xhello", 6) == 0);
}

static void members_follow_each_other_and_zeroes_are_padding(void **state)
{
	(void)state;
	AUTO_BUF packed = { 0 };
	AUTO_BUF back = { 0 };
	pack_text("one", &packed);
	AUTO_BUF second = { 0 };
	pack_text("two", &second);
	buf_put(&packed, second.bytes, second.count);
	buf_put(&packed, "\0\0\0", 3);
	CHECK_OK(gzip_unpack(packed.bytes, packed.count, 100, &back));
	assert_true(back.count == 6 && memcmp(back.bytes, "onetwo", 6) == 0);

	buf_put(&packed, "junk", 4);
	buf_reset(&back);
	assert_true(gzip_unpack(packed.bytes, packed.count, 100, &back) == -EBADMSG);
}

/* A thousand to one: the bound stops it long before the end. */
static void a_bomb_ends_at_the_bound(void **state)
{
	(void)state;
	AUTO_BUF zeroes = { 0 };
	AUTO_BUF packed = { 0 };
	assert_true(buf_reserve(&zeroes, 8u << 20));
	memset(zeroes.bytes, 0, 8u << 20);
	zeroes.count = 8u << 20;
	CHECK_OK(gzip_pack(zeroes.bytes, zeroes.count, 9, &packed));
	assert_true(packed.count < 20000);

	const struct {
		size_t max;
		int result;
	} cases[] = { { 1000, -E2BIG }, { (8u << 20) - 1, -E2BIG }, { 8u << 20, 0 } };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO_BUF back = { 0 };
		assert_true(gzip_unpack(packed.bytes, packed.count, cases[i].max, &back) ==
		            cases[i].result);
		assert_true(back.count <= cases[i].max + 1);
	}
}

static void a_file_cut_anywhere_or_flipped_is_refused(void **state)
{
	(void)state;
	AUTO_BUF packed = { 0 };
	pack_text("a text that is long enough to be packed, packed, packed", &packed);
	for (size_t cut = 0; cut < packed.count; cut++) {
		AUTO_BUF back = { 0 };
		assert_true(gzip_unpack(packed.bytes, cut, 1000, &back) == -EBADMSG);
	}
	/* From the data on: gzip's header has bytes that nothing depends on. */
	for (size_t at = 10; at < packed.count; at++) {
		AUTO_BUF back = { 0 };
		packed.bytes[at] ^= 0x10;
		assert_true(gzip_unpack(packed.bytes, packed.count, 1000, &back) < 0);
		packed.bytes[at] ^= 0x10;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_packed_comes_back_appended),
		cmocka_unit_test(members_follow_each_other_and_zeroes_are_padding),
		cmocka_unit_test(a_bomb_ends_at_the_bound),
		cmocka_unit_test(a_file_cut_anywhere_or_flipped_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
